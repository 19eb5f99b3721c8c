"""A session with a pack: who answers, and who is left alone."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from support.gateways import Served, served
from support.packs import MODEL, pack_file, recording, unsigned_gateway, vector_of

from vn_magic import Embeddings, Provenance, Session
from vn_magic.classroom.recording import save_session
from vn_magic.exceptions import InputError, NotInPackError, PackError, ProvenanceError, TokenError
from vn_magic.models import OFFLINE_MODEL
from vn_magic.pack import Pack
from vn_magic.queries import embedded_query
from vn_magic.session import OFFLINE_NOTICE

TEXTS = [f"text {number}" for number in range(12)]
TOKEN = "sk-anything-1234"
HOST = "gateway.example"

Answering = Callable[..., Session]


def job(session: Session, texts: object, **options: Any) -> Embeddings:
    """Run a job and return all that it tells."""
    return session.run(session.run_job(session.prepare(texts, **{"dimension": 256, **options})))


def unit(text: str, dimension: int) -> NDArray[np.float64]:
    wide = vector_of(text, dimension).astype(np.float64)
    return np.asarray(wide / np.sqrt((wide**2).sum()))


@pytest.fixture
def lesson(tmp_path: Path) -> Path:
    return pack_file(
        tmp_path / "lesson.vnpack", recording(TEXTS, 768), recording(["a question"], 768, task_type="CLUSTERING")
    )


@pytest.fixture
def answering(lesson: Path) -> Iterator[Answering]:
    """Make sessions that use the lesson's pack."""
    made: list[Session] = []

    def make(*, strict: bool = True, **options: Any) -> Session:
        session = Session(**options)
        session.use_pack(lesson, strict=strict, source="a test")
        made.append(session)
        return session

    yield make
    for session in made:
        session.close()


@pytest.fixture
def unsigned() -> Iterator[Served]:
    """A gateway with vectors of its own."""
    with served(unsigned_gateway) as server:
        yield server


# A pack alone


def test_a_strict_pack_answers_without_token_network_cache_or_a_thread_for_it(
    answering: Answering, gateway: Served, tmp_path: Path
) -> None:
    before = set(threading.enumerate())
    session = answering(base_url=gateway.url)
    matrix = session.embed([*TEXTS, TEXTS[3]], result="numpy", dimension=256)
    np.testing.assert_allclose(matrix, [unit(text, 256) for text in [*TEXTS, TEXTS[3]]], atol=2e-7)
    assert gateway.received == []
    assert not (tmp_path / "cache").exists()
    assert session.runtime._clients == {}
    assert [thread.name for thread in set(threading.enumerate()) - before] == ["vn_magic loop"]


@pytest.mark.parametrize("place", ["file/cache", "absent"])
def test_a_cache_folder_that_cannot_be_used_is_not_noticed(lesson: Path, tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text("in the way", encoding="utf-8")
    environ = {"VN_MAGIC_CACHE": str(tmp_path / place), "VN_MAGIC_PACK": str(lesson)}
    with Session(environ=environ) as session:
        assert job(session, TEXTS).summary.notices == ()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "lesson.vnpack"]


def test_what_was_recorded_is_answered_bit_for_bit(unsigned: Served, tmp_path: Path) -> None:
    def lesson_of(each: Session) -> list[bytes]:
        texts = [*TEXTS, TEXTS[0]]
        results = [
            each.embed(texts, dimension=256, result="numpy"),
            each.embed(texts, result="numpy"),
            each.embed(texts, dimension=512, unit_length=False, result="numpy"),
            each.embed(texts[:3], dimension=128, task_type="RETRIEVAL_DOCUMENT", title="A title", result="numpy"),
            each.embed(pd.DataFrame({"text": texts, "n": range(13)}), column="text", dimension=384).vec.matrix,
            each.embed(texts, model="gemini-embedding-2", dimension=256, result="numpy"),
        ]
        return [result.tobytes() for result in results]

    with Session(base_url=unsigned.url, token=TOKEN) as session:
        recorded = lesson_of(session)
        saved = save_session(session, tmp_path / "lesson.vnpack")
        assert (saved.missing, lesson_of(session)) == (0, recorded)
    asked = len(unsigned.received)
    with Session(environ={"VN_MAGIC_PACK": str(saved.path)}) as student:
        assert lesson_of(student) == recorded
    assert len(unsigned.received) == asked


