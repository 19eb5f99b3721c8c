"""google-genai, pointed at the stand-in, needs nothing but its address."""

from collections.abc import Callable, Iterator

import httpx
import pytest
from google import genai
from google.genai import errors, types

from vn_magic.offline import embed

TOKEN = "sk-test-genai"
MODEL = "gemini-embedding-001"


@pytest.fixture(params=[False, True], ids=["strict", "drops_dimension"])
def client(stand_in: Callable[..., httpx.Client], request: pytest.FixtureRequest) -> Iterator[genai.Client]:
    base = str(stand_in(token=TOKEN, drops_dimension=request.param).base_url)
    with genai.Client(api_key=TOKEN, http_options=types.HttpOptions(base_url=base)) as client:
        yield client


def vectors(response: types.EmbedContentResponse) -> list[list[float] | None]:
    return [embedding.values for embedding in response.embeddings or []]


def test_the_sdk_gets_a_vector_for_a_text(client: genai.Client) -> None:
    response = client.models.embed_content(model=MODEL, contents="What is the meaning of life?")
    assert vectors(response) == [embed("What is the meaning of life?").tolist()]


def test_the_sdk_gets_a_vector_for_each_of_several_texts_in_the_size_it_asked_for(client: genai.Client) -> None:
    texts = ["first", "second", "third"]
    config = types.EmbedContentConfig(output_dimensionality=768, task_type="SEMANTIC_SIMILARITY")
    response = client.models.embed_content(model=MODEL, contents=texts, config=config)
    assert vectors(response) == [embed(text, 768).tolist() for text in texts]


def test_the_sdk_may_give_a_title(client: genai.Client) -> None:
    config = types.EmbedContentConfig(output_dimensionality=64, task_type="RETRIEVAL_DOCUMENT", title="Bread")
    response = client.models.embed_content(model=MODEL, contents=["Knead the dough."], config=config)
    assert vectors(response) == [embed("Knead the dough.", 64, "Bread").tolist()]


@pytest.mark.parametrize("version", ["v1", "v1beta"])
def test_the_sdk_may_choose_the_version_of_the_api(stand_in: Callable[..., httpx.Client], version: str) -> None:
    options = types.HttpOptions(base_url=str(stand_in(token=TOKEN).base_url), api_version=version)
    with genai.Client(api_key=TOKEN, http_options=options) as client:
        assert vectors(client.models.embed_content(model=MODEL, contents=["x"])) == [embed("x").tolist()]


def test_the_sdk_reads_the_gateways_errors(stand_in: Callable[..., httpx.Client]) -> None:
    options = types.HttpOptions(base_url=str(stand_in(token=TOKEN).base_url))
    with genai.Client(api_key="wrong", http_options=options) as client, pytest.raises(errors.ClientError) as caught:
        client.models.embed_content(model=MODEL, contents=["x"])
    assert caught.value.code == 401
    assert "Invalid token (request id: " in str(caught.value)
