"""SIGKILL at random moments: the cache is whole, every row in it is right, and at most a batch is paid for again."""

from __future__ import annotations

import os
import random
import shutil
import signal
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from support.waiting import until

from faults.answers import good, vector_of
from faults.gateway import Arrival, FaultGateway, Step, fault_gateway
from faults.workers import CONCURRENCY, DIMENSION, Worker, worker
from vn_magic import Session
from vn_magic.cache import FILE_NAME
from vn_magic.cache_thread import COMMIT_ROWS

ROWS = 200
SEED = 20260516
pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="the processes to kill are forked from a warm one")


def slowly(arrival: Arrival) -> Iterator[Step]:
    yield 0.002
    yield good(arrival)


@pytest.fixture(scope="module")
def gateway() -> Iterator[FaultGateway]:
    with fault_gateway(slowly) as gateway:
        yield gateway


@pytest.fixture(scope="module", params=["TRUNCATE", "WAL"])
def journal_mode(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory, journal_mode: str) -> Path:
    """One for all kills: it is opened again and again as the last one left it."""
    return tmp_path_factory.mktemp(journal_mode)


@pytest.fixture(scope="module")
def process(gateway: FaultGateway, cache: Path, journal_mode: str) -> Iterator[Worker]:
    """Has everything loaded and uses nothing itself; what it forks is killed."""
    with worker(gateway, cache, journal_mode=journal_mode) as process:
        yield process


def integrity(cache: Path, aside: Path) -> str:
    """Return SQLite's verdict on a copy of what the killed process left, journal and all."""
    if not (cache / FILE_NAME).exists():
        return "ok"
    shutil.copytree(cache, aside)
    with closing(sqlite3.connect(aside / FILE_NAME)) as db:
        verdict: str = db.execute("PRAGMA integrity_check").fetchone()[0]
    return verdict


@pytest.mark.parametrize("number", range(15))
def test_a_kill_at_a_random_moment_leaves_a_whole_cache_and_costs_at_most_a_batch_and_what_was_on_its_way(
    gateway: FaultGateway, cache: Path, process: Worker, tmp_path: Path, number: int
) -> None:
    dice = random.Random(f"{SEED}/{number}")
    texts = [f"{cache.name} {number}/{row}" for row in range(ROWS)]
    killed, afterwards = (f"sk-{when}-{cache.name}-{number}" for when in ("killed", "afterwards"))
    process.do("use_token", killed)
    child = process.do("fork_and_embed", texts)["child"]
    moment = dice.randrange(ROWS)
    until(lambda: len(gateway.texts_sent_with(killed)) >= moment, "the moment")
    time.sleep(dice.uniform(0, 0.03))
    os.kill(child, signal.SIGKILL)  # not reaped before it is waited for below, so the number is still its own
    assert process.do("wait_for", child)["status"] in (-signal.SIGKILL, 0)

    assert integrity(cache, tmp_path / "copy") == "ok"
    with Session(base_url=gateway.base_url, token=afterwards, environ={"VN_MAGIC_CACHE": str(cache)}) as session:
        request = session.prepare(texts, dimension=DIMENSION, unit_length=False, concurrency=CONCURRENCY)
        plan, _ = session.run(session.plan_job(request))
        done = session.run_request(request)
        assert session.runtime.cache.notices == []
    expected = np.stack([vector_of(text, DIMENSION) for text in texts])
    assert np.array_equal(done.matrix, expected)  # those from the cache among them
    assert done.summary.cached == plan.cached
    sent, again = gateway.texts_sent_with(killed), gateway.texts_sent_with(afterwards)
    assert sorted(again) == sorted(texts[row] for row in plan.missing)
    assert len(set(sent) & set(again)) <= COMMIT_ROWS + CONCURRENCY
    assert set(sent) | set(again) == set(texts)


def test_kill_after_kill_of_one_job_ends_with_every_row_once_in_a_whole_cache(
    gateway: FaultGateway, cache: Path, process: Worker, tmp_path: Path
) -> None:
    dice = random.Random(SEED)
    texts = [f"{cache.name} again and again {row}" for row in range(2 * ROWS)]
    token = f"sk-again-and-again-{cache.name}"
    process.do("use_token", token)
    for _ in range(5):
        child = process.do("fork_and_embed", texts)["child"]
        time.sleep(dice.uniform(0, 0.3))
        os.kill(child, signal.SIGKILL)
        process.do("wait_for", child)
    with Session(base_url=gateway.base_url, token=token, environ={"VN_MAGIC_CACHE": str(cache)}) as session:
        matrix = session.embed(texts, dimension=DIMENSION, unit_length=False, result="numpy")
        assert session.runtime.cache.notices == []
    assert np.array_equal(matrix, np.stack([vector_of(text, DIMENSION) for text in texts]))
    sent = gateway.texts_sent_with(token)
    assert len(sent) - len(texts) <= 5 * (COMMIT_ROWS + CONCURRENCY)
    assert integrity(cache, tmp_path / "copy") == "ok"
