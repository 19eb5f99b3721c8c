"""Vectors of a session and of frames to a pack: each text with its own vector, as the service sent it; no secret."""

from __future__ import annotations

import random
import sys
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from support.engine import BAD_TEXT, behind, output_of
from support.gateways import Served, answering, json_answer, served
from support.packs import MODEL, pack_file, recording, unsigned_gateway, vector_of

from vn_magic import Session, load
from vn_magic.classroom.recording import Saved, save_frames, save_session
from vn_magic.exceptions import InputError, PackError, ProvenanceError
from vn_magic.history import MOST_TEXTS
from vn_magic.models import OFFLINE_MODEL
from vn_magic.offline import create_app
from vn_magic.pack import Pack
from vn_magic.pack_format import Group
from vn_magic.session import OFFLINE_NOTICE
from vn_magic.settings import Recipe

TASK = "SEMANTIC_SIMILARITY"
TOKEN = "sk-canary-7d1e5b0c93"
TEXTS = ["roses are red", "violets are blue", "sugar is sweet", "and so are you"]


@pytest.fixture
def gateway() -> Iterator[Served]:
    """A gateway with vectors of its own, of no length in particular."""
    with served(unsigned_gateway) as server:
        yield server


@pytest.fixture
def session(gateway: Served) -> Iterator[Session]:
    with Session(base_url=gateway.url, token=TOKEN) as session:
        yield session


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "lesson.vnpack"


def groups_of(saved: Saved) -> list[Group]:
    return list(saved.manifest.groups)


def content_of(path: Path) -> dict[tuple[str | None, str | None, int], list[str]]:
    """Return the texts of a pack by task, title and dimension, after a look at every vector: it is the text's own."""
    content = {}
    for each in Pack.read(path).recordings:
        group = each.group
        for text, vector in zip(each.texts, each.vectors, strict=True):
            own = vector_of(f"{text} {group.task_type} {group.title}", group.dimension)
            if group.unit_length:
                own /= np.float32(np.linalg.norm(own.astype(np.float64)))
            np.testing.assert_allclose(vector, own, rtol=2e-6 if group.unit_length else 0)
        content[group.task_type, group.title, group.dimension] = list(each.texts)
    return content


def content_texts(path: Path) -> list[str]:
    return [text for each in Pack.read(path).recordings for text in each.texts]


def refusal(work: Any, *arguments: Any, kind: type[Exception] = InputError, **options: Any) -> str:
    with pytest.raises(kind) as caught:
        work(*arguments, **options)
    assert 2 <= len(str(caught.value).split("\n")) <= 3
    assert "\nNext: " in str(caught.value)
    return str(caught.value)


# All of a session


def test_all_that_was_embedded_is_recorded_as_the_service_sent_it(session: Session, path: Path) -> None:
    session.embed([*TEXTS, TEXTS[0]], dimension=256)
    session.embed(TEXTS[:2], dimension=256, unit_length=False)
    session.embed(TEXTS[1:], dimension=128, task_type="RETRIEVAL_DOCUMENT", title="Poems")
    session.embed(["a question"], dimension=128, task_type="RETRIEVAL_QUERY")
    saved = save_session(session, path)
    assert content_of(path) == {
        (TASK, None, 256): TEXTS,
        ("RETRIEVAL_DOCUMENT", "Poems", 128): TEXTS[1:],
        ("RETRIEVAL_QUERY", None, 128): ["a question"],
    }
    assert (saved.path, saved.missing) == (path, 0)
    assert {group.unit_length for group in groups_of(saved)} == {False}


def test_the_manifest_says_who_made_it_of_what_and_when(session: Session, gateway: Served, path: Path) -> None:
    session.embed(TEXTS)
    manifest = save_session(session, path, licence="CC BY 4.0, A. Teacher").manifest
    assert manifest.made_by.startswith("vn_magic ")
    assert manifest.created[:3] == "202"
    assert manifest.created.endswith("+00:00")
    assert (manifest.licence, manifest.notices, manifest.rows) == ("CC BY 4.0, A. Teacher", [], 4)
    [group] = manifest.groups
    host = gateway.url.removeprefix("http://")
    assert (group.model, group.source, group.origin) == (MODEL, host, gateway.url)


