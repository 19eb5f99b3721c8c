import ast
import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

import vn_magic.offline
from vn_magic.offline import create_app, embed

DOCUMENTED = {
    "content": {"parts": [{"text": "What is the meaning of life?"}]},
    "output_dimensionality": 768,
    "taskType": "SEMANTIC_SIMILARITY",
}
ONE = "/v1beta/models/gemini-embedding-001:embedContent"
BATCH = "/v1beta/models/gemini-embedding-001:batchEmbedContents"
TOKEN = "sk-test-app"
CORS = "access-control-"


def content(*texts: str, **fields: Any) -> dict[str, Any]:
    return {"content": {"parts": [{"text": text} for text in texts]}, **fields}


def item(text: str, **fields: Any) -> dict[str, Any]:
    return content(text, model="models/gemini-embedding-001", **fields)


def values(response: httpx.Response) -> list[float]:
    assert response.status_code == 200, response.text
    answer: dict[str, dict[str, list[float]]] = response.json()
    return answer["embedding"]["values"]


@pytest.fixture
def strict(stand_in: Callable[..., httpx.Client]) -> httpx.Client:
    return stand_in()


@pytest.fixture
def dropping(stand_in: Callable[..., httpx.Client]) -> httpx.Client:
    return stand_in(drops_dimension=True)


@pytest.mark.parametrize("version", ["v1beta", "v1"])
@pytest.mark.parametrize("model", ["gemini-embedding-001", "offline-lexical"])
def test_the_documented_request_gets_the_documented_answer(strict: httpx.Client, version: str, model: str) -> None:
    response = strict.post(f"/{version}/models/{model}:embedContent", json=DOCUMENTED)
    expected = embed("What is the meaning of life?", 768).tolist()
    assert response.json() == {"embedding": {"values": expected}}
    assert response.headers["content-type"] == "application/json"
    assert response.headers["X-Offline-Stand-In"] == "offline-lexical"


@pytest.mark.parametrize("version", ["v1beta", "v1"])
def test_a_batch_is_answered_in_order(strict: httpx.Client, version: str) -> None:
    texts = [f"text number {n}" for n in range(100)]
    response = strict.post(
        f"/{version}/models/gemini-embedding-001:batchEmbedContents",
        json={"requests": [item(text, outputDimensionality=8) for text in texts]},
    )
    assert response.json() == {"embeddings": [{"values": embed(text, 8).tolist()} for text in texts]}
    assert response.headers["X-Offline-Stand-In"] == "offline-lexical"


@pytest.mark.parametrize("drops_dimension", [False, True])
def test_a_text_has_bit_for_bit_the_same_vector_in_a_batch_as_alone(
    stand_in: Callable[..., httpx.Client], drops_dimension: bool
) -> None:
    client = stand_in(drops_dimension=drops_dimension)
    fields = {"outputDimensionality": 768, "taskType": "RETRIEVAL_DOCUMENT", "title": "Bread"}
    texts = ["Knead the dough.", "Knead the dough.", "猫 🎉", "x" * 5000]
    batch = client.post(BATCH, json={"requests": [item(text, **fields) for text in texts]})
    alone = [client.post(ONE, json=content(text, **fields)).json()["embedding"] for text in texts]
    assert batch.json() == {"embeddings": alone}


def test_other_callers_have_their_turn_between_the_texts_of_a_batch() -> None:
    answered: list[str] = []

    async def ask() -> None:
        transport = httpx.ASGITransport(app=create_app())
        async with httpx.AsyncClient(transport=transport, base_url="http://offline") as client:

            async def post(path: str, body: dict[str, Any]) -> None:
                response = await client.post(path, json=body)
                assert response.status_code == 200
                answered.append(path)

            batch = {"requests": [item(f"text {n}", outputDimensionality=8) for n in range(100)]}
            await asyncio.gather(post(BATCH, batch), post(ONE, content("x")))

    asyncio.run(ask())
    assert answered == [ONE, BATCH]


