"""A cache that is damaged, full, locked, read-only or of another version: told once, and every vector is right."""

from __future__ import annotations

import ctypes
import json
import os
import random
import shutil
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.kernels import kernel
from support.waiting import until

from faults.answers import good, vector_of
from faults.gateway import Arrival, FaultGateway, Step, fault_gateway
from vn_magic import Session
from vn_magic import cache as cache_module
from vn_magic.cache import FILE_NAME, MIGRATIONS, EmbeddingCache
from vn_magic.keys import KeyRing
from vn_magic.lookup import Origin
from vn_magic.progress import JobSummary
from vn_magic.settings import Recipe

DIMENSION = 128
TEXTS = [f"text {row}" for row in range(120)]


@pytest.fixture(autouse=True)
def nothing_on_stderr(capfd: pytest.CaptureFixture[str]) -> Iterator[None]:
    yield
    assert capfd.readouterr().err == ""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def file(folder: Path) -> Path:
    return folder / FILE_NAME


@pytest.fixture
def gateway() -> Iterator[FaultGateway]:
    with fault_gateway(good) as gateway:
        yield gateway


def session_of(gateway: FaultGateway, folder: Path) -> Session:
    return Session(base_url=gateway.base_url, token="sk-faults", environ={"VN_MAGIC_CACHE": str(folder)})


def embed(session: Session, texts: Sequence[str] = TEXTS, concurrency: int | None = None) -> JobSummary:
    """Embed, check that every row has its own vector, and return what was done."""
    request = session.prepare(texts, dimension=DIMENSION, unit_length=False, concurrency=concurrency)
    done = session.run_request(request)
    assert np.array_equal(done.matrix, np.stack([vector_of(text, DIMENSION) for text in texts]))
    return done.summary


def embed_once(gateway: FaultGateway, folder: Path, texts: Sequence[str] = TEXTS) -> JobSummary:
    with session_of(gateway, folder) as session:
        return embed(session, texts)


# Damage


def _random_bytes(file: Path) -> None:
    file.write_bytes(random.Random(0).randbytes(50_000))


def _a_letter(file: Path) -> None:
    file.write_text("this is no database, it is a letter to a friend\n" * 200, encoding="utf-8")


