"""Two jobs of one session at once: a text that one of them is sending is not paid for by the other."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import CancelledError
from typing import Protocol

import numpy as np
import pytest
from support.engine import behind
from support.gateways import served
from support.waiting import until

from vn_magic import Embeddings, Session
from vn_magic.cache import CachedVector
from vn_magic.lookup import Lookup, Origin
from vn_magic.offline import create_app
from vn_magic.settings import Recipe

TEXTS = [f"text {number}" for number in range(60)]


class Gate:
    """A rule that answers nobody until it is opened."""

    def __init__(self) -> None:
        self.open = threading.Event()

    async def __call__(self, _text: str) -> None:
        while not self.open.is_set():  # noqa: ASYNC110 - the test opens it from another thread
            await asyncio.sleep(0.005)


class Job(Protocol):
    """Waits for the end of a job, or cancels it."""

    def __call__(self, *, cancel: bool = False) -> Embeddings: ...


def started(session: Session, texts: list[str], *, refresh: bool = False, cache: bool = True) -> Job:
    """Start a job on the session's loop."""
    request = session.prepare(texts, result="numpy", dimension=256, refresh=refresh, cache=cache)
    future = session.runtime.portal.submit(session.run_job(request))

    def finish(*, cancel: bool = False) -> Embeddings:
        if cancel:
            future.cancel()
        return future.result(60)

    return finish


@pytest.mark.parametrize("order", [1, -1])
def test_two_jobs_at_once_send_each_text_once_and_get_the_same_vectors(token: str, order: int) -> None:
    gate = Gate()
    with served(behind(gate, create_app(token=token))) as server, Session(base_url=server.url, token=token) as session:
        first, second = started(session, TEXTS), started(session, TEXTS[::order])
        until(lambda: len(server.received) >= 8)
        gate.open.set()
        one, other = first(), second()
        assert sorted(server.texts) == sorted(TEXTS)
        assert np.array_equal(one.matrix, other.matrix[::order])
        assert one.summary.new + other.summary.new == session.totals.requests == len(TEXTS)
        assert one.summary.cached + other.summary.cached == len(TEXTS)


def test_what_a_cancelled_job_was_sending_is_sent_by_the_one_that_waited(token: str) -> None:
    gate = Gate()
    with served(behind(gate, create_app(token=token))) as server, Session(base_url=server.url, token=token) as session:
        first = started(session, TEXTS)
        until(lambda: len(server.received) == 8)
        second = started(session, TEXTS)
        with pytest.raises(CancelledError):
            first(cancel=True)
        until(lambda: len(server.received) == 16)
        gate.open.set()
        assert second().summary.new == len(TEXTS)
        assert sorted(set(server.texts)) == sorted(TEXTS)
        assert len(server.texts) == len(TEXTS) + 8


def test_refresh_and_no_cache_send_for_themselves(token: str) -> None:
    gate = Gate()
    with served(behind(gate, create_app(token=token))) as server, Session(base_url=server.url, token=token) as session:
        jobs = [started(session, ["a"]), started(session, ["a"], refresh=True), started(session, ["a"], cache=False)]
        until(lambda: len(server.received) == 3)
        gate.open.set()
        assert [job().summary.new for job in jobs] == [1, 1, 1]


def test_nothing_is_remembered_once_the_jobs_are_done(session: Session) -> None:
    session.embed(TEXTS, dimension=256)
    assert vars(session.runtime.underway) == {"_answers": {}}


@pytest.mark.parametrize(
    ("length", "unit_length", "serves"), [(256, True, True), (256, False, True), (768, True, True), (768, False, False)]
)
def test_a_longer_vector_serves_only_where_its_beginning_is_one(length: int, unit_length: bool, serves: bool) -> None:
    recipe = Recipe("gemini-embedding-001", 256, "SEMANTIC_SIMILARITY", unit_length=unit_length)
    lookup = Lookup(["a"], recipe, Origin("here", "here"), None)
    vector = np.ones(length, dtype=np.float32)
    assert lookup.may_serve(CachedVector(lookup.key(0), vector, "here")) is serves