def test_without_a_licence_none_is_claimed(session: Session, path: Path) -> None:
    session.embed(TEXTS)
    assert save_session(session, path).manifest.licence == "not stated"


def test_vectors_of_the_stand_in_are_labelled_so(offline: Session, path: Path) -> None:
    offline.embed(TEXTS)
    saved = save_session(offline, path)
    assert saved.manifest.notices == [OFFLINE_NOTICE]
    assert [(group.source, group.origin) for group in groups_of(saved)] == [(OFFLINE_MODEL, f"{OFFLINE_MODEL}/1")]


def test_a_path_in_the_base_url_stays_out(gateway: Served, path: Path) -> None:
    with Session(base_url=f"{gateway.url}/account-4711", token=TOKEN) as session:
        session.embed(TEXTS)
        [group] = groups_of(save_session(session, path))
    assert group.origin == gateway.url
    assert b"4711" not in path.read_bytes()


@pytest.mark.parametrize("order", [(256, 768), (768, 256), (256, 768, 256, 512)])
def test_vectors_of_several_dimensions_are_those_that_the_session_used(
    session: Session, path: Path, order: tuple[int, ...]
) -> None:
    results = {dimension: session.embed(TEXTS, dimension=dimension, result="numpy").tobytes() for dimension in order}
    save_session(session, path)
    longest_first = order[0] == max(order)
    assert set(content_of(path)) == {(TASK, None, 768)} | (set() if longest_first else {(TASK, None, 256)})
    with Session(environ={"VN_MAGIC_PACK": str(path)}) as student:
        for dimension, bits in results.items():
            assert student.embed(TEXTS, dimension=dimension, result="numpy").tobytes() == bits


def test_a_gateway_that_ignores_the_dimension_leaves_its_long_vectors(path: Path) -> None:
    with (
        served(create_app(token=TOKEN, drops_dimension=True)) as server,
        Session(base_url=server.url, token=TOKEN) as session,
    ):
        before = session.embed(TEXTS, dimension=256, result="numpy")
        saved = save_session(session, path)
    assert max(group.dimension for group in groups_of(saved)) == 3072
    with Session(environ={"VN_MAGIC_PACK": str(path)}) as student:
        assert np.array_equal(student.embed(TEXTS, dimension=256, result="numpy"), before)


def test_another_model_is_recorded_at_its_own_dimension(session: Session, path: Path) -> None:
    session.embed(TEXTS, model="gemini-embedding-2", dimension=256)
    session.embed(TEXTS, model="gemini-embedding-2", dimension=512)
    saved = save_session(session, path)
    assert [(group.model, group.task_type, group.dimension) for group in groups_of(saved)] == [
        ("gemini-embedding-2", None, 256),
        ("gemini-embedding-2", None, 512),
    ]


@pytest.mark.parametrize(
    "text", ["\0", "\u202eright to left", "caf\u00e9 cafe\u0301", "👩‍👩‍👧", " padded ", "a\nb\r\n", '"\\', "\ufeff"]
)
def test_odd_texts_are_recorded_and_found_as_they_are(session: Session, path: Path, text: str) -> None:
    before = session.embed([text, "x"], result="numpy")
    save_session(session, path)
    assert content_of(path) == {(TASK, None, 768): [text, "x"]}
    with Session(environ={"VN_MAGIC_PACK": str(path)}) as student:
        assert np.array_equal(student.embed([text, "x"], result="numpy"), before)


def test_a_megabyte_of_text_is_recorded(session: Session, path: Path) -> None:
    long = "many words " * 100_000
    before = session.embed([long], result="numpy")
    save_session(session, path)
    with Session(environ={"VN_MAGIC_PACK": str(path)}) as student:
        assert np.array_equal(student.embed([long], result="numpy"), before)


