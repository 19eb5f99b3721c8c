"""Ctrl-C at random moments: what has arrived is kept, the rest is sent once, and the process goes on."""

from __future__ import annotations

import os
import random
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.kernels import kernel
from support.waiting import until

from faults.answers import good
from faults.gateway import Arrival, FaultGateway, Step, fault_gateway
from faults.workers import CONCURRENCY, DIMENSION, Worker, digest_of, worker
from vn_magic import Session

ROWS = 200
SEED = 20260516
pytestmark = pytest.mark.skipif(os.name == "nt", reason="Windows cannot send SIGINT to one process alone")


def slowly(arrival: Arrival) -> Iterator[Step]:
    yield 0.05 if str(arrival.text).startswith("slow") else 0.004
    yield good(arrival)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def gateway() -> Iterator[FaultGateway]:
    with fault_gateway(slowly) as gateway:
        yield gateway


@pytest.fixture(scope="module")
def process(gateway: FaultGateway, cache: Path) -> Iterator[Worker]:
    """One for all tests here: that it stays usable is what they show together."""
    with worker(gateway, cache) as process:
        yield process


@pytest.fixture(scope="module")
def duration(process: Worker) -> float:
    """Seconds that a job takes when nobody interrupts it."""
    process.do("embed", ["loads", "what", "is", "loaded", "late"])
    began = time.monotonic()
    assert "error" not in process.do("embed", [f"undisturbed {row}" for row in range(ROWS)])
    return time.monotonic() - began


def missing(gateway: FaultGateway, cache: Path, texts: list[str]) -> list[str]:
    """Return the texts that the cache does not have, as somebody else finds it."""
    with Session(base_url=gateway.base_url, environ={"VN_MAGIC_CACHE": str(cache)}) as session:
        plan, _ = session.run(session.plan_job(session.prepare(texts, dimension=DIMENSION, unit_length=False)))
        return [texts[row] for row in plan.missing]


@pytest.mark.parametrize("number", range(20))
def test_ctrl_c_at_a_random_moment_keeps_what_has_arrived_and_the_next_run_sends_the_rest(
    gateway: FaultGateway, cache: Path, process: Worker, duration: float, number: int
) -> None:
    dice = random.Random(f"{SEED}/{number}")
    texts = [f"{number}/{row}" for row in range(ROWS)]
    stopped, afterwards = f"sk-stopped-{number}", f"sk-afterwards-{number}"
    process.do("use_token", stopped)
    process.order("embed", texts)
    time.sleep(dice.uniform(0, duration))
    process.press_stop()
    told = process.told()
    at_the_prompt = len(gateway.texts_sent_with(stopped))
    assert told.get("error") in ("EmbeddingInterruptedError", "KeyboardInterrupt", None), told

    process.do("use_token", afterwards)
    left = missing(gateway, cache, texts)
    again = process.do("embed", texts)
    assert again.get("digest") == digest_of(texts), again
    assert (again["new"], again["cached"], again["notices"]) == (len(left), ROWS - len(left), [])
    assert sorted(gateway.texts_sent_with(afterwards)) == sorted(left)

    sent = gateway.texts_sent_with(stopped)
    assert max(Counter(sent).values(), default=1) == 1
    assert len(sent) - at_the_prompt <= CONCURRENCY  # what was on the wire; a job that went on would send the rest
    # All that was answered is in the cache, but for what was on its way.
    assert len(set(sent) & set(left)) <= CONCURRENCY


def test_ctrl_c_pressed_again_and_again_is_one_stop(gateway: FaultGateway, cache: Path, process: Worker) -> None:
    texts = [f"slow {row}" for row in range(ROWS)]
    process.do("use_token", "sk-again-and-again")
    process.order("embed", texts)
    until(lambda: len(gateway.texts_sent_with("sk-again-and-again")) >= 3 * CONCURRENCY, "the job's beginning")
    for _ in range(3):
        process.press_stop()
        time.sleep(0.01)
    assert process.told()["error"] in ("EmbeddingInterruptedError", "KeyboardInterrupt")
    at_the_prompt = len(gateway.texts_sent_with("sk-again-and-again"))
    process.do("use_token", "sk-afterwards")
    left = missing(gateway, cache, texts)
    assert process.do("embed", texts)["digest"] == digest_of(texts)
    sent = gateway.texts_sent_with("sk-again-and-again")
    assert len(sent) - at_the_prompt <= CONCURRENCY
    assert len(set(sent) & set(left)) <= CONCURRENCY


def test_cells_of_one_kernel_stopped_at_random_moments_are_finished_by_the_next_run(
    gateway: FaultGateway, tmp_path: Path, duration: float
) -> None:
    dice = random.Random(SEED)
    environ = {"VN_MAGIC_BASE_URL": gateway.base_url, "VECTORNODE_API_KEY": "sk-faults", "NO_PROXY": "127.0.0.1"}
    with kernel(environ={**os.environ, **environ, "VN_MAGIC_CACHE": str(tmp_path)}) as client:
        client.run("%load_ext vn_magic\n%embed -o df --dim 128 ['loads what is loaded late']")
        for number in range(5):
            texts = f"[f'kernel {number} {{row}}' for row in range({ROWS})]"
            cell = f"%embed -o df --raw --dim {DIMENSION} --concurrency {CONCURRENCY} {texts}"
            running = client.start(cell)
            time.sleep(dice.uniform(0, duration))
            client.manager.interrupt_kernel()
            stopped = client.finish(running)
            assert (stopped.status, stopped.stderr) in (("ok", ""), ("error", "")), stopped.stderr
            again = client.run(cell)
            assert (again.status, again.stderr) == ("ok", "")
        sent = [text for text in gateway.texts if text.startswith("kernel")]
        assert len(sent) - len(set(sent)) <= 5 * CONCURRENCY
        assert len(set(sent)) == 5 * ROWS
