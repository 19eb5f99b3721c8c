"""A job over the wire: what is sent, what is kept, and that every row gets its own vector."""

from __future__ import annotations

import asyncio
import random
import sqlite3
import threading
import tracemalloc
from collections.abc import Callable, Iterator, MutableMapping
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from support.engine import BAD_TEXT, NO_BALANCE, behind
from support.gateways import App, Served, answering, json_answer, served

from vn_magic import Embeddings, Session
from vn_magic.cache import FILE_NAME, CachedVector, EmbeddingCache
from vn_magic.exceptions import (
    BalanceError,
    ProvenanceError,
    RejectedTextError,
    TokenRefusedError,
    UpstreamError,
    VectorError,
)
from vn_magic.keys import KeyRing
from vn_magic.lookup import Plan
from vn_magic.offline import create_app, lexical
from vn_magic.progress import ProgressEvent

Answer = tuple[int, dict[str, str], bytes]
DIMENSION = 128


def job(session: Session, texts: object, **options: Any) -> Embeddings:
    """Run a job and return all that it tells."""
    options.setdefault("dimension", DIMENSION)
    return session.run(session.run_job(session.prepare(texts, **options)))


def sent(text: str, dimension: int = DIMENSION) -> NDArray[np.float32]:
    """What the stand-in sends for a text, computed apart from any wire."""
    return lexical.embed(text, dimension).astype(np.float32)


def unit(vector: NDArray[np.floating]) -> NDArray[np.float64]:
    wide: NDArray[np.float64] = vector.astype(np.float64)
    return wide / np.sqrt((wide**2).sum())


def assert_rows_are(embeddings: Embeddings, texts: list[str]) -> None:
    assert list(embeddings.texts) == texts
    expected = np.array([unit(sent(text, embeddings.matrix.shape[1])) for text in texts])
    np.testing.assert_allclose(embeddings.matrix, expected, atol=2e-7)


def answer_of(text: str, dimension: int = DIMENSION) -> Answer:
    """The stand-in's answer, but not signed as the stand-in's: as if a gateway had made it."""
    return json_answer({"embedding": {"values": sent(text, dimension).astype(float).tolist()}})


@pytest.fixture
def cached(tmp_path: Path) -> Callable[[], int]:
    """Count the rows that somebody else would find in the cache file."""

    def count() -> int:
        path = tmp_path / "cache" / FILE_NAME
        if not path.exists():
            return 0
        db = sqlite3.connect(path)
        rows: int = db.execute("SELECT count(*) FROM embeddings").fetchone()[0]
        db.close()
        return rows

    return count


class Refusing:
    """A rule that refuses the texts in ``refused`` with an answer, after ``first`` that were let through."""

    def __init__(self, answer: Answer, *refused: str, first: int = 0) -> None:
        self.answer = answer
        self.refused = set(refused)
        self.first = first
        self.passed = 0
        self.on = True

    async def __call__(self, text: str) -> Answer | None:
        if self.on and (text in self.refused or (not self.refused and self.passed >= self.first)):
            return self.answer
        self.passed += 1
        return None


@contextmanager
def talking_to(app: App, token: str) -> Iterator[tuple[Session, Served]]:
    with served(app) as server:
        session = Session(base_url=server.url, token=token)
        yield session, server
        session.close()


# Order


@pytest.mark.parametrize("seed", range(3))
def test_rows_keep_their_order_when_answers_come_in_any_other(token: str, seed: int) -> None:
    dice, answered, overtaken = random.Random(seed), list[str](), asyncio.Event()

    async def hesitate(text: str) -> None:
        if text == server.texts[0]:
            await overtaken.wait()  # at least this one is, however slow the client is
        await asyncio.sleep(dice.random() / 50)
        answered.append(text)
        overtaken.set()

    distinct = [f"text number {number}" for number in range(40)]
    texts = [*distinct, *dice.choices(distinct, k=20)]
    dice.shuffle(texts)
    with talking_to(behind(hesitate, create_app(token=token)), token) as (session, server):
        embeddings = job(session, texts, concurrency=16)
        assert answered != server.texts  # they did overtake each other
        assert sorted(server.texts) == sorted(distinct)
        assert_rows_are(embeddings, texts)


