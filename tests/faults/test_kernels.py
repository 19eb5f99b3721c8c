"""Several processes and one cache: right vectors for all, and nothing that one has committed is sent by another."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from support.engine import output_of

from faults.answers import answer, good, vector_of
from faults.gateway import Arrival, FaultGateway, Step, fault_gateway
from faults.workers import CONCURRENCY, DIMENSION, digest_of, worker
from vn_magic import Session
from vn_magic.cache import FILE_NAME
from vn_magic.progress import ProgressEvent

TEXTS = [f"text {row}" for row in range(150)]


def session_of(gateway: FaultGateway, cache: Path) -> Session:
    return Session(base_url=gateway.base_url, token="sk-faults", environ={"VN_MAGIC_CACHE": str(cache)})


def embed(session: Session, texts: Sequence[str], concurrency: int = CONCURRENCY) -> None:
    """Embed, and check that every row has its own vector."""
    matrix = session.embed(texts, dimension=DIMENSION, unit_length=False, concurrency=concurrency, result="numpy")
    assert np.array_equal(matrix, np.stack([vector_of(text, DIMENSION) for text in texts]))


def integrity(cache: Path) -> str:
    with closing(sqlite3.connect(cache / FILE_NAME)) as db:
        verdict: str = db.execute("PRAGMA integrity_check").fetchone()[0]
    return verdict


def slowly(arrival: Arrival) -> Iterator[Step]:
    yield 0.002
    yield good(arrival)


@pytest.mark.parametrize("journal_mode", ["TRUNCATE", "WAL"])
def test_two_processes_at_once_get_right_vectors_in_order_from_one_cache_that_stays_whole(
    tmp_path: Path, journal_mode: str
) -> None:
    cache = tmp_path / "cache"
    orders = [TEXTS, TEXTS[::-1]]
    with fault_gateway(slowly) as gateway:
        with (
            worker(gateway, cache, journal_mode=journal_mode) as first,
            worker(gateway, cache, journal_mode=journal_mode) as second,
        ):
            both = list(zip((first, second), orders, strict=True))
            for process, texts in both:
                process.order("embed", texts)
            for process, texts in both:
                told = process.told()
                assert told.get("digest") == digest_of(texts), told
                assert (told["new"] + told["cached"], told["notices"]) == (len(TEXTS), [])
            sent = len(gateway.texts)
            assert set(gateway.texts) == set(TEXTS)
            for process, texts in both:
                assert process.do("embed", texts)["cached"] == len(TEXTS)
            assert len(gateway.texts) == sent
        assert integrity(cache) == "ok"


@pytest.mark.parametrize("concurrency", [1, CONCURRENCY])
def test_rows_that_another_process_commits_while_a_job_runs_are_not_sent_by_the_job(
    tmp_path: Path, concurrency: int
) -> None:
    others_are_done = threading.Event()
    held = TEXTS[:concurrency]

    def holding(arrival: Arrival) -> Iterator[Step]:
        if arrival.text in held:
            assert others_are_done.wait(60)
        yield good(arrival)

    cache = tmp_path / "cache"
    with (
        fault_gateway(holding) as gateway,
        worker(gateway, cache) as other,
        session_of(gateway, cache) as session,
        ThreadPoolExecutor(1) as pool,
    ):
        mine = pool.submit(embed, session, TEXTS, concurrency)
        try:
            while len(gateway.texts) < concurrency:  # it has looked everything up, and sends what it does not have
                assert not mine.done()
                time.sleep(0.001)
            told = other.do("embed", TEXTS[concurrency:])
            assert told["new"] == len(TEXTS) - concurrency
        finally:
            others_are_done.set()
        mine.result(60)
        assert sorted(gateway.texts) == sorted(TEXTS)
        assert (session.totals.new, session.totals.cached) == (concurrency, len(TEXTS) - concurrency)


def test_a_row_that_another_session_commits_while_it_waits_for_its_retry_is_not_sent_again(tmp_path: Path) -> None:
    waiting, committed = threading.Event(), threading.Event()

    def busy_at_first(arrival: Arrival) -> bytes:
        if arrival.attempt == 1:
            return answer(503, b"", {"retry-after": "0.1"})
        return good(arrival)

    def report(event: ProgressEvent) -> None:
        if event.retries:  # its wait begins, and does not end before the other one is done
            waiting.set()
            committed.wait(60)

    cache = tmp_path / "cache"
    with (
        fault_gateway(busy_at_first) as gateway,
        session_of(gateway, cache) as session,
        session_of(gateway, cache) as other,
        ThreadPoolExecutor(1) as pool,
    ):
        request = session.prepare(["a"], dimension=DIMENSION, unit_length=False)
        mine = pool.submit(session.run_request, request, report)
        try:
            assert waiting.wait(60)
            embed(other, ["a"])
        finally:
            committed.set()
        assert np.array_equal(mine.result(60).matrix, [vector_of("a", DIMENSION)])
        assert gateway.texts == ["a", "a"]


# Forks. One of a session that is not busy is in tests/test_session.py.

PREAMBLE = """
import multiprocessing, os, signal, sys, threading, time
from hashlib import blake2b
import vn_magic, vn_magic.cache