@pytest.mark.parametrize("version", ["v1beta", "v1"])
def test_without_batches_their_method_is_a_json_404_and_not_listed(
    stand_in: Callable[..., httpx.Client], version: str
) -> None:
    client = stand_in(no_batch=True)
    response = client.post(BATCH.replace("v1beta", version), json={"requests": [item("x")]})
    assert (response.status_code, response.json()["error"]["type"]) == (404, "invalid_request_error")
    assert len(values(client.post(ONE, json=content("x")))) == 3072
    listed = client.get("/v1beta/models").json()["models"]
    assert {tuple(model["supportedGenerationMethods"]) for model in listed} == {("embedContent",)}


def test_a_shorter_answer_is_the_beginning_of_the_full_one_and_not_unit_length(strict: httpx.Client) -> None:
    full = np.array(values(strict.post(ONE, json=content("a text"))))
    short = np.array(values(strict.post(ONE, json=content("a text", output_dimensionality=256))))
    assert np.array_equal(short, full[:256])
    assert np.linalg.norm(full) == pytest.approx(1, abs=1e-7)
    assert np.linalg.norm(short) < 0.5


@pytest.mark.parametrize("spelling", ["output_dimensionality", "outputDimensionality"])
def test_the_strict_mode_understands_both_spellings_of_the_dimension(strict: httpx.Client, spelling: str) -> None:
    assert len(values(strict.post(ONE, json=content("x", **{spelling: 5})))) == 5


@pytest.mark.parametrize(
    ("fields", "count"),
    [
        ({"output_dimensionality": 768}, 3072),
        ({"outputDimensionality": 768}, 768),
        ({"output_dimensionality": 768, "outputDimensionality": 256}, 256),
        ({"task_type": "NONSENSE", "anything": 1}, 3072),
    ],
)
def test_the_dropping_mode_ignores_what_it_does_not_decode(
    dropping: httpx.Client, fields: dict[str, Any], count: int
) -> None:
    assert len(values(dropping.post(ONE, json=content("x", **fields)))) == count
    batch = dropping.post(BATCH, json={"requests": [content("x", **fields)], "more": 1}).json()
    assert len(batch["embeddings"][0]["values"]) == count


def test_the_parts_of_one_content_make_one_vector(strict: httpx.Client) -> None:
    assert values(strict.post(ONE, json=content("two parts", "one vector"))) == (
        embed("two parts\none vector").tolist()
    )


def test_the_task_type_does_not_move_a_lexical_vector(strict: httpx.Client) -> None:
    answers = [
        values(strict.post(ONE, json=content("x", taskType=task, output_dimensionality=64)))
        for task in ("RETRIEVAL_QUERY", "RETRIEVAL_DOCUMENT", "CODE_RETRIEVAL_QUERY", "CLUSTERING")
    ]
    assert answers == [embed("x", 64).tolist()] * 4


def test_a_title_joins_the_document(strict: httpx.Client) -> None:
    body = content("Knead the dough.", taskType="RETRIEVAL_DOCUMENT", title="Bread")
    assert values(strict.post(ONE, json=body)) == embed("Knead the dough.", title="Bread").tolist()


def test_null_fields_count_as_absent(strict: httpx.Client) -> None:
    body = content("x", taskType=None, title=None, outputDimensionality=None, model=None)
    assert len(values(strict.post(ONE, json=body))) == 3072


def test_any_script_arrives_as_sent(strict: httpx.Client) -> None:
    text = 'नमस्ते 猫 🎉 "quotes" \\ \u2028 {braces}'
    assert values(strict.post(ONE, json=content(text))) == embed(text).tolist()


@pytest.mark.parametrize(
    "body",
    [
        content(""),
        content("x", ""),
        content(),
        {},
        {"content": {}},
        {"content": {"parts": [{}]}},
        {"content": {"parts": [{"inlineData": {}}]}},
        {"content": {"parts": [{"text": "x", "more": 1}]}},
        {"content": {"parts": [{"text": "x"}], "more": 1}},
        content("x", output_dimensionality=8, outputDimensionality=8),
        content("x", taskType="CLUSTERING", task_type="CLUSTERING"),
        content("x", outputDimensionality=0),
        content("x", outputDimensionality=-1),
        content("x", outputDimensionality=3073),
        content("x", taskType="SIMILARITY"),
        content("x", title="T"),
        content("x", title="T", taskType="RETRIEVAL_QUERY"),
        content("x", dimension=8),
        content("x", model="models/gemini-embedding-2"),
    ],
    ids=json.dumps,
)
def test_the_strict_mode_refuses_what_google_refuses(strict: httpx.Client, body: dict[str, Any]) -> None:
    one = strict.post(ONE, json=body)
    batch = strict.post(BATCH, json={"requests": [item("fine"), {"model": "gemini-embedding-001"} | body]})
    for response in (one, batch):
        error = response.json()["error"]
        assert (response.status_code, error["type"], error["code"]) == (400, "upstream_error", 400)
        assert "X-Offline-Stand-In" not in response.headers