def test_texts_without_a_vector_are_left_out_and_counted(path: Path) -> None:
    async def rule(text: str) -> Any:
        return BAD_TEXT if "bad" in text else None

    with (
        served(behind(rule, unsigned_gateway)) as server,
        Session(base_url=server.url, token=TOKEN) as session,
    ):
        session.embed(["a", "bad", None], on_error="keep")
        session.embed(["not kept"], cache=False)
        saved = save_session(session, path)
    assert (content_of(path), saved.missing) == ({(TASK, None, 768): ["a"]}, 2)


def test_what_the_cache_has_forgotten_is_said_to_be_missing(session: Session, path: Path) -> None:
    session.embed(TEXTS)
    session.runtime.cache.clear()
    assert "There are no vectors to record: the cache has none of this session's 4 texts" in refusal(
        save_session, session, path
    )
    session.embed(TEXTS[:1])
    assert save_session(session, path).missing == 3


def test_a_session_without_vectors_has_nothing_to_record(session: Session, path: Path) -> None:
    assert refusal(save_session, session, path).startswith("There are no vectors to record.")
    assert not path.exists()


def test_a_session_that_has_embedded_too_much_says_how_to_go_on(session: Session, path: Path) -> None:
    session.embed(TEXTS)
    session.history.add(*next(iter(session.history))[:2], [str(number) for number in range(MOST_TEXTS)], kept=True)
    assert "more texts than it remembers" in refusal(save_session, session, path)


def test_two_makers_under_one_model_and_task_are_refused(session: Session, gateway: Served, path: Path) -> None:
    session.embed(TEXTS)
    session.configure("offline", True, "a test")
    session.embed(["another text"])
    host = gateway.url.removeprefix("http://")
    said = refusal(save_session, session, path)
    assert said.startswith(f"There are vectors of {host} and of offline-lexical for one model and task")
    assert not path.exists()


def test_two_makers_of_two_tasks_are_no_trouble(session: Session, gateway: Served, path: Path) -> None:
    session.embed(TEXTS)
    session.configure("offline", True, "a test")
    session.embed(["another text"], task_type="CLUSTERING")
    sources = [group.source for group in groups_of(save_session(session, path))]
    assert sources == [gateway.url.removeprefix("http://"), OFFLINE_MODEL]


def test_one_host_with_two_vectors_for_a_text_is_refused(path: Path) -> None:
    async def two_deployments(scope: Any, receive: Any, send: Any) -> None:
        values = vector_of(scope["path"].split("/")[1], 128).astype(float).tolist()
        await answering(json_answer({"embedding": {"values": values}}))(scope, receive, send)

    with served(two_deployments) as server, Session(base_url=f"{server.url}/one", token=TOKEN) as session:
        session.embed(["a"], dimension=128)
        session.configure("base_url", f"{server.url}/two", "a test")
        session.embed(["a"], dimension=128)
        assert refusal(save_session, session, path).startswith("'a' has two vectors for one model, task and title")
    assert not path.exists()


def test_a_session_that_uses_a_pack_records_what_it_answered(session: Session, tmp_path: Path, path: Path) -> None:
    first = session.embed(TEXTS, dimension=256, result="numpy")
    save_session(session, path)
    environ = {"VN_MAGIC_PACK": str(path), "VN_MAGIC_CACHE": str(tmp_path / "students")}
    with Session(environ=environ) as student:
        student.embed(TEXTS[:2], dimension=256)
        again = save_session(student, tmp_path / "again.vnpack")
    assert not (tmp_path / "students").exists()
    assert content_of(again.path) == {(TASK, None, 256): TEXTS[:2]}
    assert groups_of(again)[0].origin == groups_of(save_session(session, path))[0].origin
    with Session(environ={"VN_MAGIC_PACK": str(again.path)}) as other:
        assert np.array_equal(other.embed(TEXTS[:2], dimension=256, result="numpy"), first[:2])