def test_never_more_requests_are_under_way_than_asked_for_and_as_many_where_there_is_work(token: str) -> None:
    three = asyncio.Barrier(3)
    under_way, most = 0, 0

    async def count(_text: str) -> None:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        async with asyncio.timeout(20):
            await three.wait()  # nobody is answered before three are waiting
        under_way -= 1

    with talking_to(behind(count, create_app()), token) as (session, server):
        job(session, [str(number) for number in range(12)], concurrency=3)
        assert most == 3
        assert len(server.texts) == 12


@pytest.mark.parametrize("texts", [[], ["one"], ["twin", "twin"]])
def test_zero_one_and_equal_rows_are_jobs_like_others(session: Session, gateway: Served, texts: list[str]) -> None:
    embeddings = job(session, texts)
    assert embeddings.matrix.shape == (len(texts), DIMENSION)
    assert embeddings.matrix.dtype == np.float32
    assert gateway.texts == list(dict.fromkeys(texts))
    if texts:
        assert_rows_are(embeddings, texts)


def test_texts_that_differ_in_a_blank_are_different_texts(session: Session, gateway: Served) -> None:
    job(session, ["a b", "a  b", " a b", "A b"])
    assert sorted(gateway.texts) == [" a b", "A b", "a  b", "a b"]


# The cache


def test_what_was_embedded_once_is_not_sent_again(session: Session, gateway: Served) -> None:
    texts = [f"text {number}" for number in range(12)]
    first = job(session, texts)
    again = job(session, texts)
    assert len(gateway.texts) == 12
    assert np.array_equal(first.matrix, again.matrix)
    assert (again.summary.cached, again.summary.new, again.summary.requests, again.summary.tokens) == (12, 0, 0, 0)


def test_an_edited_row_is_the_only_one_sent(session: Session, gateway: Served) -> None:
    texts = [f"text {number}" for number in range(12)]
    job(session, texts)
    texts[5] = "text 5, edited"
    edited = job(session, texts)
    assert gateway.texts[12:] == ["text 5, edited"]
    assert_rows_are(edited, texts)


@pytest.mark.parametrize(
    "other",
    [
        {"task_type": "CLUSTERING"},
        {"task_type": "RETRIEVAL_DOCUMENT"},
        {"model": "offline-lexical"},
        {"dimension": 256},
    ],
    ids=str,
)
def test_another_recipe_is_another_vector_and_is_sent(session: Session, gateway: Served, other: dict[str, Any]) -> None:
    job(session, ["text"])
    job(session, ["text"], **other)
    assert gateway.texts == ["text", "text"]


def test_refresh_sends_every_text_and_keeps_the_new_vectors(session: Session, gateway: Served) -> None:
    job(session, ["a", "b"])
    job(session, ["a", "b", "a"], refresh=True)
    assert sorted(gateway.texts) == ["a", "a", "b", "b"]
    job(session, ["a", "b"])
    assert len(gateway.texts) == 4


def test_without_the_cache_nothing_is_read_and_nothing_kept(
    session: Session, gateway: Served, cached: Callable[[], int]
) -> None:
    job(session, ["a"])
    job(session, ["a", "b"], cache=False)
    assert sorted(gateway.texts) == ["a", "a", "b"]
    assert cached() == 1


def test_a_row_that_another_session_finishes_meanwhile_is_not_sent(token: str, cached: Callable[[], int]) -> None:
    asked, answer = threading.Event(), threading.Event()

    async def hold(text: str) -> None:
        if text == "first":
            asked.set()
            assert await asyncio.to_thread(answer.wait, 20)

    with talking_to(behind(hold, create_app(token=token)), token) as (session, server):
        results: list[Embeddings] = []
        slow = threading.Thread(target=lambda: results.append(job(session, ["first", "second"], concurrency=1)))
        slow.start()
        assert asked.wait(20)  # it has looked for both, found none, and waits for its first answer
        other = Session(base_url=server.url, token=token)
        job(other, ["second"])
        assert cached() == 1
        answer.set()
        slow.join()
        other.close()
        assert server.texts == ["first", "second"]
        assert_rows_are(results[0], ["first", "second"])
        assert (results[0].summary.new, results[0].summary.cached) == (1, 1)