@pytest.mark.parametrize(
    "body",
    [
        {"requests": []},
        {},
        {"requests": [item("x")] * 101},
        {"requests": [content("x")]},
        {"requests": [item("x")], "model": "models/gemini-embedding-001"},
    ],
    ids=["empty", "missing", "101", "no model", "unknown name"],
)
def test_the_strict_mode_refuses_a_bad_batch(strict: httpx.Client, body: dict[str, Any]) -> None:
    response = strict.post(BATCH, json=body)
    assert (response.status_code, response.json()["error"]["code"]) == (400, 400)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"not json",
        b"[" * 100_000,
        b"\xff\xfe",
        b'{"content": {"parts": [{"text": "x"}]}, "anything": NaN}',
        b"[]",
        b'"text"',
        b'{"content": "text"}',
        b'{"content": {"parts": "text"}}',
        b'{"content": {"parts": ["text"]}}',
        b'{"content": {"parts": [{"text": 1}]}}',
        b'{"content": {"parts": [{"text": "x"}]}, "outputDimensionality": "768"}',
        b'{"content": {"parts": [{"text": "x"}]}, "outputDimensionality": 768.0}',
        b'{"content": {"parts": [{"text": "x"}]}, "outputDimensionality": true}',
        b'{"content": {"parts": [{"text": "x"}]}, "taskType": 3}',
        b'{"content": {"parts": [{"text": "x"}]}, "title": []}',
    ],
    ids=lambda body: body[:75].decode(errors="replace"),
)
@pytest.mark.parametrize("drops_dimension", [False, True])
def test_malformed_json_and_wrong_types_are_a_500_invalid_request(
    stand_in: Callable[..., httpx.Client], body: bytes, drops_dimension: bool
) -> None:
    response = stand_in(drops_dimension=drops_dimension).post(ONE, content=body)
    assert (response.status_code, response.json()["error"]["code"]) == (500, "invalid_request")


def test_a_lone_surrogate_in_the_json_is_no_failure(strict: httpx.Client) -> None:
    body = b'{"content": {"parts": [{"text": "a\\ud800b"}]}}'
    assert values(strict.post(ONE, content=body)) == embed("a b").tolist()


def test_an_unknown_model_has_no_channel(strict: httpx.Client) -> None:
    response = strict.post("/v1beta/models/gemini-embedding-9:embedContent", json=DOCUMENTED)
    error = response.json()["error"]
    assert (response.status_code, error["code"]) == (503, "model_not_found")
    assert "gemini-embedding-9" in error["message"]


def test_a_body_of_four_megabytes_is_read_and_a_larger_one_refused(strict: httpx.Client) -> None:
    room = 4 * 1024 * 1024 - len(json.dumps(content("")))
    assert strict.post(ONE, content=json.dumps(content("x" * room))).status_code == 200
    response = strict.post(ONE, content=json.dumps(content("x" * (room + 1))))
    assert (response.status_code, response.json()["error"]["code"]) == (413, "read_request_body_failed")


@pytest.mark.parametrize(
    "given",
    [
        {"headers": {"x-goog-api-key": TOKEN}},
        {"params": {"key": TOKEN}},
        {"headers": {"Authorization": f"Bearer {TOKEN}"}},
        {"headers": {"Authorization": f"bearer   {TOKEN}"}},
    ],
    ids=["x-goog-api-key", "key", "bearer", "bearer with spaces"],
)
def test_the_token_is_accepted_in_each_of_its_three_places(stand_in: Callable[..., httpx.Client], given: Any) -> None:
    client = stand_in(token=TOKEN)
    assert client.post(ONE, json=content("x"), **given).status_code == 200
    assert client.get("/v1/models", **given).status_code == 200