def test_a_session_beside_a_pack_records_cache_pack_and_new_rows(
    session: Session, gateway: Served, tmp_path: Path, path: Path
) -> None:
    session.embed(TEXTS[:2])
    save_session(session, path)
    environ = {"VN_MAGIC_CACHE": str(tmp_path / "another")}
    with Session(base_url=gateway.url, token=TOKEN, environ=environ) as other:
        other.use_pack(path, strict=False, source="a test")
        other.embed(TEXTS)
        saved = save_session(other, tmp_path / "more.vnpack")
    assert (content_of(saved.path), saved.missing) == ({(TASK, None, 768): TEXTS}, 0)


def test_saving_opens_no_client_and_sends_nothing(session: Session, gateway: Served, path: Path) -> None:
    session.embed(TEXTS)
    session.close()
    sent = len(gateway.received)
    save_session(session, path)
    assert (len(gateway.received), session.runtime._clients) == (sent, {})


# Frames


def test_frames_alone_are_recorded_as_the_service_sent_them(session: Session, path: Path) -> None:
    poems = session.embed(TEXTS, dimension=256)
    session.embed(["not for you"])
    documents = session.embed(TEXTS[:2], dimension=128, task_type="RETRIEVAL_DOCUMENT", title="Poems")
    saved = save_frames(session, {"poems": poems, "documents": documents}, path)
    assert content_of(path) == {(TASK, None, 256): TEXTS, ("RETRIEVAL_DOCUMENT", "Poems", 128): TEXTS[:2]}
    assert {group.unit_length for group in groups_of(saved)} == {False}
    assert b"not for you" not in path.read_bytes()


def test_a_frame_of_shorter_vectors_is_recorded_with_the_longer_ones_that_they_are_cut_from(
    session: Session, path: Path
) -> None:
    session.embed(TEXTS[:2], dimension=768)
    frame = session.embed(TEXTS, dimension=256)  # two of them are cut, two were sent for
    save_frames(session, {"frame": frame}, path)
    assert content_of(path) == {(TASK, None, 768): TEXTS[:2], (TASK, None, 256): TEXTS[2:]}
    with Session(environ={"VN_MAGIC_PACK": str(path)}) as student:
        assert student.embed(TEXTS, dimension=256).vec.matrix.tobytes() == frame.vec.matrix.tobytes()


def _shapes(frame: pd.DataFrame) -> Mapping[str, pd.DataFrame]:
    return {
        "filtered": frame[frame.text.str.contains("are")],
        "sorted": frame.sort_values("text"),
        "sampled": frame.sample(3, random_state=1),
        "reversed": frame[::-1],
        "concatenated": pd.concat([frame[2:], frame[:1], frame[2:]]),
        "copied": frame.copy(deep=True),
        "indexed": frame.set_index(pd.Index(["d", "c", "b", "a"])),
        "renamed": frame.rename(columns={"text": "poem"}),
        "numbered": frame.rename(columns={"text": 0}),
        "with more columns": frame.assign(author="anonymous and unknown to all of us", stars=5, other=TEXTS[::-1]),
    }


@pytest.mark.parametrize("shape", _shapes(pd.DataFrame({"text": TEXTS})))
def test_a_frame_in_any_shape_has_each_text_with_its_own_vector(session: Session, path: Path, shape: str) -> None:
    frame = _shapes(session.embed(TEXTS, dimension=256))[shape]
    save_frames(session, {"frame": frame}, path)
    texts = frame[0 if shape == "numbered" else "poem" if shape == "renamed" else "text"]
    assert content_of(path) == {(TASK, None, 256): list(dict.fromkeys(texts))}


def test_whatever_the_columns_no_text_gets_another_ones_vector(session: Session, path: Path) -> None:
    draw = random.Random(6)
    words = [f"word {number}" for number in range(9)]
    session.embed(words, dimension=128)
    for _ in range(30):
        columns = {name: draw.choices(words, k=5) for name in "abc"}
        embedded = draw.choice("abc")
        frame = session.embed(pd.DataFrame(columns), column=embedded, dimension=128)
        frame = frame[draw.sample(list(frame.columns), 4)].sample(frac=1, random_state=draw.randrange(99))
        save_frames(session, {"frame": frame}, path)
        assert set(content_of(path)[TASK, None, 128]) == set(columns[embedded])