if os.environ["JOURNAL_MODE"]:
    vn_magic.cache.journal_mode_for = lambda path, version: os.environ["JOURNAL_MODE"]
signal.alarm(240)  # of the parent alone; a child that hangs holds it up
session = vn_magic.Session()

def digest(*texts):
    matrix = session.embed(list(texts), dimension=128, unit_length=False, result="numpy")
    return blake2b(matrix.tobytes()).hexdigest()
"""

POOL = (
    PREAMBLE
    + """
print(digest("before"))
with multiprocessing.get_context("fork").Pool(2) as pool:
    for told in pool.starmap(digest, [(f"child {number}", "before") for number in range(6)], chunksize=1):
        print(told)
print(digest("after", "child 0"))
session.close()
"""
)

BUSY = (
    PREAMBLE
    + """
texts = [f"parent {row}" for row in range(300)]
done = []
busy = threading.Thread(target=lambda: done.append(digest(*texts)))
busy.start()
for number in range(10):
    while session.totals.new < 20 * (number + 1):
        time.sleep(0.001)
    child = os.fork()
    if child == 0:
        right = digest(f"child {number}") == sys.argv[1 + number]
        os._exit(0 if right and not session.runtime.cache.notices else 3)
    assert os.waitpid(child, 0)[1] == 0, number
busy.join()
print(*done, session.runtime.cache.info().rows, *session.runtime.cache.notices)
session.close()
"""
)

forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")


def output(script: str, gateway: FaultGateway, *arguments: str, journal_mode: str = "") -> list[str]:
    own = {"VN_MAGIC_BASE_URL": gateway.base_url, "VECTORNODE_API_KEY": "sk-faults", "JOURNAL_MODE": journal_mode}
    return output_of(script, *arguments, **own).split()


@forks
def test_children_of_a_fork_send_over_connections_of_their_own_and_the_parent_goes_on_with_its_own() -> None:
    with fault_gateway(good) as gateway:
        told = output(POOL, gateway)
        of_children = {arrival.connection for arrival in gateway.received if str(arrival.text).startswith("child")}
        of_parent = {arrival.connection for arrival in gateway.received if arrival.text in ("before", "after")}
    expected = [["before"], *([f"child {number}", "before"] for number in range(6)), ["after", "child 0"]]
    assert told == [digest_of(texts) for texts in expected]
    assert sorted(gateway.texts) == sorted(["before", "after", *(f"child {number}" for number in range(6))])
    assert of_children & of_parent == set()


@forks
@pytest.mark.parametrize("journal_mode", ["TRUNCATE", "WAL"])
def test_a_fork_in_the_middle_of_a_job_disturbs_neither_the_job_nor_the_child_nor_the_cache(journal_mode: str) -> None:
    children = [f"child {number}" for number in range(10)]
    with fault_gateway(slowly) as gateway:
        told = output(BUSY, gateway, *(digest_of([text]) for text in children), journal_mode=journal_mode)
    texts = [f"parent {row}" for row in range(300)]
    assert told == [digest_of(texts), "310"]
    assert sorted(gateway.texts) == sorted([*texts, *children])
