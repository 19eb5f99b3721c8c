"""`VectorNodeEmbeddingFunction` in chromadb's own hands: real collections on disk, reopened, refused where wrong."""

from __future__ import annotations

import copy
import importlib
import json
import pickle
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from support.engine import output_of, python
from support.gateways import Served, served
from support.hunt import Hunt
from support.packs import SOURCE, pack_file, recording, unsigned_gateway
from support.unplugged import Machine

from vn_magic import Session
from vn_magic.classroom.recording import save_session
from vn_magic.exceptions import InputError, MissingExtraError, ModelUnavailableError, ProvenanceError

chromadb = pytest.importorskip("chromadb", reason='needs pip install -e ".[chroma]"')

from chromadb.api.types import EmbeddingFunction  # noqa: E402 - where it is installed
from chromadb.config import Settings  # noqa: E402 - as above

from vn_magic.handover.chroma import VectorNodeEmbeddingFunction  # noqa: E402 - as above
from vn_magic.handover.langchain import VectorNodeEmbeddings  # noqa: E402 - as above

TEXTS = [
    "The cat sat on the mat.",
    "A cat was sitting on a mat.",
    "Stock markets fell sharply today.",
    "Shares and stock markets fell.",
    "Bread is baked from flour and water.",
]
IDS = ["0", "1", "2", "3", "4"]
QUESTION = "Where did the cat sit?"
DIMENSION = 256
REOPEN = """
import chromadb, json, sys
from chromadb.config import Settings
import vn_magic.handover.chroma
client = chromadb.PersistentClient(sys.argv[1], settings=Settings(anonymized_telemetry=False))
found = client.get_collection("texts").query(query_texts=[sys.argv[2]], n_results=5)
print(json.dumps({"ids": found["ids"][0], "distances": found["distances"][0], "onnx": "onnxruntime" in sys.modules}))
"""


def take_its_place(monkeypatch: pytest.MonkeyPatch, session: Session) -> Session:
    monkeypatch.setattr("vn_magic.current._default_session", [session])
    return session


@pytest.fixture
def real() -> Iterator[Served]:
    """A gateway whose vectors are of another kind for each task, and are not signed as the stand-in's are."""
    with served(unsigned_gateway) as server:
        yield server


@pytest.fixture
def current(real: Served, token: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Session]:
    """The current session, at `real`."""
    with Session(base_url=real.url, token=token) as session:
        yield take_its_place(monkeypatch, session)


@pytest.fixture
def local(offline: Session, monkeypatch: pytest.MonkeyPatch) -> Session:
    """The stand-in inside the process, as the current session."""
    return take_its_place(monkeypatch, offline)


@pytest.fixture
def client(tmp_path: Path) -> Any:
    return chromadb.PersistentClient(str(tmp_path / "chroma"), settings=Settings(anonymized_telemetry=False))


def filled(client: Any, **options: Any) -> Any:
    collection = client.create_collection(
        "texts", embedding_function=VectorNodeEmbeddingFunction(dimension=DIMENSION, **options)
    )
    collection.add(ids=IDS, documents=TEXTS)
    return collection


def host(server: Served) -> str:
    return server.url.removeprefix("http://")


def config_of(collection: Any) -> dict[str, Any]:
    config: dict[str, Any] = collection.configuration_json["embedding_function"]["config"]
    return config


def ranking(session: Session, question: str = QUESTION) -> pd.DataFrame:
    frame = session.embed(TEXTS, dimension=DIMENSION, task_type="RETRIEVAL_DOCUMENT")
    assert isinstance(frame, pd.DataFrame)
    nearest: pd.DataFrame = frame.vec.nearest(question)
    return nearest


# What a collection finds


@pytest.mark.parametrize("place", ["current", "local"])
def test_a_collection_ranks_as_nearest_does(place: str, client: Any, request: pytest.FixtureRequest) -> None:
    session = request.getfixturevalue(place)
    questions = [QUESTION, "What is bread made of?"]
    found = filled(client).query(query_texts=questions, n_results=len(TEXTS))
    for ids, distances, question in zip(found["ids"], found["distances"], questions, strict=True):
        nearest = ranking(session, question)
        assert ids == nearest.index.astype(str).tolist()
        assert distances == pytest.approx((1 - nearest["similarity"]).tolist(), abs=1e-6)


