"""`VectorNodeEmbeddings` in LangChain's own hands: its store, its way of writing things down, its standard tests."""

from __future__ import annotations

import asyncio
import pickle
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from langchain_core.embeddings import Embeddings
from langchain_core.load import dumpd, dumps
from langchain_core.vectorstores import InMemoryVectorStore
from support.engine import BAD_TEXT, Held, behind, output_of, python
from support.gateways import Served, served
from support.hunt import Hunt
from support.packs import SOURCE, pack_file, recording, unsigned_gateway
from support.waiting import until

from vn_magic import Session
from vn_magic.exceptions import (
    InputError,
    ModelUnavailableError,
    NotInPackError,
    ProvenanceError,
    RejectedTextError,
    TokenError,
)
from vn_magic.handover.langchain import VectorNodeEmbeddings
from vn_magic.offline import create_app

TEXTS = [
    "The cat sat on the mat.",
    "A cat was sitting on a mat.",
    "Stock markets fell sharply today.",
    "Shares and stock markets fell.",
    "Bread is baked from flour and water.",
]
QUESTION = "Where did the cat sit?"
DIMENSION = 256


def take_its_place(monkeypatch: pytest.MonkeyPatch, session: Session) -> Session:
    monkeypatch.setattr("vn_magic.current._default_session", [session])
    return session


@pytest.fixture
def current(session: Session, monkeypatch: pytest.MonkeyPatch) -> Session:
    """The session over the wire, as the current one."""
    return take_its_place(monkeypatch, session)


@pytest.fixture
def local(offline: Session, monkeypatch: pytest.MonkeyPatch) -> Session:
    """The stand-in inside the process, as the current session."""
    return take_its_place(monkeypatch, offline)


@pytest.fixture(params=["current", "local"])
def anywhere(request: pytest.FixtureRequest) -> Session:
    """The current session, over the wire or inside the process."""
    found: Session = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def another_gateway(token: str) -> Iterator[Session]:
    """A session at a gateway that does not sign as the stand-in."""
    with served(unsigned_gateway) as server, Session(base_url=server.url, token=token) as session:
        yield session


def host(session: Session) -> str:
    return session.settings.base_url.removeprefix("http://")


# What LangChain asks of every Embeddings


@pytest.mark.usefixtures("anywhere")
def test_it_is_an_embeddings_and_gives_lists_of_floats_of_one_length() -> None:
    embeddings = VectorNodeEmbeddings(dimension=DIMENSION)
    assert isinstance(embeddings, Embeddings)
    vectors = [*embeddings.embed_documents(["foo", "bar", "baz"]), embeddings.embed_query("foo")]
    assert {type(vector) for vector in vectors} == {list}
    assert {(type(value), len(vector)) for vector in vectors for value in vector} == {(float, DIMENSION)}
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(1)


@pytest.mark.usefixtures("anywhere")
def test_awaited_vectors_are_those_that_others_wait_for() -> None:
    embeddings = VectorNodeEmbeddings(dimension=DIMENSION)

    async def awaited() -> tuple[list[list[float]], list[float]]:
        return await embeddings.aembed_documents(TEXTS), await embeddings.aembed_query(QUESTION)

    assert asyncio.run(awaited()) == (embeddings.embed_documents(TEXTS), embeddings.embed_query(QUESTION))


def test_a_store_ranks_as_nearest_does(anywhere: Session) -> None:
    store = InMemoryVectorStore.from_texts(TEXTS, VectorNodeEmbeddings(dimension=DIMENSION))
    found = store.similarity_search_with_score(QUESTION, k=len(TEXTS))
    frame = anywhere.embed(TEXTS, dimension=DIMENSION, task_type="RETRIEVAL_DOCUMENT")
    assert isinstance(frame, pd.DataFrame)
    nearest = frame.vec.nearest(QUESTION)
    assert [document.page_content for document, _ in found] == nearest["text"].tolist()
    assert [score for _, score in found] == pytest.approx(nearest["similarity"].tolist(), abs=1e-6)


@pytest.mark.usefixtures("anywhere")
def test_a_store_can_be_filled_and_asked_from_a_loop() -> None:
    async def ask() -> list[Any]:
        store = await InMemoryVectorStore.afrom_texts(TEXTS, VectorNodeEmbeddings(dimension=DIMENSION))
        return await store.asimilarity_search(QUESTION, k=2)

    assert {document.page_content for document in asyncio.run(ask())} == set(TEXTS[:2])