def test_two_titles_of_one_text_are_told_apart(session: Session, path: Path) -> None:
    frames = {
        title: session.embed(["a"], dimension=128, task_type="RETRIEVAL_DOCUMENT", title=title) for title in ("A", "B")
    }
    save_frames(session, {"frame": frames["B"]}, path)
    assert content_of(path) == {("RETRIEVAL_DOCUMENT", "B", 128): ["a"]}
    save_frames(session, frames, path)
    assert len(content_of(path)) == 2


def test_failed_rows_are_left_out(session: Session, path: Path) -> None:
    frame = session.embed(["a", None, "b", " "], on_error="keep", dimension=128)
    save_frames(session, {"frame": frame}, path)
    assert content_of(path) == {(TASK, None, 128): ["a", "b"]}


@pytest.mark.parametrize("rows", [slice(0, 0), slice(1, 2)])
def test_a_frame_without_any_vector_has_nothing_to_record(session: Session, path: Path, rows: slice) -> None:
    frame = session.embed(["a", None, "b"], on_error="keep", dimension=128)[rows]
    assert refusal(save_frames, session, {"frame": frame}, path).startswith("There are no vectors to record.")
    assert not path.exists()


def test_a_frame_whose_provenance_is_lost_is_refused(session: Session, path: Path) -> None:
    frame = session.embed(TEXTS)
    frame.attrs.clear()
    refusal(save_frames, session, {"frame": frame}, path, kind=ProvenanceError)


def test_a_frame_without_vectors_is_refused(session: Session, path: Path) -> None:
    refusal(save_frames, session, {"frame": pd.DataFrame({"text": TEXTS})}, path)


def test_a_column_that_was_changed_since_is_not_taken_for_the_texts(session: Session, path: Path) -> None:
    frame = session.embed(TEXTS, dimension=128)
    frame["text"] = frame["text"].str.upper()
    assert "does not know which texts" in refusal(save_frames, session, {"frame": frame}, path)
    said = refusal(save_frames, session, {"frame": frame}, path, column="text")
    assert said.startswith("The vectors of frame were not made from 'text': row 0 has that of 'roses are red'.")


def test_a_column_that_was_not_embedded_is_refused_where_the_session_knows(session: Session, path: Path) -> None:
    table = pd.DataFrame({"product": ["w", "x", "y", "z"], "review": TEXTS})
    frame = session.embed(table, column="review", dimension=128)
    assert "were not made from 'product'" in refusal(save_frames, session, {"frame": frame}, path, column="product")
    save_frames(session, {"frame": frame}, path, column="review")
    assert content_of(path) == {(TASK, None, 128): TEXTS}


# Frames that another session has made


@pytest.fixture
def loaded(session: Session, tmp_path: Path) -> pd.DataFrame:
    """A frame from a file, of which this session knows nothing."""
    frame = session.embed(pd.DataFrame({"name": ["w", "x", "y", "z"], "text": TEXTS}), column="text", dimension=256)
    frame.vec.save(tmp_path / "frame.npz")
    return load(tmp_path / "frame.npz")


@pytest.fixture
def stranger(gateway: Served, tmp_path: Path) -> Iterator[Session]:
    with Session(base_url=gateway.url, environ={"VN_MAGIC_CACHE": str(tmp_path / "strangers")}) as session:
        yield session


def test_a_frame_from_a_file_needs_the_name_of_its_texts(
    loaded: pd.DataFrame, stranger: Session, gateway: Served, path: Path
) -> None:
    said = refusal(save_frames, stranger, {"loaded": loaded}, path)
    assert said == (
        "This session does not know which texts the vectors of loaded were made from: it has not embedded them.\n"
        "Next: name their column, e.g. `%vn pack save FILE loaded -c text`."
    )
    [group] = groups_of(save_frames(stranger, {"loaded": loaded}, path, column="text"))
    assert content_of(path) == {(TASK, None, 256): TEXTS}
    assert (group.source, group.origin, group.unit_length) == (gateway.url.removeprefix("http://"), "", True)