def test_rows_of_a_pack_are_counted_as_such(answering: Answering) -> None:
    session = answering()
    summary = job(session, [*TEXTS, TEXTS[0]]).summary
    assert (summary.new, summary.cached, summary.recorded, summary.duplicates, summary.requests) == (0, 0, 12, 1, 0)
    assert (session.totals.recorded, session.totals.requests) == (12, 0)


def test_provenance_names_who_computed_the_recorded_vectors(answering: Answering) -> None:
    provenance = job(answering(base_url="https://elsewhere.example"), TEXTS).provenance
    assert (provenance.source, provenance.model, provenance.dimension) == (HOST, MODEL, 256)


def test_the_stand_ins_vectors_are_said_to_be_lexical_once(tmp_path: Path) -> None:
    pack = pack_file(tmp_path / "x.vnpack", recording(["a"], 256, source=OFFLINE_MODEL, origin="offline-lexical/1"))
    with Session(environ={"VN_MAGIC_PACK": str(pack)}) as session:
        first = job(session, ["a"])
        assert (first.provenance.model, first.summary.notices) == (OFFLINE_MODEL, (OFFLINE_NOTICE,))
        assert job(session, ["a"]).summary.notices == ()


def test_the_session_may_be_offline_or_logged_in_and_the_pack_alone_answers(
    answering: Answering, gateway: Served, token: str
) -> None:
    for session in (answering(offline=True), answering(base_url=gateway.url, token=token)):
        assert job(session, TEXTS).provenance.source == HOST
    assert gateway.received == []


def test_aembed_and_embed_answer_alike(answering: Answering) -> None:
    session = answering()
    awaited = asyncio.run(session.aembed(TEXTS, result="numpy"))
    assert np.array_equal(awaited, session.embed(TEXTS, result="numpy"))


def test_a_session_that_was_closed_still_has_its_pack(answering: Answering) -> None:
    session = answering()
    before = session.embed(TEXTS, result="numpy")
    session.close()
    assert np.array_equal(session.embed(TEXTS, result="numpy"), before)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_answers_from_the_pack(answering: Answering) -> None:
    session = answering()
    mine = session.embed(TEXTS, result="numpy")
    child = os.fork()
    if child == 0:
        try:
            same = np.array_equal(session.embed(TEXTS, result="numpy"), mine)
            os._exit(0 if same else 1)
        finally:
            os._exit(2)
    assert os.waitpid(child, 0)[1] == 0


# Texts that are not in it


def test_an_unseen_text_is_refused_with_the_nearest_recorded_one(answering: Answering, gateway: Served) -> None:
    session = answering(base_url=gateway.url)
    with pytest.raises(NotInPackError) as caught:
        session.embed(["text 1", "tekst 3", "text 2"])
    assert str(caught.value).split("\n") == [
        "Row 1 ('tekst 3'): This text is not in the pack lesson.vnpack, which alone answers here.",
        "The nearest recorded text is 'text 3'.",
        "Next: use a recorded text exactly as it is, or `%vn pack off` and a token.",
    ]
    assert gateway.received == []


def test_under_keep_an_unseen_text_fails_alone_with_all_its_duplicates(answering: Answering) -> None:
    frame = answering().embed(["text 1", "new", "text 2", "new", None], on_error="keep")
    assert [error and error[:14] for error in frame["error"]] == [
        None,
        "Row 1 ('new'):",
        None,
        "Row 1 ('new'):",
        "missing",
    ]
    assert np.isnan(np.stack(list(frame["embedding"]))).all(axis=1).tolist() == [False, True, False, True, True]


def test_thousands_of_unseen_texts_are_refused_without_a_search_for_each(tmp_path: Path) -> None:
    long = [f"{number} " + "lorem ipsum " * 20 for number in range(2000)]
    pack = pack_file(tmp_path / "x.vnpack", recording(long, 128))
    with Session(environ={"VN_MAGIC_PACK": str(pack)}) as session:
        embeddings = job(session, [f"not {text}" for text in long], dimension=128, on_error="keep")
    hints = [error.split("\n")[1] for error in embeddings.errors.values()]
    assert len([hint for hint in hints if "is named for the first" in hint]) == len(long) - 5


def test_no_row_at_all_is_no_error(answering: Answering) -> None:
    assert answering().embed([], result="numpy").shape == (0, 768)