def test_a_cancelled_task_stops_its_job(token: str, monkeypatch: pytest.MonkeyPatch) -> None:
    held = Held(create_app(token=token))
    with served(held.app) as server, Session(base_url=server.url, token=token) as session:
        take_its_place(monkeypatch, session)

        async def leave() -> None:
            session.configure("concurrency", 1, "this test")
            task = asyncio.create_task(VectorNodeEmbeddings().aembed_documents(["held", "never sent"]))
            await asyncio.to_thread(until, lambda: server.texts)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

        async def others_to_end() -> None:
            if others := asyncio.all_tasks() - {asyncio.current_task()}:
                await asyncio.wait(others)

        asyncio.run(leave())
        session.run(others_to_end())  # on their own loop, where the job hears of it later than the one who cancelled it
        held.go.set()
        VectorNodeEmbeddings().embed_query("sent afterwards")
        assert server.texts == ["held", "sent afterwards"]


# What is sent


@pytest.mark.usefixtures("current")
def test_documents_and_queries_have_tasks_that_meet(gateway: Served) -> None:
    embeddings = VectorNodeEmbeddings(dimension=DIMENSION)
    embeddings.embed_documents(["a document"])
    embeddings.embed_query("a question")
    asyncio.run(embeddings.aembed_documents(["an awaited document"]))
    asyncio.run(embeddings.aembed_query("an awaited question"))
    assert [(request.text, request.json["taskType"]) for request in gateway.received] == [
        ("a document", "RETRIEVAL_DOCUMENT"),
        ("a question", "RETRIEVAL_QUERY"),
        ("an awaited document", "RETRIEVAL_DOCUMENT"),
        ("an awaited question", "RETRIEVAL_QUERY"),
    ]
    assert {request.json["output_dimensionality"] for request in gateway.received} == {DIMENSION}


@pytest.mark.usefixtures("current")
def test_other_tasks_may_be_named(gateway: Served) -> None:
    embeddings = VectorNodeEmbeddings(document_task="SEMANTIC_SIMILARITY", query_task="SEMANTIC_SIMILARITY")
    assert embeddings.embed_documents(["the same"]) == [embeddings.embed_query("the same")]
    assert [request.json["taskType"] for request in gateway.received] == ["SEMANTIC_SIMILARITY"]


@pytest.mark.usefixtures("local")
def test_tasks_that_do_not_meet_are_refused() -> None:
    with pytest.raises(ProvenanceError, match="not comparable"):
        VectorNodeEmbeddings(query_task="SEMANTIC_SIMILARITY")


@pytest.mark.usefixtures("local")
def test_a_model_without_tasks_has_none() -> None:
    assert "document_task=None, query_task=None" in repr(VectorNodeEmbeddings(model="gemini-embedding-2"))
    with pytest.raises(InputError, match="gemini-embedding-2 has no task types"):
        VectorNodeEmbeddings(model="gemini-embedding-2", query_task="RETRIEVAL_QUERY")


def test_what_the_session_is_set_to_later_does_not_reach_a_store(current: Session, gateway: Served) -> None:
    current.configure("dimension", 384, "this test")
    embeddings = VectorNodeEmbeddings()
    current.configure("dimension", 1024, "this test")
    current.configure("model", "another-model", "this test")
    current.configure("unit_length", False, "this test")
    assert np.linalg.norm(embeddings.embed_query("a question")) == pytest.approx(1)
    (request,) = gateway.received
    assert (request.json["output_dimensionality"], request.path) == (
        384,
        "/v1beta/models/gemini-embedding-001:embedContent",
    )


def test_a_text_is_paid_for_once_and_stands_where_it_was_given(current: Session, gateway: Served) -> None:
    texts = ["b", "a", "b"]
    vectors = VectorNodeEmbeddings(dimension=DIMENSION).embed_documents(texts)
    again = VectorNodeEmbeddings(dimension=DIMENSION).embed_documents(texts[::-1])
    assert sorted(gateway.texts) == ["a", "b"]
    assert vectors[0] == vectors[2] != vectors[1]
    assert again == vectors[::-1]
    expected = current.embed(texts, dimension=DIMENSION, task_type="RETRIEVAL_DOCUMENT", result="numpy")
    assert vectors == np.asarray(expected).tolist()


# What cannot be embedded