def test_a_frame_from_a_file_is_answered_bit_for_bit(loaded: pd.DataFrame, stranger: Session, path: Path) -> None:
    save_frames(stranger, {"loaded": loaded}, path, column="text")
    with Session(environ={"VN_MAGIC_PACK": str(path)}) as student:
        assert student.embed(TEXTS, dimension=256).vec.matrix.tobytes() == loaded.vec.matrix.tobytes()


def test_a_raw_frame_from_a_file_answers_raw_and_at_unit_length(
    session: Session, stranger: Session, tmp_path: Path, path: Path
) -> None:
    raw = session.embed(TEXTS, dimension=256, unit_length=False)
    unit = session.embed(TEXTS, dimension=256, result="numpy")
    raw.vec.save(tmp_path / "raw.npz")
    save_frames(stranger, {"raw": load(tmp_path / "raw.npz")}, path, column="text")
    with Session(environ={"VN_MAGIC_PACK": str(path)}) as student:
        assert np.array_equal(student.embed(TEXTS, dimension=256, unit_length=False, result="numpy"), raw.vec.matrix)
        assert np.array_equal(student.embed(TEXTS, dimension=256, result="numpy"), unit)


@pytest.mark.parametrize("cell", [None, np.nan, pd.NA, 7, "", "  ", ["a"], b"a"], ids=repr)
def test_a_frame_from_a_file_with_a_vector_and_no_text_is_refused(
    loaded: pd.DataFrame, stranger: Session, path: Path, cell: object
) -> None:
    texts = pd.Series(TEXTS, dtype=object)
    texts[2] = cell
    loaded["text"] = texts
    assert "Row 2 of loaded has a vector, but its 'text' is" in refusal(
        save_frames, stranger, {"loaded": loaded}, path, column="text"
    )
    assert not path.exists()


@pytest.mark.parametrize("column", ["nothing", "embedding", "Text"])
def test_a_column_that_cannot_be_it_is_refused(
    loaded: pd.DataFrame, stranger: Session, path: Path, column: str
) -> None:
    with pytest.raises(InputError):
        save_frames(stranger, {"loaded": loaded}, path, column=column)


def test_two_columns_of_one_name_are_refused(loaded: pd.DataFrame, stranger: Session, path: Path) -> None:
    loaded.insert(0, "text", TEXTS[::-1], allow_duplicates=True)
    with pytest.raises(InputError, match="There is no column 'text', or several"):
        save_frames(stranger, {"loaded": loaded}, path, column="text")


def test_rows_of_a_file_and_of_the_session_in_one_frame_are_recorded_as_each_is_known(
    loaded: pd.DataFrame, stranger: Session, gateway: Served, path: Path
) -> None:
    with Session(base_url=gateway.url, token=TOKEN, environ=stranger._environ) as other:
        mine = other.embed(["mine", TEXTS[0]], dimension=256)
        both = pd.concat([loaded, mine])
        both.vec.provenance = mine.vec.provenance
        saved = save_frames(other, {"both": both}, path, column="text")
    assert [(group.unit_length, group.rows) for group in groups_of(saved)] == [(False, 2), (True, 3)]
    assert set().union(*(each.texts for each in Pack.read(path).recordings)) == {*TEXTS, "mine"}


def test_one_text_with_two_vectors_in_a_file_is_refused(
    session: Session, stranger: Session, tmp_path: Path, path: Path
) -> None:
    session.embed(["a", "b"], dimension=128).vec.save(tmp_path / "frame.npz")
    frame = load(tmp_path / "frame.npz")
    frame["text"] = ["a", "a"]
    said = refusal(save_frames, stranger, {"frame": frame}, path, column="text")
    assert said.startswith("'a' has two vectors for one model, task and title")