DOORS = [("POST", ONE), ("POST", BATCH), ("GET", "/v1/models"), ("GET", "/v1beta/models")]


@pytest.mark.parametrize(
    "given",
    [
        {"headers": {"x-goog-api-key": "wrong"}},
        {"params": {"key": "wrong"}},
        {"headers": {"Authorization": "Bearer wrong"}},
        {"headers": {"Authorization": "Bearer ütf".encode()}},
        {"headers": {"x-goog-api-key": "wrong", "Authorization": f"Bearer {TOKEN}"}, "params": {"key": TOKEN}},
        {"headers": {"Authorization": f"Bearer {TOKEN}"}, "params": {"key": "wrong"}},
    ],
    ids=str,
)
@pytest.mark.parametrize(("method", "path"), DOORS)
def test_a_wrong_token_is_a_401_and_the_first_place_decides(
    stand_in: Callable[..., httpx.Client], given: Any, method: str, path: str
) -> None:
    response = stand_in(token=TOKEN).request(method, path, **given)
    error = response.json()["error"]
    assert (response.status_code, error["type"], error["code"]) == (401, "new_api_error", "")
    assert error["message"].startswith("Invalid token (request id: ")


@pytest.mark.parametrize("headers", [{}, {"Authorization": TOKEN}, {"Authorization": f"Basic {TOKEN}"}], ids=str)
@pytest.mark.parametrize(("method", "path"), DOORS)
def test_a_missing_token_is_a_401(
    stand_in: Callable[..., httpx.Client], headers: dict[str, str], method: str, path: str
) -> None:
    response = stand_in(token=TOKEN).request(method, path, headers=headers)
    error = response.json()["error"]
    assert (response.status_code, error["type"], error["code"]) == (401, "new_api_error", "")
    assert error["message"].startswith("Token not provided (request id: ")


def test_the_models_are_listed_in_openais_and_in_googles_shape(strict: httpx.Client) -> None:
    openai = strict.get("/v1/models").json()
    google = strict.get("/v1beta/models").json()
    assert openai["object"] == "list"
    assert [(model["id"], model["object"]) for model in openai["data"]] == [
        ("gemini-embedding-001", "model"),
        ("offline-lexical", "model"),
    ]
    assert [model["name"] for model in google["models"]] == ["models/gemini-embedding-001", "models/offline-lexical"]
    assert google["models"][0]["supportedGenerationMethods"] == ["embedContent", "batchEmbedContents"]


def test_a_played_error_answers_every_embedding_and_nothing_else(stand_in: Callable[..., httpx.Client]) -> None:
    client = stand_in(token="t", play="no-balance")
    key = {"x-goog-api-key": "t"}
    assert client.post(ONE, json=content("x"), headers=key).status_code == 403
    assert client.post(BATCH, json={}, headers=key).status_code == 403
    assert client.get("/v1/models", headers=key).status_code == 200
    assert client.post(ONE, json=content("x")).status_code == 401


def test_an_unknown_error_to_play_is_named_with_those_there_are() -> None:
    with pytest.raises(ValueError, match=r"'no-money'.\n.*no-balance"):
        create_app(play="no-money")


