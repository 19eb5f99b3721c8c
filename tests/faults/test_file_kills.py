"""`vn-magic embed` is stopped or killed: its output is whole or absent, and the next run sends only the rest."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from support.tables import vectors_in
from support.waiting import until

from faults.answers import good, vector_of
from faults.gateway import Arrival, FaultGateway, Step, fault_gateway
from vn_magic.cache_thread import COMMIT_ROWS

ROWS = 200
CONCURRENCY = 8
SEED = 20260516
pytestmark = pytest.mark.skipif(os.name == "nt", reason="Windows cannot send a signal to one process alone")

# Groups of thirty rows: a stop meets the middle of a file. Signals are heard as in a terminal, whoever started this.
_SCRIPT = """
import signal, sys
for number in (signal.SIGHUP, signal.SIGTERM):
    signal.signal(number, signal.SIG_DFL)
signal.signal(signal.SIGINT, signal.default_int_handler)
from vn_magic.scale import file_job
file_job.GROUP_ROWS = 30
from vn_magic.cli import main
sys.exit(main(sys.argv[1:]))
"""


def slowly(arrival: Arrival) -> Iterator[Step]:
    yield 0.004
    yield good(arrival)


@pytest.fixture(scope="module")
def gateway() -> Iterator[FaultGateway]:
    with fault_gateway(slowly) as gateway:
        yield gateway


@pytest.fixture
def texts(request: pytest.FixtureRequest) -> list[str]:
    return [f"{request.node.name} {row}" for row in range(ROWS)]


@pytest.fixture
def source(tmp_path: Path, texts: list[str]) -> Path:
    path = tmp_path / "in.csv"
    path.write_text("\n".join(["text", *texts]), encoding="utf-8")
    return path


@contextmanager
def running(
    gateway: FaultGateway, source: Path, target: Path, token: str, *options: str
) -> Iterator[subprocess.Popen[str]]:
    """Start the program; at the end nothing of it is left."""
    how = ("--dim", "128", "--raw", "--concurrency", str(CONCURRENCY), *options)
    command = [sys.executable, "-c", _SCRIPT, "embed", str(source), "-o", str(target), *how]
    environ = {
        **os.environ,
        "VN_MAGIC_BASE_URL": gateway.base_url,
        "VECTORNODE_API_KEY": token,
        "NO_PROXY": "127.0.0.1",
    }
    with subprocess.Popen(command, env=environ, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def ended(process: subprocess.Popen[str]) -> tuple[int, list[str]]:
    _, errors = process.communicate(timeout=60)
    return process.returncode, errors.splitlines()


def finish(gateway: FaultGateway, source: Path, target: Path, texts: Sequence[str], token: str) -> list[str]:
    """Run it to its end; every row has the vector of its text. Returns what was sent for that."""
    with running(gateway, source, target, token) as process:
        assert ended(process)[0] == 0
    assert np.array_equal(vectors_in(target), np.stack([vector_of(text, 128) for text in texts]))
    assert sorted(path.name for path in target.parent.iterdir() if path.suffix != "") == sorted(
        [source.name, target.name]
    )
    return gateway.texts_sent_with(token)


@pytest.mark.parametrize(
    ("number", "status", "ending"),
    [(signal.SIGINT, 130, ".parquet"), (signal.SIGTERM, 143, ".csv"), (signal.SIGHUP, 129, ".jsonl")],
)
def test_a_stop_is_told_in_two_lines_leaves_no_file_and_the_same_line_again_sends_the_rest(
    gateway: FaultGateway, source: Path, texts: list[str], tmp_path: Path, number: int, status: int, ending: str
) -> None:
    target = tmp_path / f"out{ending}"
    stopped, afterwards = (f"sk-{when}-{number}{ending}" for when in ("stopped", "afterwards"))
    moment = random.Random(f"{SEED}/{number}{ending}").randrange(20, ROWS - 20)
    with running(gateway, source, target, stopped) as process:
        until(lambda: len(gateway.texts_sent_with(stopped)) >= moment, "the moment")
        process.send_signal(number)
        process.send_signal(number)  # people press it again
        code, told = ended(process)
    assert code == status
    assert len(told) == 2, told
    assert told[0].startswith("vn-magic: stopped at ")
    assert told[0].endswith(f" of {ROWS} rows; {target.name} was not written.")
    assert told[1] == "What had arrived is in the cache: run the same line again, and only the rest is sent."
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == [source.name]
    sent = gateway.texts_sent_with(stopped)
    again = finish(gateway, source, target, texts, afterwards)
    assert set(sent) | set(again) == set(texts)
    assert len(set(sent) & set(again)) <= CONCURRENCY  # what was on its way


def test_without_the_cache_a_stop_says_that_nothing_is_kept_and_an_older_output_stays(
    gateway: FaultGateway, source: Path, tmp_path: Path
) -> None:
    target = tmp_path / "out.csv"
    target.write_text("older")
    with running(gateway, source, target, "sk-without", "--no-cache", "--force") as process:
        until(lambda: len(gateway.texts_sent_with("sk-without")) >= 50, "the moment")
        process.send_signal(signal.SIGINT)
        code, told = ended(process)
    assert (code, told[0]) == (130, "Without the cache, an interruption loses all rows.")
    assert told[1].endswith(f" of {ROWS} rows; out.csv is as it was, and without the cache nothing was kept.")
    assert (len(told), target.read_text()) == (2, "older")
    assert not (tmp_path / "cache").exists()


def test_a_kill_at_a_random_moment_leaves_an_older_output_whole_and_the_next_run_pays_for_little_again(
    gateway: FaultGateway, source: Path, texts: list[str], tmp_path: Path
) -> None:
    dice = random.Random(SEED)
    target = tmp_path / "out.parquet"
    target.write_text("older")
    tokens = [f"sk-killed-{number}" for number in range(3)]
    for token in tokens:
        moment = dice.randrange(20, 60)
        with running(gateway, source, target, token, "--force") as process:
            until(lambda moment=moment, token=token: len(gateway.texts_sent_with(token)) >= moment, "the moment")
            time.sleep(dice.uniform(0, 0.02))
            process.kill()
            assert ended(process) == (-signal.SIGKILL, [])
        assert target.read_text() == "older"
        assert [path.name for path in tmp_path.glob(".*")] in ([], [".out.parquet.part"])
    target.unlink()
    again = finish(gateway, source, target, texts, "sk-at-last")
    assert list(tmp_path.glob(".*")) == []
    sent = [text for token in (*tokens, "sk-at-last") for text in gateway.texts_sent_with(token)]
    assert set(sent) == set(texts)
    assert len(sent) - len(texts) <= len(tokens) * (COMMIT_ROWS + CONCURRENCY)
    assert len(again) < ROWS


def test_two_runs_into_one_output_do_not_disturb_each_other(source: Path, texts: list[str], tmp_path: Path) -> None:
    target, free = tmp_path / "out.csv", threading.Event()

    def held_up(arrival: Arrival) -> Iterator[Step]:
        while not free.is_set():
            yield 0.01
        yield good(arrival)

    with fault_gateway(held_up) as gateway, running(gateway, source, target, "sk-first") as first:
        until(lambda: gateway.texts_sent_with("sk-first"), "the first one's beginning")
        with running(gateway, source, target, "sk-second") as second:
            code, told = ended(second)
        assert (code, told[0]) == (1, "vn-magic: 'out.csv' is just being written by another run.")
        free.set()
        assert ended(first)[0] == 0
        assert gateway.texts_sent_with("sk-second") == []
    assert np.array_equal(vectors_in(target), np.stack([vector_of(text, 128) for text in texts]))