@pytest.mark.parametrize("second", [{"unit_length": False}, {"dimension": 256}], ids=["raw", "longer"])
def test_and_so_is_one_with_another_vector_in_another_group(
    session: Session, stranger: Session, tmp_path: Path, path: Path, second: dict[str, Any]
) -> None:
    for name, text, options in (("one", "a", {}), ("other", "b", second), ("same", "a", second)):
        session.embed([text], **{"dimension": 128, **options}).vec.save(tmp_path / f"{name}.npz")
    one, other, same = (load(tmp_path / f"{name}.npz") for name in ("one", "other", "same"))
    other["text"] = ["a"]
    said = refusal(save_frames, stranger, {"one": one, "other": other}, path, column="text")
    assert said.startswith("'a' has two vectors for one model, task and title")
    assert len(groups_of(save_frames(stranger, {"one": one, "same": same}, path, column="text"))) == 2


def test_documents_whose_title_is_not_known_do_not_answer_as_if_they_had_none(
    session: Session, stranger: Session, tmp_path: Path, path: Path
) -> None:
    options: dict[str, Any] = {"dimension": 128, "task_type": "RETRIEVAL_DOCUMENT"}
    session.embed(["a"], title="Poem", **options).vec.save(tmp_path / "frame.npz")
    frames = {"docs": load(tmp_path / "frame.npz")}
    assert refusal(save_frames, stranger, frames, path, column="text") == (
        "It is not known whether the documents of docs were embedded with a title: a frame does not say so.\n"
        "Next: embed these texts in this session first (what the cache has is not sent again), then save."
    )
    assert content_of(save_frames(session, frames, path).path) == {("RETRIEVAL_DOCUMENT", "Poem", 128): ["a"]}


def test_what_was_cached_before_a_pack_alone_answered_is_recorded_too(session: Session, path: Path) -> None:
    session.embed(TEXTS[:2], dimension=256)
    save_session(session, path)
    session.use_pack(path, strict=True, source="a test")
    session.drop_pack()
    session.embed(TEXTS, dimension=256)
    session.use_pack(path, strict=True, source="a test")
    saved = save_session(session, path)
    assert (saved.missing, saved.manifest.rows) == (0, len(TEXTS))


def test_the_stand_ins_frame_from_a_file_answers_for_the_model_that_is_set(
    offline: Session, tmp_path: Path, path: Path
) -> None:
    offline.embed(TEXTS, dimension=256).vec.save(tmp_path / "frame.npz")
    with Session(environ={}) as stranger:
        [group] = groups_of(save_frames(stranger, {"f": load(tmp_path / "frame.npz")}, path, column="text"))
    assert (group.model, group.source) == (MODEL, OFFLINE_MODEL)
    assert Pack.read(path).find(TEXTS[0], Recipe(MODEL, 256, TASK)) is not None


# The file


@pytest.mark.parametrize("name", ["lesson", "lesson.zip", "lesson.vnpack.bak", "lesson.VNPACK"])
def test_another_ending_is_refused_with_the_right_one(session: Session, tmp_path: Path, name: str) -> None:
    session.embed(TEXTS)
    said = refusal(save_session, session, tmp_path / name)
    assert said.startswith(f"A pack's name ends in .vnpack, and this one's is {name!r}.")
    assert [each.name for each in tmp_path.iterdir() if each.is_file()] == []


def test_a_folder_that_is_not_there_is_said_so_without_its_path(session: Session, tmp_path: Path) -> None:
    session.embed(TEXTS)
    said = refusal(save_session, session, tmp_path / "no" / "lesson.vnpack", kind=PackError)
    assert said.startswith("'lesson.vnpack' cannot be written there: No such file or directory.")
    assert str(tmp_path) not in said


def test_an_older_pack_is_replaced_as_a_whole_or_not_at_all(session: Session, path: Path) -> None:
    pack_file(path, recording(["older"], 4))
    older = path.read_bytes()
    session.embed(["sk-0123456789abcdef"], dimension=128)
    refusal(save_session, session, path, kind=PackError)
    assert path.read_bytes() == older
    frame = session.embed(TEXTS, dimension=128)
    save_frames(session, {"frame": frame}, path)
    assert content_of(path) == {(TASK, None, 128): TEXTS}
    assert [each.name for each in path.parent.iterdir() if each.is_file()] == ["lesson.vnpack"]