def test_every_answer_has_a_request_id_of_its_own(stand_in: Callable[..., httpx.Client]) -> None:
    client = stand_in(token="t")
    key = {"x-goog-api-key": "t"}
    answers = [
        client.post(ONE, json=content("x"), headers=key),
        client.post(ONE, json=content("x"), headers=key),
        client.post(ONE, json={}, headers=key),
        client.get("/v1/models"),
        client.get("/v1/nothing"),
        client.get("/"),
        client.get("/", headers={"Host": "evil.example"}),
    ]
    assert len({answer.headers["X-Oneapi-Request-Id"] for answer in answers}) == len(answers)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/nothing"),
        ("GET", "/v1beta"),
        ("GET", "/v1/models/"),
        ("GET", ONE),
        ("POST", "/v1beta/models/gemini-embedding-001:generateContent"),
        ("POST", "/v1/v1beta/models/gemini-embedding-001:embedContent"),
    ],
)
def test_a_wrong_path_under_v1_is_a_json_404(strict: httpx.Client, method: str, path: str) -> None:
    response = strict.request(method, path)
    assert response.status_code == 404
    assert response.json()["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize(("method", "path"), [("GET", "/"), ("POST", "/models/gemini-embedding-001:embedContent")])
def test_a_wrong_path_elsewhere_is_a_web_page(strict: httpx.Client, method: str, path: str) -> None:
    response = strict.request(method, path)
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/html")


def _asked_as(client: httpx.Client, **headers: str) -> list[httpx.Response]:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return [
        client.post(ONE, json=content("x"), headers=named),
        client.options(ONE, headers=named | {"Access-Control-Request-Method": "POST"}),
        client.get("/v1/models", headers=named),
        client.get("/", headers=named),
    ]


@pytest.mark.parametrize(
    "asker",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "http://127.0.0.1:1"},
        {"Origin": "http://localhost"},
        {"Origin": "null"},
        {"Origin": ""},
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site"},
    ],
    ids=str,
)
def test_a_page_of_another_origin_gets_no_answer_and_no_leave_to_read_one(
    strict: httpx.Client, asker: dict[str, str]
) -> None:
    answers = _asked_as(strict, **asker)
    assert [(answer.status_code, answer.json()["error"]["code"]) for answer in answers] == [(403, "foreign_origin")] * 4
    assert not [name for answer in answers for name in answer.headers if name.startswith(CORS)]


def test_a_page_of_its_own_and_an_address_typed_into_a_browser_are_answered(strict: httpx.Client) -> None:
    own = _asked_as(strict, Origin=str(strict.base_url).rstrip("/"), Sec_Fetch_Site="same-origin")
    typed = strict.get("/v1/models", headers={"Sec-Fetch-Site": "none"})
    assert [answer.status_code for answer in [*own, typed]] == [200, 404, 200, 200, 200]
    assert not [name for answer in own for name in answer.headers if name.startswith(CORS)]


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "127.0.0.1.evil.example",
        "localhost.evil.example:8000",
        "0.0.0.0",
        "",
        "localhost:x",
        "localhost:[",
        "localhost@evil.example",
        "127.0.0.2",
        "offline",  # names that are for inside a process alone
        "testserver",
        "testserver:8787",
    ],
)
def test_a_host_that_is_not_loopback_is_refused(strict: httpx.Client, host: str) -> None:
    for path in (ONE, "/v1/nothing", "/"):
        response = strict.post(path, json=content("x"), headers={"Host": host})
        assert (response.status_code, response.json()["error"]["code"]) == (400, "foreign_host")


def test_a_head_of_sixteen_kilobytes_is_read_and_a_larger_one_refused(strict: httpx.Client) -> None:
    assert strict.post(ONE, json=content("x"), headers={"X-Filler": "x" * 15_000}).status_code == 200
    for fillers in ({"X-Filler": "x" * 17_000}, {f"X-{number}": "x" * 100 for number in range(200)}):
        response = strict.post(ONE, json=content("x"), headers=fillers)
        assert (response.status_code, response.json()["error"]["code"]) == (431, "request_headers_too_large")


@pytest.mark.parametrize("host", ["localhost", "localhost:8000", "127.0.0.1:1", "LocalHost", "[::1]:8000"])
def test_names_of_loopback_are_accepted(strict: httpx.Client, host: str) -> None:
    assert strict.post(ONE, json=content("x"), headers={"Host": host}).status_code == 200


@pytest.mark.parametrize("name", ["offline", "testserver"])
def test_it_runs_inside_a_process_without_socket_or_lifespan(name: str) -> None:
    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(app=create_app(token="t"))
        async with httpx.AsyncClient(transport=transport, base_url=f"http://{name}") as client:
            return await client.post(ONE, json=DOCUMENTED, headers={"Authorization": "Bearer t"})

    assert values(asyncio.run(ask())) == embed("What is the meaning of life?", 768).tolist()


def test_it_imports_nothing_else_of_the_package_and_nothing_heavy() -> None:
    folder = Path(vn_magic.offline.__file__).parent
    imported = set()
    for path in folder.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Import):
                imported |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0
                imported.add(node.module or "")
    assert not [name for name in imported if name.startswith("vn_magic") and not name.startswith("vn_magic.offline")]
    assert not {name.split(".")[0] for name in imported} & {
        "httpx",
        "pandas",
        "IPython",
        "msgspec",
        "fastapi",
        "requests",
    }