def test_refresh_is_refused_because_it_would_send_every_text(answering: Answering, gateway: Served) -> None:
    with pytest.raises(InputError, match="--refresh would send every text, but a pack alone answers here"):
        answering(base_url=gateway.url).embed(TEXTS, refresh=True)
    assert gateway.received == []


def test_options_that_change_no_vector_change_nothing(answering: Answering) -> None:
    session = answering()
    plain = session.embed(TEXTS, result="numpy")
    for options in ({"cache": False}, {"batch_size": 100}, {"concurrency": 1}, {"requests_per_minute": 1}):
        assert np.array_equal(session.embed(TEXTS, result="numpy", **options), plain)


def test_a_dry_run_tells_what_the_pack_has_and_opens_no_cache(answering: Answering, tmp_path: Path) -> None:
    session = answering()
    plan, _ = session.run(session.plan_job(session.prepare(["text 1", "new", "text 1"])))
    assert (plan.rows, plan.duplicates, plan.cached, plan.recorded, plan.pack) == (3, 1, 0, 1, "lesson.vnpack")
    assert list(plan.missing) == [1]
    assert not (tmp_path / "cache").exists()


# Beside the gateway


def test_otherwise_only_what_cache_and_pack_do_not_have_is_sent_and_nothing_of_the_pack_is_cached(
    tmp_path: Path, unsigned: Served
) -> None:
    host = unsigned.url.removeprefix("http://")
    pack = pack_file(tmp_path / "x.vnpack", recording(TEXTS, 256, source=host))
    with Session(base_url=unsigned.url, token=TOKEN) as session:
        session.embed(["cached", "text 0"], dimension=256)
        session.use_pack(pack, strict=False, source="a test")
        summary = job(session, ["new", "cached", *TEXTS]).summary
        assert (summary.new, summary.cached, summary.recorded) == (1, 2, 11)
        assert unsigned.texts == ["cached", "text 0", "new"]
        assert session.runtime.cache.info().rows == 3
        # The cache comes first: what it has of "text 0" is the gateway's, not the pack's.
        assert np.array_equal(
            session.embed(["text 0"], dimension=256, unit_length=False, result="numpy")[0],
            vector_of("text 0 SEMANTIC_SIMILARITY None", 256),
        )


def test_otherwise_refresh_and_a_missing_token_mean_what_they_always_do(answering: Answering, unsigned: Served) -> None:
    with pytest.raises(TokenError):
        answering(strict=False, base_url=unsigned.url).embed(["new"])
    session = answering(strict=False, base_url=unsigned.url, token=TOKEN)
    assert job(session, ["text 1"], refresh=True).summary.new == 1
    assert unsigned.texts == ["text 1"]


def test_a_pack_of_a_gateway_and_the_stand_in_are_not_mixed_and_nothing_is_computed(answering: Answering) -> None:
    session = answering(strict=False, offline=True)
    assert job(session, TEXTS).provenance.source == HOST
    with pytest.raises(ProvenanceError) as caught:
        session.embed(["text 1", "new"])
    assert str(caught.value) == (
        "The pack lesson.vnpack has some of these rows, of gateway.example; the others are of offline-lexical, and "
        "cannot be compared with them. Nothing was sent.\n"
        "Next: leave out what is not in the pack, or `%vn pack off` and embed all rows anew."
    )
    assert session.totals.requests == 0
    assert job(session, ["new"]).provenance.source == OFFLINE_MODEL


def test_a_pack_of_the_stand_in_and_a_gateway_are_not_mixed_and_nothing_is_sent(tmp_path: Path) -> None:
    pack = pack_file(tmp_path / "x.vnpack", recording(["a"], 256, source=OFFLINE_MODEL, origin="offline-lexical/1"))
    with Session(base_url="https://gateway.invalid", token=TOKEN) as session:
        session.use_pack(pack, strict=False, source="a test")
        with pytest.raises(ProvenanceError, match=r"of offline-lexical; the others are of gateway\.invalid"):
            session.embed(["a", "new"], dimension=256)
        assert session.totals.requests == 0


def test_rows_of_the_cache_and_rows_of_a_pack_of_another_maker_are_not_mixed(
    answering: Answering, unsigned: Served
) -> None:
    session = answering(strict=False, base_url=unsigned.url, token=TOKEN)
    session.embed(["cached"], dimension=256)
    with pytest.raises(ProvenanceError, match=r"The pack lesson\.vnpack has some of these rows, of gateway"):
        session.embed(["cached", "text 1"], dimension=256)