def test_no_texts_are_no_vectors_and_need_no_token(gateway: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    take_its_place(monkeypatch, Session(base_url=gateway.url))
    embeddings = VectorNodeEmbeddings()
    assert embeddings.embed_documents([]) == []
    assert asyncio.run(embeddings.aembed_documents([])) == []
    assert embeddings.source is None
    assert gateway.received == []


@pytest.mark.parametrize(
    ("value", "what"), [("", "blank"), (" \n", "blank"), (None, "missing"), (3, "not text but int")]
)
def test_a_row_that_is_no_text_is_named_and_nothing_is_sent(gateway: Served, value: Any, what: str) -> None:
    embeddings = VectorNodeEmbeddings()
    with pytest.raises(InputError) as caught:
        embeddings.embed_documents(["fine", value])
    first, cure = str(caught.value).splitlines()
    assert f"row 1 ({what})" in first
    assert cure == "Next: leave them out; a store has no place for what has no vector."
    with pytest.raises(InputError, match="row 0"):
        asyncio.run(embeddings.aembed_query(value))
    assert gateway.received == []


def test_a_text_that_fails_is_an_error_under_keep_too(token: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def refuse_bad(text: str) -> Any:
        return BAD_TEXT if text == "bad" else None

    with (
        served(behind(refuse_bad, create_app(token=token))) as server,
        Session(base_url=server.url, token=token) as session,
    ):
        take_its_place(monkeypatch, session).configure("on_error", "keep", "this test")
        with pytest.raises(RejectedTextError, match="Row 1"):
            VectorNodeEmbeddings().embed_documents(["good", "bad"])


@pytest.mark.usefixtures("local")
@pytest.mark.parametrize(
    ("texts", "cure"), [((text for text in TEXTS), "give a str, a list of str"), (pd.DataFrame({"a": TEXTS}), "COLUMN")]
)
def test_a_container_of_another_kind_is_refused_with_its_own_cure(texts: Any, cure: str) -> None:
    with pytest.raises(InputError) as caught:
        VectorNodeEmbeddings().embed_documents(texts)
    assert cure in str(caught.value).splitlines()[1]


@pytest.mark.usefixtures("local")
@pytest.mark.parametrize("source", ["http://127.0.0.1:8000", "user:secret@host", 5])
def test_a_source_that_is_no_host_is_refused_without_quoting_it(source: Any) -> None:
    with pytest.raises(InputError, match="neither a host nor the stand-in's name") as caught:
        VectorNodeEmbeddings(source=source)
    assert "secret" not in str(caught.value)


@pytest.mark.usefixtures("local")
def test_a_dimension_that_the_model_does_not_have_is_refused_at_once() -> None:
    with pytest.raises(InputError, match="gives vectors of 128 to 3072 values, not 7"):
        VectorNodeEmbeddings(dimension=7)


# Whose session, and whose vectors


def test_the_session_is_the_one_that_is_current_at_the_call(
    gateway: Served, token: str, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    take_its_place(monkeypatch, Session(base_url=gateway.url))
    embeddings = VectorNodeEmbeddings()
    with pytest.raises(TokenError):
        embeddings.embed_query("before the login")
    take_its_place(monkeypatch, session)
    embeddings.embed_query("after the login")
    assert gateway.texts == ["after the login"]
    assert gateway.received[-1].headers["authorization"] == f"Bearer {token}"


def test_after_documents_of_a_gateway_no_question_is_asked_offline(
    another_gateway: Session, offline: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    take_its_place(monkeypatch, another_gateway)
    embeddings = VectorNodeEmbeddings()
    embeddings.embed_documents(TEXTS)
    assert embeddings.source == host(another_gateway)
    take_its_place(monkeypatch, offline)
    with pytest.raises(ProvenanceError) as caught:
        embeddings.embed_query(QUESTION)
    assert str(caught.value).splitlines() == [
        f"These rows are from {host(another_gateway)}, but the session is offline: its vectors cannot be compared.",
        "Next: `%vn offline off`, then run it again.",
    ]


@pytest.mark.usefixtures("local")
def test_after_offline_documents_no_question_is_asked_at_a_gateway(
    another_gateway: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    embeddings = VectorNodeEmbeddings()
    embeddings.embed_documents(TEXTS)
    assert embeddings.source == "offline-lexical"
    assert "model='offline-lexical'" in repr(embeddings)
    take_its_place(monkeypatch, Session(base_url="https://gateway.invalid", token="sk-never-sent-00"))
    with pytest.raises(ProvenanceError, match=r"offline \(lexical\) vectors, but the session talks to https://gateway"):
        asyncio.run(embeddings.aembed_query(QUESTION))
    take_its_place(monkeypatch, another_gateway)  # on loopback, where a stand-in may be served
    with pytest.raises(ProvenanceError, match=f"offline-lexical belong here, but {host(another_gateway)} has answered"):
        embeddings.embed_query(QUESTION)


@pytest.mark.usefixtures("current")
def test_a_store_may_name_whose_vectors_it_has(
    another_gateway: Session, gateway: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    embeddings = VectorNodeEmbeddings(source=host(another_gateway))
    with pytest.raises(ProvenanceError, match=f"These rows are from {host(another_gateway)}"):
        embeddings.embed_query(QUESTION)
    assert gateway.received == []
    take_its_place(monkeypatch, another_gateway)
    assert len(embeddings.embed_query(QUESTION)) == 768


@pytest.mark.parametrize("strict", [True, False])
def test_a_pack_answers_for_the_gateway_that_it_is_from(
    gateway: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, token: str, strict: bool
) -> None:
    with Session(base_url=gateway.url, token=None if strict else token) as session:
        take_its_place(monkeypatch, session)
        tasks = {
            task: recording([QUESTION, *TEXTS], task_type=task) for task in ("RETRIEVAL_DOCUMENT", "RETRIEVAL_QUERY")
        }
        session.use_pack(pack_file(tmp_path / "lesson.vnpack", *tasks.values()), strict=strict, source="this test")
        embeddings = VectorNodeEmbeddings(dimension=DIMENSION, source=SOURCE)
        assert len(embeddings.embed_documents(TEXTS)) == len(TEXTS)
        assert len(embeddings.embed_query(QUESTION)) == DIMENSION
        with pytest.raises(ProvenanceError if not strict else NotInPackError):
            embeddings.embed_documents([*TEXTS, "not recorded"])
    assert gateway.received == []


@pytest.mark.usefixtures("current")
def test_a_served_stand_in_is_taken_for_the_stand_in(offline: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    embeddings = VectorNodeEmbeddings()
    there = embeddings.embed_query(QUESTION)
    assert embeddings.source == "offline-lexical"
    take_its_place(monkeypatch, offline)
    assert embeddings.embed_query(QUESTION) == there


# The token


@pytest.mark.usefixtures("current")
def test_nothing_that_leaves_shows_the_token(token: str, tmp_path: Path) -> None:
    hunt = Hunt(token)
    embeddings = VectorNodeEmbeddings(dimension=DIMENSION)
    store = InMemoryVectorStore.from_texts(TEXTS, embeddings)
    store.dump(str(tmp_path / "store.json"))
    (tmp_path / "embeddings.pickle").write_bytes(pickle.dumps(embeddings))
    (tmp_path / "said.txt").write_text(f"{embeddings!r} {dumpd(embeddings)} {dumps(store.as_retriever())}")
    assert hunt.files(tmp_path) == []
    assert hunt.attributes(embeddings) == []
    assert dumpd(embeddings)["type"] == "not_implemented"


@pytest.mark.usefixtures("current")
def test_an_error_shows_no_token_in_any_frame(gateway: Served, token: str) -> None:
    embeddings = VectorNodeEmbeddings(model="nobody-serves-this")
    for ask in (embeddings.embed_query, lambda text: asyncio.run(embeddings.aembed_query(text))):
        with pytest.raises(ModelUnavailableError) as caught:
            ask("a question")
        below = caught.tb.tb_next  # the frame of this test knows the token
        seen = "".join(traceback.TracebackException(caught.type, caught.value, below, capture_locals=True).format())
        assert "nobody-serves-this" in seen
        assert not Hunt(token).finds(seen)
    assert gateway.received[-1].headers["authorization"] == f"Bearer {token}"


@pytest.mark.usefixtures("current")
def test_a_pickle_works_in_a_process_that_has_its_own_token(gateway: Served, token: str, tmp_path: Path) -> None:
    embeddings = VectorNodeEmbeddings(dimension=DIMENSION)
    here = embeddings.embed_query(QUESTION)
    path = tmp_path / "embeddings.pickle"
    path.write_bytes(pickle.dumps(embeddings))
    script = "import pickle, sys\nprint(pickle.load(open(sys.argv[1], 'rb')).embed_query(sys.argv[2]))"
    own = {"VN_MAGIC_BASE_URL": gateway.url, "VECTORNODE_API_KEY": token, "VN_MAGIC_CACHE": str(tmp_path / "other")}
    assert output_of(script, str(path), QUESTION, **own) == f"{here}\n"
    assert gateway.texts == [QUESTION, QUESTION]


def test_without_langchain_the_import_says_what_to_install() -> None:
    script = "import sys\nsys.modules['langchain_core'] = None\nimport vn_magic.handover.langchain"
    with python(script) as process:
        _, err = process.communicate(timeout=300)
    *_, what, cure = err.splitlines()
    assert what == "vn_magic.exceptions.MissingExtraError: vn_magic.handover.langchain needs langchain-core."
    assert cure == 'Next: pip install "vn_magic[langchain]"'
    assert "During handling" not in err