def test_a_plan_tells_what_a_job_would_send_and_sends_nothing(session: Session, gateway: Served) -> None:
    job(session, ["a", "b"])
    texts = ["c", "a", "b", "c", "d", "a"]
    plan, planned = session.run(session.plan_job(session.prepare(texts, dimension=DIMENSION)))
    assert plan == Plan(rows=6, duplicates=2, cached=2, missing=[0, 4])
    assert planned == texts
    assert len(gateway.texts) == 2
    plan, _ = session.run(session.plan_job(session.prepare(texts, dimension=DIMENSION, cache=False)))
    assert plan.missing == [0, 1, 2, 4]


# Failures


def test_stop_names_the_row_sends_nothing_more_and_the_next_run_pays_for_the_rest(
    token: str, cached: Callable[[], int]
) -> None:
    texts = [f"text {number}" for number in range(20)]
    texts[7] = "bad"
    rule = Refusing(BAD_TEXT, "bad")
    with talking_to(behind(rule, create_app(token=token)), token) as (session, server):
        with pytest.raises(RejectedTextError, match=r"^Row 7 \('bad'\): ") as caught:
            job(session, texts, concurrency=1)
        assert caught.value.status == 400
        assert server.texts == texts[:8]
        assert cached() == 7
        rule.on = False
        assert_rows_are(job(session, texts), texts)
        assert sorted(server.texts[8:]) == sorted(texts[7:])


def test_stop_keeps_every_row_that_had_arrived_when_many_are_under_way(token: str, cached: Callable[[], int]) -> None:
    texts = [f"text {number}" for number in range(60)]
    events: list[ProgressEvent] = []
    with talking_to(behind(Refusing(BAD_TEXT, "text 40"), create_app(token=token)), token) as (session, _):
        with pytest.raises(RejectedTextError, match=r"^Row 40 "):
            session.run(session.run_job(session.prepare(texts, dimension=DIMENSION, concurrency=8), events.append))
        assert cached() == events[-1].done >= 40 - 8
        already = cached()
        texts[40] = "a better text"
        rest = job(session, texts)
        assert_rows_are(rest, texts)
        assert (rest.summary.cached, rest.summary.requests) == (already, 60 - already)


def test_keep_marks_failed_rows_and_their_duplicates_with_nan_and_a_reason(token: str) -> None:
    texts = ["a", "bad", "b", None, "bad", "  ", "a", "bad"]
    with talking_to(behind(Refusing(BAD_TEXT, "bad"), create_app(token=token)), token) as (session, server):
        embeddings = job(session, texts, on_error="keep")
        failed = np.isnan(embeddings.matrix)
        assert failed.all(axis=1).tolist() == failed.any(axis=1).tolist()
        assert np.flatnonzero(failed.all(axis=1)).tolist() == [1, 3, 4, 5, 7] == sorted(embeddings.errors)
        assert embeddings.errors[3] == "missing"
        assert embeddings.errors[5] == "blank"
        assert all("not this text" in embeddings.errors[row] for row in (1, 4, 7))
        assert_rows_are(Embeddings(["a", "b", "a"], embeddings.matrix[[0, 2, 6]], *_rest(embeddings)), ["a", "b", "a"])
        assert (embeddings.summary.failed, embeddings.summary.new) == (5, 2)
        assert sorted(server.texts) == ["a", "b", "bad"]


def _rest(embeddings: Embeddings) -> tuple[Any, Any, Any]:
    return embeddings.provenance, {}, embeddings.summary


def test_keep_goes_on_after_a_row_whose_attempts_are_used_up(token: str) -> None:
    trouble = json_answer({"error": {"message": "openai_error", "type": "x", "code": "x"}}, 502)
    with talking_to(behind(Refusing(trouble, "bad"), create_app(token=token)), token) as (session, server):
        session.configure("row_timeout", 0.001, "this test")
        embeddings = job(session, ["bad", "good"], on_error="keep")
        assert list(embeddings.errors) == [0]
        assert server.texts.count("good") == 1
        with pytest.raises(UpstreamError, match=r"^Row 0 \('bad'\)"):
            job(session, ["bad", "good"])
        assert server.texts.count("good") == 1