def test_who_answers_at_an_address_of_this_machine_is_known_by_the_answer_and_not_mixed_either(
    unsigned: Served, tmp_path: Path
) -> None:
    pack = pack_file(tmp_path / "x.vnpack", recording(["a"], 256, source=OFFLINE_MODEL, origin="offline-lexical/1"))
    with Session(base_url=unsigned.url, token=TOKEN) as session:
        session.use_pack(pack, strict=False, source="a test")
        for _ in range(2):
            with pytest.raises(ProvenanceError, match=r"some are of the pack x\.vnpack|has some of these rows"):
                session.embed(["a", "new"], dimension=256)
        assert unsigned.texts == ["new"]  # it is kept, and not paid for again


def test_the_stand_in_over_http_goes_on_with_a_pack_of_the_stand_in(
    session: Session, gateway: Served, tmp_path: Path
) -> None:
    session.embed(TEXTS[:3], dimension=256)
    pack = save_session(session, tmp_path / "x.vnpack").path
    with Session(
        base_url=gateway.url, token="sk-canary-7d1e5b0c93", environ={"VN_MAGIC_CACHE": str(tmp_path / "2")}
    ) as two:
        two.use_pack(pack, strict=False, source="a test")
        summary = job(two, TEXTS[:5]).summary
    assert (summary.recorded, summary.new) == (3, 2)


# Which pack