@pytest.mark.usefixtures("current")
def test_documents_and_queries_have_tasks_that_meet(client: Any, real: Served) -> None:
    function = VectorNodeEmbeddingFunction(dimension=DIMENSION)
    collection = client.create_collection("texts", embedding_function=function)
    collection.add(ids=["a"], documents=["added"])
    collection.update(ids=["a"], documents=["updated"])
    collection.upsert(ids=["b"], documents=["upserted"])
    collection.query(query_texts=["asked"], n_results=1)
    assert [(request.text, request.json["taskType"]) for request in real.received] == [
        ("added", "RETRIEVAL_DOCUMENT"),
        ("updated", "RETRIEVAL_DOCUMENT"),
        ("upserted", "RETRIEVAL_DOCUMENT"),
        ("asked", "RETRIEVAL_QUERY"),
    ]
    assert {request.json["output_dimensionality"] for request in real.received} == {DIMENSION}


def test_a_collection_has_the_vectors_in_the_order_of_its_documents_and_pays_for_a_text_once(
    client: Any, current: Session, real: Served
) -> None:
    documents = ["b", "a", "b"]
    collection = client.create_collection("texts", embedding_function=VectorNodeEmbeddingFunction(dimension=DIMENSION))
    collection.add(ids=IDS[:3], documents=documents)
    collection.add(ids=IDS[3:], documents=documents[:2])
    kept = collection.get(ids=IDS[:3], include=["embeddings"])["embeddings"]
    assert sorted(real.texts) == ["a", "b"]
    expected = current.embed(documents, dimension=DIMENSION, task_type="RETRIEVAL_DOCUMENT", result="numpy")
    np.testing.assert_allclose(kept, np.asarray(expected), atol=1e-7)  # chroma normalises once more


@pytest.mark.usefixtures("local")
def test_distances_are_of_cosine_unless_another_space_is_asked_for(client: Any) -> None:
    assert filled(client).configuration_json["hnsw"]["space"] == "cosine"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        other = client.create_collection(
            "other",
            embedding_function=VectorNodeEmbeddingFunction(dimension=DIMENSION),
            configuration={"hnsw": {"space": "l2"}},
        )
    assert other.configuration_json["hnsw"]["space"] == "l2"


# What a collection keeps


@pytest.mark.usefixtures("current")
def test_a_collection_keeps_all_that_makes_its_vectors_comparable(client: Any, real: Served) -> None:
    assert config_of(filled(client)) == {
        "source": host(real),
        "model": "gemini-embedding-001",
        "dimension": DIMENSION,
        "document_task": "RETRIEVAL_DOCUMENT",
        "query_task": "RETRIEVAL_QUERY",
        "unit_length": True,
    }


@pytest.mark.usefixtures("local")
def test_a_collection_of_offline_vectors_is_labelled_so(client: Any) -> None:
    stored = filled(client, model="gemini-embedding-001").configuration_json["embedding_function"]
    assert stored["name"] == "vn_magic_offline"
    assert (stored["config"]["source"], stored["config"]["model"]) == ("offline-lexical", "offline-lexical")


def test_a_collection_that_another_process_reopens_asks_as_it_was_filled(
    client: Any, current: Session, real: Served, token: str, tmp_path: Path
) -> None:
    filled(client)
    own = {
        "VN_MAGIC_BASE_URL": real.url,
        "VECTORNODE_API_KEY": token,
        "VN_MAGIC_CACHE": str(tmp_path / "other"),
    }
    found = json.loads(output_of(REOPEN, str(tmp_path / "chroma"), QUESTION, **own))
    asked = real.received[-1]
    assert (asked.json["taskType"], asked.json["output_dimensionality"]) == ("RETRIEVAL_QUERY", DIMENSION)
    assert asked.headers["authorization"] == f"Bearer {token}"
    nearest = ranking(current)
    assert found["ids"] == nearest.index.astype(str).tolist()
    assert found["distances"] == pytest.approx((1 - nearest["similarity"]).tolist(), abs=1e-6)
    assert not found["onnx"]  # what chroma's own function needs, which would fetch a model
    assert Hunt(token).files(tmp_path) == []