# No file may grow beyond a thousand bytes, as if the disk were full.
FULL = """
import resource, sys
from pathlib import Path
from vn_magic import Session
from vn_magic.classroom.recording import save_session
from vn_magic.exceptions import PackError

session = Session(offline=True)
session.embed(["a", "b"])
save_session(session, Path(sys.argv[1]))
session.embed(["c"])
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    save_session(session, Path(sys.argv[1]))
except PackError as error:
    print(error)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="there are no such limits")
def test_a_disk_that_is_full_leaves_the_older_pack(path: Path) -> None:
    said = output_of(FULL, str(path))
    assert said.startswith("'lesson.vnpack' cannot be written there: ")
    assert content_texts(path) == ["a", "b"]
    assert [each.name for each in path.parent.iterdir() if each.is_file()] == ["lesson.vnpack"]


def test_a_pack_holds_no_place_of_this_machine(session: Session, path: Path) -> None:
    session.embed(TEXTS)
    save_session(session, path)
    with zipfile.ZipFile(path) as file:
        content = b"".join([*(file.read(name) for name in file.namelist()), path.read_bytes()])
    for place in (Path.home(), Path.cwd(), path.parent, Path(__file__).parents[2]):
        assert str(place).encode() not in content
    assert b"uthorization" not in content


# Secrets


@pytest.mark.parametrize("secret", [TOKEN, "sk-0123456789abcdef", f"my token is {TOKEN}!"])
def test_a_text_a_title_a_licence_or_a_model_with_a_token_is_refused_without_echoing_it(
    session: Session, path: Path, secret: str
) -> None:
    frame = session.embed(TEXTS, dimension=128)
    refusals = [refusal(save_session, session, path, licence=secret, kind=PackError)]
    session.embed(["a"], dimension=128, task_type="RETRIEVAL_DOCUMENT", title=secret)
    refusals.append(refusal(save_session, session, path, kind=PackError))
    session.embed([secret], dimension=128, task_type="CLUSTERING")
    refusals.append(refusal(save_session, session, path, kind=PackError))
    assert [said[:10] for said in refusals] == ["1 of the t", "1 of the t", "2 of the t"]
    assert all("7d1e5b0c93" not in said and "0123456789ab" not in said for said in refusals)
    assert not path.exists()
    save_frames(session, {"frame": frame}, path)


def test_a_token_of_another_shape_is_known_by_the_session_that_holds_it(gateway: Served, path: Path) -> None:
    with Session(base_url=gateway.url, token="AIzaSyD-other-shape-77") as session:
        session.embed(["the key is AIzaSyD-other-shape-77"])
        assert "AIzaSyD" not in refusal(save_session, session, path, kind=PackError)


def test_a_token_of_the_environment_is_known_too(gateway: Served, path: Path, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("hush-hush-hush-4711\n", encoding="utf-8")
    environ = {"VECTORNODE_API_KEY_FILE": str(tmp_path / "token"), "VN_MAGIC_CACHE": str(tmp_path / "cache")}
    with Session(base_url=gateway.url, environ=environ) as session:
        session.embed(["say hush-hush-hush-4711 and go in"])
        assert "hush-hush" not in refusal(save_session, session, path, kind=PackError)


def test_twenty_thousand_texts_are_recorded_and_answered(tmp_path: Path) -> None:
    texts = [f"text {number}" for number in range(MOST_TEXTS)]
    pack = pack_file(tmp_path / "large.vnpack", recording(texts, 128))
    with Session(environ={"VN_MAGIC_PACK": str(pack)}) as session:
        before = session.embed(texts, dimension=128, result="numpy")
        saved = save_session(session, tmp_path / "again.vnpack")
    assert (saved.manifest.rows, saved.missing) == (MOST_TEXTS, 0)
    with Session(environ={"VN_MAGIC_PACK": str(saved.path)}) as session:
        assert np.array_equal(session.embed(texts, dimension=128, result="numpy"), before)
