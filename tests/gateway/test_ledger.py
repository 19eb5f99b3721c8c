"""The ledger of starts: exact across processes, forgetful at the right time, and no hindrance when it fails."""

from __future__ import annotations

import os
import sqlite3
import stat
import tempfile
import time
from pathlib import Path

import pytest
from support.engine import python, side_by_side

from vn_magic.gateway import ledger as ledger_module
from vn_magic.gateway.ledger import StartLedger, ledger_path

ORIGIN = "https://gateway.example"
WINDOW = 0.25

# Three requests at a time, as often as the gate lets them; prints when each arrived, on the machine's clock.
KERNEL = """
import asyncio, random, sys, time
from pathlib import Path
from vn_magic.gateway.ledger import StartLedger
from vn_magic.gateway.pace import Pace

path, limit, window, seed = Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4])
pace = Pace(StartLedger(path, "https://gateway.example"), timeout=30.0, window=window)
draw = random.Random(seed)

async def work():
    for _ in range(4):
        start = await pace.start()
        await asyncio.sleep(draw.uniform(0, 0.03))
        print(time.monotonic(), flush=True)
        await asyncio.sleep(draw.uniform(0, 0.03))
        await pace.end(start)

async def main():
    with pace.limited_to(limit):
        await asyncio.gather(work(), work(), work())

print("ready", flush=True)
sys.stdin.readline()
asyncio.run(main())
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "shared" / "rates.sqlite3"


def in_an_hour() -> float:
    return time.monotonic() + 3600


def test_three_processes_together_never_exceed_the_limit_in_any_window(path: Path) -> None:
    limit = 5
    told = side_by_side([python(KERNEL, str(path), str(limit), str(WINDOW), str(seed)) for seed in range(3)])
    assert [error for _, error in told] == ["", "", ""]
    arrivals = sorted(float(line) for output, _ in told for line in output.split())
    assert len(arrivals) == 36
    assert max(sum(first <= later < first + WINDOW for later in arrivals) for first in arrivals) <= limit


def test_what_one_kernel_has_taken_another_one_does_not_get(path: Path) -> None:
    one, other = StartLedger(path, ORIGIN), StartLedger(path, ORIGIN)
    assert one.take(in_an_hour(), 2) is not None
    assert other.take(in_an_hour(), 2) is not None
    assert one.take(in_an_hour(), 2) is other.take(in_an_hour(), 2) is None
    assert other.take(in_an_hour(), 3) is not None


def test_every_origin_has_a_rate_of_its_own(path: Path) -> None:
    assert StartLedger(path, ORIGIN).take(in_an_hour(), 1) is not None
    assert StartLedger(path, "https://other.example").take(in_an_hour(), 1) is not None


def test_a_request_that_has_ended_makes_room_when_it_counts_no_longer(path: Path) -> None:
    ledger = StartLedger(path, ORIGIN)
    entry = ledger.take(in_an_hour(), 1)
    assert entry is not None
    assert ledger.end(entry, time.monotonic() + 3600)
    assert ledger.take(in_an_hour(), 1) is None
    assert ledger.end(entry, time.monotonic())
    assert ledger.take(in_an_hour(), 1) is not None


def test_what_a_killed_kernel_leaves_behind_counts_no_longer_than_its_request_could_have_taken(path: Path) -> None:
    killed = StartLedger(path, ORIGIN)
    assert killed.take(time.monotonic(), 1) is not None
    assert StartLedger(path, ORIGIN).take(in_an_hour(), 1) is not None


def test_what_was_written_before_the_machine_was_started_again_does_not_count(path: Path) -> None:
    ledger = StartLedger(path, ORIGIN)
    entry = ledger.take(in_an_hour(), 1)
    with sqlite3.connect(path) as file:
        file.execute("UPDATE starts SET begun = ?", (time.monotonic() + 1e6,))
    assert entry is not None
    assert ledger.take(in_an_hour(), 1) is not None


def test_while_another_kernel_writes_nothing_is_taken_and_nothing_waits(path: Path) -> None:
    ledger = StartLedger(path, ORIGIN)
    entry = ledger.take(in_an_hour(), 9)
    assert entry is not None
    writer = sqlite3.connect(path, isolation_level=None)
    writer.execute("BEGIN IMMEDIATE")
    assert ledger.take(in_an_hour(), 9) is None
    assert ledger.add([(in_an_hour(), 1)]) == []
    assert not ledger.end(entry, 0.0)
    writer.execute("ROLLBACK")
    assert ledger.take(in_an_hour(), 9) is not None
    assert ledger.notices == []
    writer.close()


@pytest.mark.parametrize("damage", ["not a database", "a folder in its place", "a file in the folder's place"])
def test_a_ledger_that_cannot_be_used_is_replaced_by_memory_and_said_once(path: Path, damage: str) -> None:
    if damage == "a file in the folder's place":
        path.parent.write_text("x")
    else:
        path.parent.mkdir(mode=0o700)
        if damage == "not a database":
            path.write_bytes(b"this was never a database " * 100)
        else:
            path.mkdir()
    ledger = StartLedger(path, ORIGIN)
    assert ledger.take(in_an_hour(), 2) is not None
    assert ledger.take(in_an_hour(), 2) is not None
    assert ledger.take(in_an_hour(), 2) is None
    assert len(ledger.notices) == 1
    assert "do not share the rate limit" in ledger.notices[0]


def test_starts_that_were_shared_still_count_when_the_file_cannot_be_used_any_more(path: Path) -> None:
    ledger = StartLedger(path, ORIGIN)
    entries = [ledger.take(in_an_hour(), 3) for _ in range(2)]
    assert None not in entries
    ledger.close()
    path.write_bytes(b"this was never a database " * 100)
    assert ledger.take(in_an_hour(), 3) is not None
    assert ledger.take(in_an_hour(), 3) is None
    assert len(ledger.notices) == 1
    assert ledger.end(entries[0] or 0, time.monotonic())
    assert ledger.take(in_an_hour(), 3) is not None
    assert ledger.take(in_an_hour(), 3) is None


def test_a_file_that_is_deleted_is_made_anew_for_all_who_share_it(path: Path) -> None:
    one, other = StartLedger(path, ORIGIN), StartLedger(path, ORIGIN)
    for ledger in (one, other):
        assert ledger.take(in_an_hour(), 9) is not None
    path.unlink()
    assert one.take(in_an_hour(), 2) is not None
    assert other.take(in_an_hour(), 2) is not None
    assert one.take(in_an_hour(), 2) is None
    assert (one.notices, other.notices) == ([], [])


@pytest.mark.parametrize("shared", [True, False])
def test_closing_it_before_a_fork_forgets_nothing(path: Path, shared: bool) -> None:
    ledger = StartLedger(path if shared else None, ORIGIN)
    assert ledger.take(in_an_hour(), 1) is not None
    ledger.close()
    assert ledger.take(in_an_hour(), 1) is None


def test_a_start_counts_as_many_texts_as_it_carries(path: Path) -> None:
    one, other = StartLedger(path, ORIGIN), StartLedger(path, ORIGIN)
    assert one.take(in_an_hour(), 10, texts=7) is not None
    assert other.take(in_an_hour(), 10, texts=4) is None
    assert other.add([(in_an_hour(), 2)]) != []
    assert other.take(in_an_hour(), 10, texts=2) is None
    assert other.take(in_an_hour(), 10, texts=1) is not None


def test_without_a_file_texts_count_as_well() -> None:
    ledger = StartLedger(None, ORIGIN)
    assert ledger.take(in_an_hour(), 10, texts=7) is not None
    assert ledger.take(in_an_hour(), 10, texts=4) is None
    assert ledger.take(in_an_hour(), 10, texts=3) is not None


def test_a_folder_that_belongs_to_somebody_else_is_not_used(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path.parent.mkdir()
    owner = path.parent.stat().st_uid
    monkeypatch.setattr(ledger_module.os, "getuid", lambda: owner + 1)
    ledger = StartLedger(path, ORIGIN)
    assert ledger.take(in_an_hour(), 1) is not None
    assert "belongs to another user" in ledger.notices[0]
    assert not path.exists()


def test_a_link_in_the_folders_place_is_not_followed(path: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    path.parent.symlink_to(tmp_path / "elsewhere")
    ledger = StartLedger(path, ORIGIN)
    assert ledger.take(in_an_hour(), 1) is not None
    assert len(ledger.notices) == 1
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_the_shared_file_is_in_the_machines_temporary_folder_for_this_user_alone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    path = ledger_path()
    ledger = StartLedger(path, ORIGIN)
    assert list(tmp_path.iterdir()) == []  # nothing before it is needed
    ledger.take(in_an_hour(), 1)
    assert path.is_relative_to(tmp_path)
    if os.name == "posix":
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