@pytest.mark.usefixtures("local")
def test_nothing_but_loopback_is_tried_to_be_reached(client: Any, tmp_path: Path) -> None:
    filled(client)
    (tmp_path / "home").mkdir()
    machine = Machine(tmp_path / "home")
    ended = machine.run(
        Path(sys.executable), "-c", REOPEN, str(tmp_path / "chroma"), QUESTION, cwd=tmp_path, VN_MAGIC_OFFLINE="1"
    )
    assert set(json.loads(ended.stdout)["ids"][:2]) == {"0", "1"}
    assert ended.stderr == ""
    assert machine.attempts == []


@pytest.mark.usefixtures("current")
def test_a_pickle_and_a_copy_are_made_of_the_same_and_show_no_token(token: str) -> None:
    function = VectorNodeEmbeddingFunction(dimension=DIMENSION)
    data = pickle.dumps(function)
    assert pickle.loads(data).get_config() == copy.deepcopy(function).get_config() == function.get_config()
    assert not Hunt(token).finds(data)
    assert Hunt(token).attributes(function) == []


@pytest.mark.usefixtures("current")
def test_a_pickle_stays_what_it_is_where_the_session_is_elsewhere(
    offline: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = pickle.dumps(VectorNodeEmbeddingFunction())
    take_its_place(monkeypatch, offline)
    assert pickle.loads(data).name() == "vn_magic"
    assert VectorNodeEmbeddingFunction().name() == "vn_magic_offline"


@pytest.mark.usefixtures("local")
@pytest.mark.parametrize("change", [{"unit_length": False}, {"whatever": 1}, {"source": None}])
def test_a_config_of_another_making_is_refused(change: dict[str, Any]) -> None:
    config = {**VectorNodeEmbeddingFunction().get_config(), **change}
    if change.get("source", "") is None:
        del config["source"]
    with pytest.raises(ProvenanceError, match="not what vn_magic stores in a collection"):
        VectorNodeEmbeddingFunction.build_from_config(config)


# What a pack answers


def through_chroma() -> tuple[Any, Any]:
    function = VectorNodeEmbeddingFunction(dimension=DIMENSION)
    return np.array(function(TEXTS)), np.array(function.embed_query([QUESTION]))


def through_langchain() -> tuple[Any, Any]:
    embeddings = VectorNodeEmbeddings(dimension=DIMENSION)
    return np.array(embeddings.embed_documents(TEXTS)), np.array([embeddings.embed_query(QUESTION)])


@pytest.mark.parametrize("replay", [through_chroma, through_langchain])
@pytest.mark.parametrize(
    ("record", "where"),
    [(through_chroma, "offline"), (through_langchain, "offline"), (through_langchain, "session")],
)
def test_what_the_stand_in_has_answered_to_one_neighbour_a_pack_answers_to_each(
    record: Callable[[], tuple[Any, Any]],
    where: str,
    replay: Callable[[], tuple[Any, Any]],
    tmp_path: Path,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    teacher = take_its_place(monkeypatch, request.getfixturevalue(where))
    recorded = record()
    save_session(teacher, tmp_path / "lesson.vnpack")
    student = take_its_place(monkeypatch, Session(environ={}))  # neither offline nor logged in
    student.use_pack(tmp_path / "lesson.vnpack", strict=True, source="this test")
    for before, after in zip(recorded, replay(), strict=True):
        np.testing.assert_array_equal(before, after)


def test_under_a_pack_that_alone_answers_a_collection_says_where_the_pack_is_from(
    client: Any, local: Session, tmp_path: Path
) -> None:
    tasks = ("RETRIEVAL_DOCUMENT", "RETRIEVAL_QUERY")
    path = pack_file(tmp_path / "lesson.vnpack", *(recording([QUESTION, *TEXTS], task_type=task) for task in tasks))
    local.use_pack(path, strict=True, source="this test")
    collection = filled(client)
    assert collection.configuration_json["embedding_function"]["name"] == "vn_magic"
    assert config_of(collection)["source"] == SOURCE
    assert len(collection.query(query_texts=[QUESTION], n_results=2)["ids"][0]) == 2


@pytest.mark.usefixtures("local")
def test_under_a_pack_of_several_gateways_the_source_is_where_the_session_is(local: Session, tmp_path: Path) -> None:
    kinds = ({}, {"source": "other.example", "origin": "https://other.example", "task_type": "CLUSTERING"})
    path = pack_file(tmp_path / "lesson.vnpack", *(recording(TEXTS, **kind) for kind in kinds))
    local.use_pack(path, strict=True, source="this test")
    assert VectorNodeEmbeddingFunction().get_config()["source"] == "offline-lexical"


# What is refused


@pytest.mark.usefixtures("local")
@pytest.mark.parametrize("source", ["https://user:secret@www.vectronode.com", "user:secret@host", 5, 0, ""])
def test_a_source_that_is_no_host_is_refused_without_quoting_it(source: Any) -> None:
    with pytest.raises(InputError) as caught:
        VectorNodeEmbeddingFunction(source=source)
    first, cure = str(caught.value).splitlines()
    assert "neither a host nor the stand-in's name" in first
    assert cure.startswith("Next: source='www.vectronode.com' or source='offline-lexical'")
    assert "secret" not in str(caught.value)


@pytest.mark.usefixtures("current")
def test_a_gateways_collection_is_not_asked_offline(
    client: Any, real: Served, offline: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled(client)
    take_its_place(monkeypatch, offline)
    for collection in (client.get_collection("texts"), client.get_collection("texts", embedding_function=None)):
        with pytest.raises(ProvenanceError) as caught:
            collection.query(query_texts=[QUESTION])
        first, cure = str(caught.value).splitlines()
        assert first == (
            f"These rows are from {host(real)}, but the session is offline: its vectors cannot be compared."
        )
        assert cure.startswith("Next: `%vn offline off`")


@pytest.mark.usefixtures("local")
def test_an_offline_collection_is_not_filled_or_asked_at_a_gateway(
    client: Any, real: Served, token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    collection = filled(client)
    take_its_place(monkeypatch, Session(base_url="https://gateway.invalid", token="sk-never-sent-00"))
    with pytest.raises(ProvenanceError, match=r"offline \(lexical\) vectors, but the session talks to https://gateway"):
        collection.add(ids=["new"], documents=["a new one"])
    with Session(base_url=real.url, token=token) as session:  # on loopback, where a stand-in may be served
        take_its_place(monkeypatch, session)
        with pytest.raises(ProvenanceError, match=f"offline-lexical belong here, but {host(real)} has answered"):
            collection.add(ids=["new"], documents=["a new one"])
        with pytest.raises(ProvenanceError, match=f"but {host(real)} has answered"):
            collection.query(query_texts=[QUESTION])
    assert collection.count() == len(TEXTS)


@pytest.mark.usefixtures("current")
def test_a_collection_of_one_gateway_is_not_asked_at_another(
    client: Any, real: Served, gateway: Served, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled(client)
    take_its_place(monkeypatch, session)
    with pytest.raises(
        ProvenanceError, match=f"These rows are from {host(real)}, but the session talks to {gateway.url}"
    ):
        client.get_collection("texts").query(query_texts=[QUESTION])
    assert gateway.received == []


def test_a_served_stand_in_fills_a_collection_that_says_so_and_no_other(
    client: Any, session: Session, gateway: Served, offline: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    take_its_place(monkeypatch, session)
    collection = client.create_collection("unlabelled", embedding_function=VectorNodeEmbeddingFunction())
    with pytest.raises(ProvenanceError) as caught:
        collection.add(ids=["a"], documents=["a document"])
    assert str(caught.value).splitlines()[0] == (
        f"Vectors from {host(gateway)} belong here, but offline-lexical has answered: they cannot be compared."
    )
    assert "source='offline-lexical'" in str(caught.value)
    assert collection.count() == 0
    there = filled(client, source="offline-lexical").query(query_texts=[QUESTION])
    sent = len(gateway.received)
    client.get_collection("texts").update(ids=IDS, documents=TEXTS)
    assert len(gateway.received) == sent  # the function that was stored asks for the same, which is in the cache
    take_its_place(monkeypatch, offline)
    assert client.get_collection("texts").query(query_texts=[QUESTION])["ids"] == there["ids"]


@pytest.mark.usefixtures("current")
def test_chroma_itself_refuses_a_function_of_the_other_kind(
    client: Any, offline: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled(client)
    at_the_gateway = VectorNodeEmbeddingFunction(dimension=DIMENSION)
    take_its_place(monkeypatch, offline)
    lexical = VectorNodeEmbeddingFunction(dimension=DIMENSION)
    for get in (client.get_collection, client.get_or_create_collection):
        with pytest.raises(ValueError, match="new: vn_magic_offline vs persisted: vn_magic"):
            get("texts", embedding_function=lexical)
        assert get("texts", embedding_function=at_the_gateway).count() == len(TEXTS)
    client.create_collection("lexical", embedding_function=lexical)
    with pytest.raises(ValueError, match="new: vn_magic vs persisted: vn_magic_offline"):
        client.get_collection("lexical", embedding_function=at_the_gateway)


@pytest.mark.usefixtures("local")
def test_another_function_in_the_place_of_the_one_that_has_filled_a_collection_is_an_error_that_can_be_undone(
    client: Any,
) -> None:
    collection = filled(client)
    collection.modify(configuration={"embedding_function": VectorNodeEmbeddingFunction(dimension=DIMENSION)})
    with pytest.raises(ProvenanceError, match="but chroma has stored it") as caught:
        collection.modify(configuration={"embedding_function": VectorNodeEmbeddingFunction(dimension=384)})
    cure = "collection.modify(" + str(caught.value).partition("collection.modify(")[2]
    eval(cure, {"collection": collection, "VectorNodeEmbeddingFunction": VectorNodeEmbeddingFunction})
    assert config_of(client.get_collection("texts"))["dimension"] == DIMENSION


@pytest.mark.usefixtures("current")
@pytest.mark.parametrize("blank", ["", " \n"])
def test_a_blank_document_is_named_and_nothing_is_sent_or_stored(client: Any, real: Served, blank: str) -> None:
    collection = client.create_collection("texts", embedding_function=VectorNodeEmbeddingFunction())
    with pytest.raises(InputError) as caught:
        collection.add(ids=["a", "b"], documents=["fine", blank])
    first, cure = str(caught.value).splitlines()
    assert "row 1 (blank)" in first
    assert cure.startswith("Next: leave them out; a store has no place for what has no vector.")
    assert real.received == []
    assert collection.count() == 0


@pytest.mark.usefixtures("local")
def test_a_picture_is_refused_as_no_text(client: Any) -> None:
    collection = client.create_collection("texts", embedding_function=VectorNodeEmbeddingFunction())
    with pytest.raises(InputError, match=r"row 0 \(not text but ndarray\)"):
        collection.add(ids=["a"], images=[np.zeros((2, 2), dtype=np.uint8)])


def test_an_error_shows_no_token_in_any_frame(
    client: Any, session: Session, gateway: Served, token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    take_its_place(monkeypatch, session)
    function = VectorNodeEmbeddingFunction(model="nobody-serves-this")
    collection = client.create_collection("texts", embedding_function=function)
    with pytest.raises(ModelUnavailableError) as caught:
        collection.add(ids=["a"], documents=["a document"])
    below = caught.tb.tb_next  # the frame of this test knows the token
    seen = "".join(traceback.TracebackException(caught.type, caught.value, below, capture_locals=True).format())
    assert "nobody-serves-this" in seen
    assert not Hunt(token).finds(seen)
    assert gateway.received[-1].headers["authorization"] == f"Bearer {token}"


@pytest.mark.usefixtures("local")
def test_a_class_of_the_users_own_is_made_as_it_says_where_the_stand_in_answers() -> None:
    class Own(VectorNodeEmbeddingFunction):
        """A class that a user derives."""

    own = Own(dimension=DIMENSION)
    assert type(own) is Own
    assert len(own(["a document"])[0]) == DIMENSION


def test_without_chroma_the_import_says_what_to_install() -> None:
    with python("import sys; sys.modules['chromadb'] = None\nimport vn_magic.handover.chroma") as process:
        _, err = process.communicate(timeout=300)
    assert err.endswith(
        "MissingExtraError: vn_magic.handover.chroma needs chromadb 1.1 or newer.\n"
        'Next: pip install "vn_magic[chroma]"\n'
    )
    assert "During handling" not in err


def test_with_a_chroma_that_embeds_questions_as_documents_the_import_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delattr(EmbeddingFunction, "embed_query")
    with pytest.raises(MissingExtraError, match=r"needs chromadb 1.1 or newer"):
        importlib.reload(sys.modules["vn_magic.handover.chroma"])