def _cut_in_half(file: Path) -> None:
    os.truncate(file, file.stat().st_size // 2)


def _no_header(file: Path) -> None:
    _overwrite(file, 0, bytes(100))


def _first_page_gone(file: Path) -> None:
    _overwrite(file, 0, b"\xff" * 4096)


def _half_of_the_pages_gone(file: Path) -> None:
    for page in range(2, file.stat().st_size // 4096, 2):
        _overwrite(file, page * 4096, random.Random(page).randbytes(4096))


def _an_unreadable_schema(file: Path) -> None:
    _overwrite(file, file.read_bytes().index(b"CREATE TABLE embeddings") + 2, b"\xb7")


def _overwrite(file: Path, at: int, data: bytes) -> None:
    with file.open("r+b") as opened:
        opened.seek(at)
        opened.write(data)


DAMAGES = [
    _random_bytes,
    _a_letter,
    _cut_in_half,
    _no_header,
    _first_page_gone,
    _half_of_the_pages_gone,
    _an_unreadable_schema,
]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_set_aside_with_one_notice_and_a_new_one_serves_the_next_session(
    gateway: FaultGateway, folder: Path, file: Path, damage: Callable[[Path], None]
) -> None:
    embed_once(gateway, folder)
    damage(file)
    damaged = file.read_bytes()
    with session_of(gateway, folder) as session:
        (notice,) = embed(session).notices
        assert embed(session).notices == ()
    (aside,) = folder.glob("embeddings.damaged-*")
    assert "The cache file was damaged" in notice
    assert aside.name in notice
    assert aside.read_bytes() == damaged
    # Rows that could still be read before the damage was met were not sent again; the next session sends those.
    last = embed_once(gateway, folder)
    assert last.notices == ()
    assert embed_once(gateway, folder).cached == len(TEXTS)


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_in_the_middle_of_a_job_costs_the_job_no_row(
    folder: Path, file: Path, damage: Callable[[Path], None]
) -> None:
    half, workers, go_on = len(TEXTS) // 2, 8, threading.Event()

    def pausing(arrival: Arrival) -> Iterator[Step]:
        if arrival.number >= half:
            assert go_on.wait(60)
        yield good(arrival)

    with fault_gateway(pausing) as gateway, session_of(gateway, folder) as session, ThreadPoolExecutor(1) as pool:
        job = pool.submit(embed, session, concurrency=workers)
        try:
            # All workers wait for the gateway: nobody reads or writes the file while it is being damaged.
            until(lambda: session.totals.new >= half and len(gateway.received) >= half + workers)
            session.runtime.cache.info()  # what has arrived is committed
            damage(file)
        finally:
            go_on.set()
        assert len([notice for notice in job.result(60).notices if "was damaged" in notice]) <= 1
        assert sorted(gateway.texts) == sorted(TEXTS)
        embed(session)  # whatever was lost with the file
        assert embed(session).cached == len(TEXTS)


def _delete_the_file(file: Path) -> None:
    file.unlink()


def _delete_the_folder(file: Path) -> None:
    shutil.rmtree(file.parent)


def _empty_the_file(file: Path) -> None:
    os.truncate(file, 0)


@pytest.mark.parametrize("loss", [_delete_the_file, _delete_the_folder, _empty_the_file])
def test_a_cache_that_disappears_while_it_is_open_costs_the_job_no_row_and_is_made_anew(
    gateway: FaultGateway, folder: Path, file: Path, loss: Callable[[Path], None]
) -> None:
    with session_of(gateway, folder) as session:
        embed(session)
        loss(file)
        others = [f"other {row}" for row in range(50)]
        embed(session, others)
        assert embed(session, others).cached == len(others)
    embed_once(gateway, folder, others)
    assert embed_once(gateway, folder, others).cached == len(others)


def test_a_flipped_byte_in_a_vector_is_that_row_sent_again_and_nothing_else(
    gateway: FaultGateway, folder: Path, file: Path
) -> None:
    embed_once(gateway, folder)
    at = file.read_bytes().index(vector_of("text 7", DIMENSION).tobytes())
    _overwrite(file, at + 100, bytes([file.read_bytes()[at + 100] ^ 0x10]))
    done = embed_once(gateway, folder)
    assert (done.new, done.notices) == (1, ())
    assert gateway.texts[len(TEXTS) :] == ["text 7"]
    assert embed_once(gateway, folder).cached == len(TEXTS)


def test_a_flipped_byte_anywhere_is_never_an_error_and_never_a_wrong_vector(
    gateway: FaultGateway, folder: Path, file: Path, tmp_path: Path
) -> None:
    """At the level of the cache, so that three hundred files can be tried."""
    with session_of(gateway, folder) as session:
        embed(session, concurrency=1)  # in the order of the rows: each run has the same file
    whole = file.read_bytes()
    ring = KeyRing(Origin(gateway.base_url, "").key, Recipe("gemini-embedding-001", DIMENSION, "SEMANTIC_SIMILARITY"))
    keys = [ring.key(text) for text in TEXTS]
    right = [vector_of(text, DIMENSION) for text in TEXTS]
    hits = 0
    for seed in range(300):
        dice = random.Random(seed)
        at = dice.randrange(4096 if seed % 3 == 0 else len(whole))  # the schema is on the first page
        spoilt = bytearray(whole)
        spoilt[at] ^= dice.randrange(1, 256)
        place = tmp_path / str(seed)
        place.mkdir()
        (place / FILE_NAME).write_bytes(spoilt)
        cache, found = EmbeddingCache(place), {}
        cache.look_up(keys, found.__setitem__, prefixes=False)
        assert all(np.array_equal(cached.vector, right[row]) for row, cached in found.items()), at
        cache.keep(list(found.values()))
        cache.close()
        hits += len(found)
        shutil.rmtree(place)
    assert hits > 200 * len(TEXTS)  # most flips cost nothing


def test_in_a_kernel_the_notice_is_on_the_card_once_and_nothing_on_stderr(
    gateway: FaultGateway, folder: Path, file: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder.mkdir()
    _a_letter(file)
    own = {"VN_MAGIC_BASE_URL": gateway.base_url, "VECTORNODE_API_KEY": "sk-faults", "VN_MAGIC_CACHE": str(folder)}
    with kernel(environ={**os.environ, **own}) as client:
        client.run("%load_ext vn_magic")
        first = client.run("%%embed poems\nroses are red\n")
        second = client.run("%%embed more\nviolets are blue\n")
    assert (first.status, second.status) == ("ok", "ok")
    assert first.card.count("set aside as embeddings.damaged-") == 1
    assert "damaged" not in second.card
    assert first.stderr == second.stderr == ""
    capfd.readouterr()  # what a kernel says on its terminal is its own affair


# No room, no right, no turn

CHILD = """
import errno, json, os, resource, sys
import vn_magic

def embed(session, first, last):
    texts = [f"text {row}" for row in range(first, last)]
    done = session.run_request(session.prepare(texts, dimension=128, unit_length=False))
    return [done.summary.new, done.summary.cached, list(done.summary.notices)]

session = vn_magic.Session()
told = []
"""


def child(gateway: FaultGateway, folder: Path, script: str, *before: str, dutiful: bool = False) -> Any:
    """Run a script in a process of its own, and return what it put into ``told``.

    ``before`` is a command that takes this one for its arguments; a ``dutiful`` process is bound by permissions.
    """
    own = {"VN_MAGIC_BASE_URL": gateway.base_url, "VECTORNODE_API_KEY": "sk-faults", "VN_MAGIC_CACHE": str(folder)}
    done = subprocess.run(
        [*before, sys.executable, "-c", CHILD + script + "\nprint(json.dumps(told))"],
        env={**os.environ, **own},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        preexec_fn=_without_roots_privilege if dutiful else None,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return json.loads(done.stdout)


def _without_roots_privilege() -> None:
    """Have permissions count for root, too: give up the right to pass them over with the next exec."""
    if os.geteuid() == 0:
        libc = ctypes.CDLL(None, use_errno=True)
        for capability in (1, 2):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH; 24 is PR_CAPBSET_DROP
            if libc.prctl(24, capability, 0, 0, 0):
                raise OSError(ctypes.get_errno(), "prctl")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="capabilities are Linux's")
@pytest.mark.parametrize("place", ["file", "folder", "both"])
def test_a_read_only_cache_answers_and_new_rows_are_kept_in_memory_with_one_notice(
    gateway: FaultGateway, folder: Path, file: Path, place: str
) -> None:
    embed_once(gateway, folder, TEXTS[:10])
    before = file.read_bytes()
    if place != "folder":
        file.chmod(0o400)
    if place != "file":
        file.with_name(FILE_NAME + "-journal").unlink(missing_ok=True)  # or nothing new were needed in the folder
        folder.chmod(0o500)
    try:
        script = "told += [embed(session, 0, 20), embed(session, 0, 30), embed(session, 0, 30)]"
        first, second, third = child(gateway, folder, script, dutiful=True)
    finally:
        folder.chmod(0o700)
    (notice,) = first.pop()
    assert "kept in memory only" in notice
    assert [first, second, third] == [[10, 10], [10, 20, []], [0, 30, []]]
    assert file.read_bytes() == before


FILLING = """
def fill(limit):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))

size = os.path.getsize(os.environ["VN_MAGIC_CACHE"] + "/embeddings.sqlite3")
told.append(embed(session, 0, 10))
fill(size)
told += [embed(session, 0, 200), embed(session, 0, 200)]
fill(resource.RLIM_INFINITY)
told.append(embed(session, 0, 201))
session.close()
"""


@pytest.mark.skipif(os.name == "nt", reason="Windows has no limit for the size of a file")
def test_where_no_more_can_be_written_rows_stay_in_memory_and_are_written_as_soon_as_they_can_be(
    gateway: FaultGateway, folder: Path
) -> None:
    embed_once(gateway, folder, TEXTS[:10])
    before, full, still_full, room = child(gateway, folder, FILLING)
    assert before == [0, 10, []]
    (notice,) = full.pop()
    assert "kept in memory only" in notice
    assert [full, still_full, room] == [[190, 10], [0, 200, []], [1, 200, []]]
    assert embed_once(gateway, folder, [f"text {row}" for row in range(201)]).cached == 201


ON_A_SMALL_DISK = """
ballast = os.environ["VN_MAGIC_CACHE"] + "/ballast"
told.append(embed(session, 0, 10))
file = os.open(ballast, os.O_WRONLY | os.O_CREAT)
try:
    while os.write(file, bytes(4096)):
        pass
except OSError as error:
    assert error.errno == errno.ENOSPC
os.close(file)
told += [embed(session, 0, 200), embed(session, 0, 200)]
os.unlink(ballast)
told.append(embed(session, 0, 201))
session.close()
check = vn_magic.Session()
told.append(embed(check, 0, 201))
"""


def test_a_disk_that_is_really_full_is_work_in_memory_until_there_is_room_again(
    gateway: FaultGateway, folder: Path
) -> None:
    folder.mkdir()
    mount = ["unshare", "-rm", "sh", "-c", 'mount -t tmpfs -o size=1m none "$0" && exec "$@"', str(folder)]
    if shutil.which("unshare") is None or subprocess.run([*mount, "true"], capture_output=True, check=False).returncode:
        pytest.skip("a small disk of one's own cannot be mounted here; a limit on files has its test above")
    before, full, still_full, room, afterwards = child(gateway, folder, ON_A_SMALL_DISK, *mount)
    assert before == [10, 0, []]
    (notice,) = full.pop()
    assert "full" in notice
    assert [full, still_full, room, afterwards] == [[190, 10], [0, 200, []], [1, 200, []], [0, 201, []]]


def test_a_file_that_another_process_locks_for_long_is_one_notice_and_is_written_afterwards(
    gateway: FaultGateway, folder: Path, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache_module, "_BUSY_SECONDS", 0.05)
    embed_once(gateway, folder, TEXTS[:10])
    hold = """
import sqlite3, sys
db = sqlite3.connect(sys.argv[1], isolation_level=None)
db.execute("BEGIN EXCLUSIVE")
print("held", flush=True)
sys.stdin.readline()
"""
    pipe = subprocess.PIPE
    with (
        subprocess.Popen([sys.executable, "-c", hold, str(file)], stdin=pipe, stdout=pipe) as holder,
        session_of(gateway, folder) as session,
    ):
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        (notice,) = embed(session, TEXTS[10:40]).notices
        assert "database is locked" in notice
        assert embed(session, TEXTS[10:40]).cached == 30
        holder.communicate()  # its end lets go
        assert embed(session, TEXTS[:41]).new == 1
    assert embed_once(gateway, folder, TEXTS[:41]).cached == 41


# Other versions

# As it was released: the text of a migration is never edited.
SCHEMA_1 = """
CREATE TABLE embeddings (
    digest BLOB PRIMARY KEY,
    family BLOB NOT NULL,
    dimension INTEGER NOT NULL,
    source TEXT NOT NULL,
    vector BLOB NOT NULL,
    checksum INTEGER NOT NULL,
    created REAL NOT NULL
);
CREATE INDEX embeddings_by_family ON embeddings (family, dimension);
PRAGMA user_version = 1;
"""


def _as_schema_1(file: Path) -> None:
    """Write the rows of a file into one that a vn_magic of the first schema has made."""
    older = file.with_name("older")
    with closing(sqlite3.connect(older)) as db:
        db.executescript(SCHEMA_1)
        db.execute("ATTACH ? AS newer", (str(file),))
        with db:
            db.execute(
                "INSERT INTO embeddings SELECT digest, family, dimension, source, vector, checksum, created "
                "FROM newer.embeddings"
            )
    older.replace(file)


@pytest.mark.parametrize(
    "migrations",
    [
        MIGRATIONS,
        (*MIGRATIONS, "ALTER TABLE embeddings ADD COLUMN note TEXT; CREATE INDEX notes ON embeddings (note);"),
    ],
    ids=["this version", "a later one"],
)
def test_a_file_of_the_first_schema_is_brought_up_to_date_and_none_of_its_rows_is_sent_again(
    gateway: FaultGateway,
    folder: Path,
    file: Path,
    monkeypatch: pytest.MonkeyPatch,
    migrations: tuple[str, ...],
) -> None:
    embed_once(gateway, folder)
    _as_schema_1(file)
    monkeypatch.setattr(cache_module, "MIGRATIONS", migrations)
    done = embed_once(gateway, folder, [*TEXTS, "one more"])
    assert (done.cached, done.new, done.notices) == (len(TEXTS), 1, ())
    with closing(sqlite3.connect(file)) as db:
        assert db.execute("PRAGMA user_version").fetchone()[0] == len(migrations)
        assert db.execute("SELECT count(*) FROM embeddings").fetchone()[0] == len(TEXTS) + 1


def test_a_file_of_a_newer_schema_is_left_as_it_is_with_one_notice_and_work_goes_on_in_memory(
    gateway: FaultGateway, folder: Path, file: Path
) -> None:
    embed_once(gateway, folder)
    with closing(sqlite3.connect(file)) as db:
        db.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    before = file.read_bytes()
    with session_of(gateway, folder) as session:
        (notice,) = embed(session).notices
        assert "made by a newer vn_magic" in notice
        second = embed(session)
        assert (second.cached, second.notices) == (len(TEXTS), ())
    assert file.read_bytes() == before
    assert [path.name for path in folder.iterdir()] == [FILE_NAME]