@pytest.mark.parametrize("on_error", ["stop", "keep"])
@pytest.mark.parametrize("concurrency", [1, 6])
def test_an_error_that_would_meet_every_row_ends_the_job(token: str, on_error: str, concurrency: int) -> None:
    texts = [f"text {number}" for number in range(120)]
    rule = Refusing(NO_BALANCE, first=30)
    with talking_to(behind(rule, create_app(token=token)), token) as (session, server):
        with pytest.raises(BalanceError):
            job(session, texts, on_error=on_error, concurrency=concurrency)
        assert len(server.texts) <= 30 + concurrency
        kept = session.runtime.cache.info().rows
        assert kept >= 30 - concurrency
        rule.on = False
        rest = job(session, texts, on_error=on_error)
        assert_rows_are(rest, texts)
        assert (rest.summary.cached, rest.summary.requests) == (kept, 120 - kept)


def test_a_refused_token_is_tried_by_no_more_requests_than_were_under_way(gateway: Served) -> None:
    session = Session(base_url=gateway.url, token="sk-wrong-0123456789")
    with pytest.raises(TokenRefusedError):
        job(session, [str(number) for number in range(50)], on_error="keep", concurrency=4)
    assert 1 <= len(gateway.texts) <= 4
    session.close()


def test_all_rows_may_fail_under_keep_and_have_a_provenance_still(token: str) -> None:
    with talking_to(answering(BAD_TEXT), token) as (session, server):
        embeddings = job(session, ["a", "b", "a"], on_error="keep")
        assert np.isnan(embeddings.matrix).all()
        assert sorted(embeddings.errors) == [0, 1, 2]
        assert embeddings.provenance.source == server.url.removeprefix("http://")
        assert embeddings.summary.failed == 3


def test_failed_rows_are_not_cached(token: str, cached: Callable[[], int]) -> None:
    rule = Refusing(BAD_TEXT, "bad")
    with talking_to(behind(rule, create_app(token=token)), token) as (session, server):
        job(session, ["bad", "good"], on_error="keep")
        assert cached() == 1
        rule.on = False
        assert_rows_are(job(session, ["bad", "good"]), ["bad", "good"])
        assert sorted(server.texts) == ["bad", "bad", "good"]


# Provenance


def test_vectors_of_the_stand_in_are_called_so_wherever_it_runs(
    session: Session, offline: Session, gateway: Served
) -> None:
    for one in (session, offline):
        provenance = job(one, ["a"], task_type="CLUSTERING").provenance
        assert (provenance.source, provenance.model) == ("offline-lexical", "offline-lexical")
        assert (provenance.task_type, provenance.dimension, provenance.unit_length) == ("CLUSTERING", DIMENSION, True)
    assert gateway.texts == ["a"]  # served and embedded ones do not answer for each other


def test_vectors_of_a_gateway_are_called_by_its_host_and_their_model(token: str) -> None:
    with talking_to(answering(answer_of("a")), token) as (session, server):
        for _ in range(2):  # new, and from the cache
            provenance = job(session, ["a"], unit_length=False).provenance
            assert provenance.source == server.url.removeprefix("http://")
            assert (provenance.model, provenance.unit_length) == ("gemini-embedding-001", False)
        assert len(server.texts) == 1


def test_rows_of_different_makers_are_never_mixed(token: str) -> None:
    signed = False

    async def change_hands(text: str) -> Answer | None:
        return None if signed else answer_of(text)

    with talking_to(behind(change_hands, create_app(token=token)), token) as (session, server):
        job(session, ["a", "b"])
        signed = True
        with pytest.raises(ProvenanceError) as caught:
            job(session, ["a", "c"])
        assert "offline-lexical" in str(caught.value)
        assert server.url.removeprefix("http://") in str(caught.value)
        assert "--refresh" in str(caught.value)
        assert job(session, ["a", "c"], refresh=True).provenance.source == "offline-lexical"
        assert job(session, ["a", "c"]).provenance.source == "offline-lexical"


# Length


def test_vectors_are_unit_length_unless_raw_and_raw_ones_are_what_came(session: Session, gateway: Served) -> None:
    texts = ["one text", "another text"]
    raw = job(session, texts, unit_length=False).matrix
    assert np.array_equal(raw, [sent(text) for text in texts])
    assert (np.abs(np.linalg.norm(raw, axis=1) - 1) > 0.1).all()
    scaled = job(session, texts).matrix
    np.testing.assert_allclose(np.linalg.norm(scaled.astype(np.float64), axis=1), 1, atol=1e-6)
    assert_rows_are(job(session, texts), texts)
    assert len(gateway.texts) == 2  # kept as received, so both come from one payment