def test_the_environment_names_a_pack_that_alone_answers(
    lesson: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "lesson.vnpack").write_bytes(lesson.read_bytes())
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("USERPROFILE", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    for named in (str(lesson), "lesson.vnpack", " ./lesson.vnpack ", "~/lesson.vnpack"):
        with Session(environ={"VN_MAGIC_PACK": named}) as session:
            assert session.asks_nobody
            in_use = session.pack
            assert in_use is not None
            assert (in_use.pack.name, in_use.source) == ("lesson.vnpack", "$VN_MAGIC_PACK")
            assert session.embed(TEXTS, result="numpy").shape == (12, 768)


def test_nothing_is_read_before_it_is_needed_and_then_once(lesson: Path) -> None:
    session = Session(environ={"VN_MAGIC_PACK": str(lesson)})
    content = lesson.read_bytes()
    lesson.unlink()
    session.configure("dimension", 256, "a test")
    lesson.write_bytes(content)
    first = session.pack
    lesson.unlink()
    assert session.pack is first
    session.close()


@pytest.mark.parametrize("content", [None, b"", b"PK and noise"])
def test_a_bad_pack_of_the_environment_stops_every_job_and_nobody_else_answers(
    content: bytes | None, gateway: Served, token: str, tmp_path: Path
) -> None:
    path = tmp_path / "lesson.vnpack"
    if content is not None:
        path.write_bytes(content)
    environ = {"VN_MAGIC_PACK": str(path), "VN_MAGIC_CACHE": str(tmp_path / "cache")}
    session = Session(base_url=gateway.url, token=token, environ=environ)
    for _ in range(2):
        with pytest.raises(PackError, match=r"^\$VN_MAGIC_PACK: .*'lesson.vnpack'.*\nNext: "):
            session.embed(["a"])
    with pytest.raises(PackError):
        asyncio.run(session.aembed(["a"]))
    assert gateway.received == []
    session.drop_pack()
    assert session.embed(["a"], result="numpy").shape == (1, 768)
    session.close()


def test_a_pack_of_the_environment_that_is_mended_is_used(lesson: Path) -> None:
    content = lesson.read_bytes()
    lesson.write_bytes(content[:-1])
    with Session(environ={"VN_MAGIC_PACK": str(lesson)}) as session:
        with pytest.raises(PackError):
            session.embed(TEXTS)
        lesson.write_bytes(content)
        assert session.embed(TEXTS, result="numpy").shape == (12, 768)


def test_a_blank_variable_names_no_pack() -> None:
    with Session(environ={"VN_MAGIC_PACK": "  "}) as session:
        assert session.pack is None
        assert not session.asks_nobody


def test_a_pack_that_is_said_comes_before_the_environments_and_none_is_left_when_it_is_dropped(
    lesson: Path, tmp_path: Path
) -> None:
    other = pack_file(tmp_path / "other.vnpack", recording(["other"], 768))
    with Session(environ={"VN_MAGIC_PACK": str(lesson)}) as session:
        session.use_pack(other, strict=False, source="a test")
        assert session.pack is not None
        assert (session.pack.pack.name, session.asks_nobody) == ("other.vnpack", False)
        session.drop_pack()
        assert session.pack is None


def test_a_pack_that_cannot_be_used_leaves_the_earlier_one(answering: Answering, tmp_path: Path) -> None:
    session = answering()
    (tmp_path / "bad.vnpack").write_bytes(b"PK")
    for name in ("bad.vnpack", "none.vnpack"):
        with pytest.raises(PackError):
            session.use_pack(tmp_path / name, strict=False, source="a test")
        assert session.asks_nobody
        assert session.embed(TEXTS, result="numpy").shape == (12, 768)


def test_two_sessions_have_packs_of_their_own(answering: Answering) -> None:
    one, two = answering(), Session(offline=True)
    assert one.asks_nobody
    assert two.pack is None
    two.close()


def test_what_happens_to_the_file_later_changes_no_vector(answering: Answering, lesson: Path) -> None:
    session = answering()
    before = session.embed(TEXTS, result="numpy")
    lesson.write_bytes(b"\xff" * len(lesson.read_bytes()))
    assert np.array_equal(session.embed(TEXTS, result="numpy"), before)


def test_a_result_can_be_written_to_without_changing_the_pack(answering: Answering) -> None:
    session = answering()
    first = session.embed(TEXTS, result="numpy", unit_length=False)
    first[:] = 0
    assert session.embed(TEXTS, result="numpy", unit_length=False).any(axis=1).all()


# Questions


def test_a_recorded_question_is_answered_bit_for_bit_and_another_one_is_refused(
    session: Session, gateway: Served, tmp_path: Path
) -> None:
    rows = session.embed(TEXTS, task_type="RETRIEVAL_DOCUMENT", dimension=256).vec.provenance
    asked = embedded_query("which text is it?", rows, session)
    pack = save_session(session, tmp_path / "x.vnpack").path
    sent = len(gateway.received)
    with Session(base_url="https://elsewhere.example", environ={"VN_MAGIC_PACK": str(pack)}) as student:
        assert np.array_equal(embedded_query("which text is it?", rows, student), asked)
        with pytest.raises(NotInPackError, match="The nearest recorded text is 'which text is it\\?'"):
            embedded_query("which text is this?", rows, student)
    assert len(gateway.received) == sent


def test_beside_a_gateway_a_recorded_question_is_answered_wherever_the_session_talks_to(answering: Answering) -> None:
    rows = Provenance(HOST, MODEL, "CLUSTERING", 768, unit_length=True)
    for settings in ({"offline": True}, {"base_url": "https://x.invalid", "token": TOKEN}):
        session = answering(strict=False, **settings)
        np.testing.assert_allclose(embedded_query("a question", rows, session), unit("a question", 768), atol=2e-7)
        with pytest.raises(ProvenanceError, match=r"These rows are from gateway\.example, but the session"):
            embedded_query("another question", rows, session)


def test_an_answer_of_another_maker_than_the_rows_is_refused(answering: Answering) -> None:
    rows = Provenance("elsewhere.example", MODEL, "CLUSTERING", 768, unit_length=True)
    with pytest.raises(ProvenanceError, match="These vectors are not comparable"):
        embedded_query("a question", rows, answering())


@pytest.mark.parametrize("strict", [True, False])
def test_a_plan_for_a_refresh_asks_neither_cache_nor_pack(answering: Answering, unsigned: Served, strict: bool) -> None:
    session = answering(strict=strict, base_url=unsigned.url, token=TOKEN)
    request = session.prepare(TEXTS, dimension=256, refresh=True)
    if strict:
        with pytest.raises(InputError, match="--refresh would send every text"):
            session.run(session.plan_job(request))
    else:
        plan, _ = session.run(session.plan_job(request))
        assert (plan.cached, plan.recorded, len(plan.missing)) == (0, 0, len(TEXTS))
    assert unsigned.received == []


def test_a_pack_that_was_left_while_it_was_read_for_the_first_time_stays_left(
    lesson: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = Pack.read
    with Session(environ={"VN_MAGIC_PACK": str(lesson)}) as session:

        def read_and_leave(path: Path) -> Pack:
            session.drop_pack()  # by another thread, just then
            return read(path)

        monkeypatch.setattr(Pack, "read", read_and_leave)
        assert session.pack is None
        assert not session.asks_nobody