@pytest.mark.parametrize("size", [3e38, 1e-38, 1e-44], ids=str)
def test_values_at_the_ends_of_float32_have_a_direction_too(token: str, size: float) -> None:
    values = [size, -size] * (DIMENSION // 2)
    with talking_to(answering(json_answer({"embedding": {"values": values}})), token) as (session, _):
        (vector,) = job(session, ["a"]).matrix
        np.testing.assert_allclose(vector, np.sign(values) / np.sqrt(DIMENSION), rtol=1e-6)


def test_longer_answers_give_the_vectors_asked_for_and_serve_other_sizes_without_a_request(token: str) -> None:
    texts = ["one text", "another text", "a third"]
    with talking_to(answering(*[answer_of(text, 3072) for text in texts]), token) as (session, server):
        embeddings = job(session, texts, dimension=768, concurrency=1)
        assert_rows_are(embeddings, texts)
        (notice,) = embeddings.summary.notices
        assert "ignored output_dimensionality and sent 3072 values" in notice
        for dimension in (128, 1536, 3072):
            assert_rows_are(job(session, texts, dimension=dimension), texts)
        assert np.array_equal(
            job(session, texts, dimension=3072, unit_length=False).matrix, [sent(text, 3072) for text in texts]
        )
        assert server.texts == texts


def test_a_gateway_that_drops_the_documented_spelling_costs_one_notice_and_no_second_payment(token: str) -> None:
    texts = ["one text", "another text", "a third"]
    with talking_to(create_app(token=token, drops_dimension=True), token) as (session, server):
        embeddings = job(session, texts, dimension=768, concurrency=1)
        assert embeddings.matrix.shape == (3, 768)
        assert_rows_are(embeddings, texts)
        assert len([notice for notice in embeddings.summary.notices if "output_dimensionality" in notice]) == 1
        assert server.texts == texts
        spellings = [sorted({"output_dimensionality", "outputDimensionality"} & set(r.json)) for r in server.received]
        assert spellings == [["output_dimensionality"], ["outputDimensionality"], ["outputDimensionality"]]
        again = job(session, texts, dimension=768)
        assert np.array_equal(again.matrix, embeddings.matrix)
        assert again.summary.notices == ()
        job(session, texts[:1], dimension=2000)  # within the 3072 that came for it
        assert server.texts == texts


def test_the_rows_of_one_job_may_come_from_vectors_of_several_lengths(session: Session, gateway: Served) -> None:
    job(session, ["long"], dimension=512)
    job(session, ["short"], dimension=256)
    embeddings = job(session, ["short", "new", "long"], dimension=256)
    assert_rows_are(embeddings, ["short", "new", "long"])
    assert gateway.texts == ["long", "short", "new"]


def test_raw_vectors_are_as_received_and_never_cut_from_longer_ones(session: Session, gateway: Served) -> None:
    job(session, ["text"], dimension=512)
    job(session, ["text"], dimension=256)  # normalised, so the prefix will do
    assert gateway.texts == ["text"]
    raw = job(session, ["text"], dimension=256, unit_length=False)
    assert gateway.texts == ["text", "text"]
    assert np.array_equal(raw.matrix, [sent("text", 256)])


def test_a_stranger_s_longer_vectors_do_not_serve_shorter_requests(token: str) -> None:
    async def by_size(_text: str) -> Answer | None:
        return json_answer({"embedding": {"values": [1.0] * sizes.pop(0)}})

    sizes = [512, 256]
    with talking_to(behind(by_size, create_app()), token) as (session, server):
        job(session, ["text"], model="a-stranger", dimension=512)
        job(session, ["text"], model="a-stranger", dimension=256)
        assert server.texts == ["text", "text"]


# The last check


@pytest.mark.parametrize("spoilt", [0.0, np.nan, np.inf], ids=str)
def test_a_vector_that_is_none_is_never_bound_and_refresh_cures_it(
    session: Session, gateway: Served, tmp_path: Path, spoilt: float
) -> None:
    request = session.prepare(["fine", "spoilt"], dimension=DIMENSION)
    key = KeyRing(gateway.url, request.recipe).key("spoilt")
    values = np.full(DIMENSION, spoilt, dtype=np.float32)
    EmbeddingCache(tmp_path / "cache").keep([CachedVector(key, values, "offline-lexical")])
    with pytest.raises(VectorError, match=r"(?s)^Row 1 .*--refresh"):
        job(session, ["fine", "spoilt"])
    assert_rows_are(job(session, ["fine", "spoilt"], refresh=True), ["fine", "spoilt"])
    assert_rows_are(job(session, ["fine", "spoilt"]), ["fine", "spoilt"])


def test_the_matrix_of_a_job_is_contiguous_and_closed_for_writing(session: Session) -> None:
    matrix = job(session, ["a", "b"]).matrix
    assert matrix.flags.c_contiguous
    assert not matrix.flags.writeable


# What a job tells


def test_progress_counts_up_to_the_end_and_never_back(token: str) -> None:
    texts = ["a", "b", "bad", "c", "a", "d"]
    events: list[ProgressEvent] = []
    with talking_to(behind(Refusing(BAD_TEXT, "bad"), create_app(token=token)), token) as (session, _):
        job(session, ["b"])
        request = session.prepare(texts, dimension=DIMENSION, on_error="keep")
        embeddings = session.run(session.run_job(request, events.append))
    for before, after in pairwise(events):
        for name in ("done", "cached", "failed", "requests", "retries"):
            assert getattr(before, name) <= getattr(after, name)
    assert {event.rows for event in events} == {5}
    last = events[-1]
    assert (events[0].done, last.done, last.cached, last.failed, last.requests) == (0, 5, 1, 1, 4)
    summary = embeddings.summary
    assert (summary.rows, summary.new, summary.cached, summary.failed) == (6, 3, 1, 1)
    assert (summary.duplicates, summary.requests, summary.retries) == (1, 4, 0)


def test_a_retry_is_counted_and_told_while_it_is_waited_for(token: str) -> None:
    busy = json_answer({"error": {"message": "Please retry in 1.2s.", "type": "upstream_error", "code": 429}}, 429)
    events: list[ProgressEvent] = []
    with talking_to(answering(busy, answer_of("a")), token) as (session, server):
        request = session.prepare(["a"], dimension=DIMENSION)
        embeddings = session.run(session.run_job(request, events.append))
        assert "1 s (429)" in {event.waiting for event in events}
        assert events[-1].waiting == ""
        assert (embeddings.summary.requests, embeddings.summary.retries) == (2, 1) == (len(server.texts), 1)


@pytest.mark.parametrize(("usage", "tokens", "estimated"), [({"promptTokenCount": 7}, 14, False), (None, 4, True)])
def test_tokens_are_the_service_s_count_or_called_an_estimate(
    token: str, usage: object, tokens: int, estimated: bool
) -> None:
    body: MutableMapping[str, Any] = {"embedding": {"values": [1.0] * DIMENSION}}
    if usage is not None:
        body["usageMetadata"] = usage
    with talking_to(answering(json_answer(body)), token) as (session, _):
        summary = job(session, ["8 chars.", "8 chars!"]).summary
        assert (summary.tokens, summary.tokens_estimated) == (tokens, estimated)


def test_the_session_s_totals_count_failed_jobs_too(token: str) -> None:
    with talking_to(behind(Refusing(NO_BALANCE, first=5), create_app(token=token)), token) as (session, server):
        with pytest.raises(BalanceError):
            job(session, [str(number) for number in range(9)], concurrency=1)
        job(session, [str(number) for number in range(5)])
        totals = session.totals
        assert (totals.requests, totals.new, totals.cached) == (6, 5, 5)
        assert len(server.texts) == 6


# Size


def test_twenty_thousand_cached_rows_need_little_more_memory_than_their_matrix(
    offline: Session, tmp_path: Path
) -> None:
    rows, dimension = 20_000, 768
    texts = [f"row number {number}" for number in range(rows)]
    request = offline.prepare(texts, dimension=dimension)
    keys = KeyRing(f"offline-lexical/{lexical.VERSION}", request.recipe)
    dice = np.random.default_rng(0)
    cache = EmbeddingCache(tmp_path / "cache")
    cache.keep(
        CachedVector(keys.key(text), dice.standard_normal(dimension).astype(np.float32), "offline-lexical")
        for text in texts
    )
    cache.close()
    job(offline, ["warm"])
    tracemalloc.start()
    try:
        embeddings = offline.run(offline.run_job(request))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (embeddings.summary.cached, embeddings.summary.requests) == (rows, 0)
    assert peak < 1.15 * embeddings.matrix.nbytes
