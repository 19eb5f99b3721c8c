"""The cache on real SQLite files: nothing lost, nothing wrong handed over, and work goes on without it."""

from __future__ import annotations

import shutil
import sqlite3
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from support.engine import output_of, python

from vn_magic import cache as cache_module
from vn_magic.cache import FILE_NAME, MIGRATIONS, CachedVector, EmbeddingCache, cache_folder
from vn_magic.journal import journal_mode_for
from vn_magic.keys import CacheKey, KeyRing
from vn_magic.settings import Recipe

FLOATS = st.floats(width=32, allow_nan=True, allow_infinity=True, allow_subnormal=True)


def key(text: str = "text", dimension: int = 4) -> CacheKey:
    return KeyRing("https://gateway.example", Recipe("model", dimension, "CLUSTERING")).key(text)


def vector(seed: int, dimension: int = 4) -> NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal(dimension).astype(np.float32)


def row(text: str = "text", dimension: int = 4, seed: int = 0, source: str = "gateway.example") -> CachedVector:
    return CachedVector(key(text, dimension), vector(seed, dimension), source)


def found(cache: EmbeddingCache, *keys: CacheKey, prefixes: bool = False) -> dict[int, CachedVector]:
    hits: dict[int, CachedVector] = {}

    def deliver(at: int, cached: CachedVector) -> None:
        assert at not in hits
        hits[at] = cached

    cache.look_up(keys, deliver, prefixes=prefixes)
    return hits


def file_of(folder: Path) -> Path:
    return folder / FILE_NAME


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "some" / "cache"


# What goes in comes out


@pytest.fixture(scope="module")
def lasting(tmp_path_factory: pytest.TempPathFactory) -> EmbeddingCache:
    return EmbeddingCache(tmp_path_factory.mktemp("lasting"))


@given(hnp.arrays(np.float32, st.integers(1, 40), elements=FLOATS), st.text(min_size=1).filter(str.isprintable))
def test_vectors_come_back_bit_for_bit_and_not_normalised(
    lasting: EmbeddingCache, values: NDArray[np.float32], source: str
) -> None:
    kept = CachedVector(key("text", len(values)), values, source)
    lasting.keep([kept])
    (cached,) = found(lasting, kept.key).values()
    assert cached.vector.dtype == np.float32
    assert cached.vector.tobytes() == values.tobytes()
    assert (cached.key, cached.source) == (kept.key, source)
    assert lasting.notices == []


def test_rows_outlive_the_connection(folder: Path) -> None:
    first = EmbeddingCache(folder)
    first.keep([row("a", seed=1), row("b", seed=2)])
    first.close()
    hits = found(EmbeddingCache(folder), key("b"), key("missing"), key("a"))
    assert {at: hit.vector.tolist() for at, hit in hits.items()} == {0: vector(2).tolist(), 2: vector(1).tolist()}


def test_a_closed_cache_opens_again(folder: Path) -> None:
    cache = EmbeddingCache(folder)
    for seed in range(3):
        cache.keep([row(str(seed), seed=seed)])
        cache.close()
        cache.close()
    assert cache.info().rows == 3


def test_a_row_that_is_kept_again_replaces_the_older_one(folder: Path) -> None:
    cache = EmbeddingCache(folder)
    cache.keep([row(seed=1, source="before")])
    cache.keep([row(seed=2, source="after")])
    (hit,) = found(cache, key()).values()
    assert (hit.vector.tolist(), hit.source, cache.info().rows) == (vector(2).tolist(), "after", 1)


def test_more_keys_than_a_query_takes_are_all_looked_up(folder: Path) -> None:
    cache = EmbeddingCache(folder)
    cache.keep(row(str(number), seed=number) for number in range(0, 1000, 3))
    hits = found(cache, *(key(str(number)) for number in range(1000)))
    assert sorted(hits) == list(range(0, 1000, 3))
    assert all(hit.vector.tolist() == vector(number).tolist() for number, hit in hits.items())


def test_no_keys_are_no_hits(folder: Path) -> None:
    assert found(EmbeddingCache(folder)) == {}
    assert not folder.exists()


# Longer vectors


def test_a_longer_vector_serves_a_shorter_request_only_where_prefixes_are_allowed(folder: Path) -> None:
    cache = EmbeddingCache(folder)
    cache.keep([row(dimension=16, seed=1)])
    assert found(cache, key(dimension=8), prefixes=False) == {}
    (hit,) = found(cache, key(dimension=8), prefixes=True).values()
    assert hit.key == key(dimension=16)
    assert hit.vector.tolist() == vector(1, 16).tolist()


def test_the_shortest_vector_that_fits_is_handed_over(folder: Path) -> None:
    cache = EmbeddingCache(folder)
    cache.keep(row(dimension=dimension) for dimension in (32, 4, 16, 8))
    lengths = {}
    for wanted in (2, 4, 5, 16, 17, 33):
        hits = found(cache, key(dimension=wanted), prefixes=True)
        lengths[wanted] = hits[0].key.dimension if hits else None
    assert lengths == {2: 4, 4: 4, 5: 8, 16: 16, 17: 32, 33: None}


def test_a_shorter_vector_never_serves_a_longer_request(folder: Path) -> None:
    cache = EmbeddingCache(folder)
    cache.keep([row(dimension=4)])
    assert found(cache, key(dimension=8), prefixes=True) == {}


# Damage


def _tamper(folder: Path, statement: str, *parameters: Any) -> None:
    db = sqlite3.connect(file_of(folder))
    with db:
        assert db.execute(statement, parameters).rowcount > 0
    db.close()


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE embeddings SET vector = (SELECT vector FROM embeddings WHERE source = 'other') WHERE source = 'mine'",
        (
            "UPDATE embeddings SET (vector, checksum, source) = (SELECT vector, checksum, source FROM embeddings "
            "WHERE source = 'other') WHERE source = 'mine'"
        ),
        "UPDATE embeddings SET vector = zeroblob(16) WHERE source = 'mine'",
        "UPDATE embeddings SET vector = substr(vector, 1, 12) WHERE source = 'mine'",
        "UPDATE embeddings SET checksum = checksum + 1 WHERE source = 'mine'",
        "UPDATE embeddings SET source = 'thine' WHERE source = 'mine'",
        "UPDATE embeddings SET dimension = 3 WHERE source = 'mine'",
        "UPDATE embeddings SET vector = 7 WHERE source = 'mine'",
        "UPDATE embeddings SET checksum = 'text' WHERE source = 'mine'",
        "UPDATE embeddings SET source = x'b7' WHERE source = 'mine'",
        "UPDATE embeddings SET source = CAST(x'b7' AS TEXT) WHERE source = 'mine'",
    ],
    ids=[
        "another row's vector",
        "another row's everything",
        "zeros",
        "a cut vector",
        "checksum",
        "source",
        "dimension",
        "a number for a vector",
        "a text for a checksum",
        "bytes for a source",
        "no text in a text",
    ],
)
def test_a_row_that_does_not_match_its_checksum_is_a_miss_until_it_is_kept_again(folder: Path, statement: str) -> None:
    cache = EmbeddingCache(folder)
    mine, other = row("mine", seed=1, source="mine"), row("other", seed=2, source="other")
    cache.keep([mine, other])
    _tamper(folder, statement)
    for prefixes in (False, True):
        assert list(found(cache, mine.key, other.key, mine.key.of_length(3), prefixes=prefixes)) == [1]
    cache.keep([mine])
    assert found(cache, mine.key)[0].vector.tolist() == mine.vector.tolist()
    assert cache.notices == []


def test_a_longer_row_serves_where_the_shortest_one_is_damaged(folder: Path) -> None:
    cache = EmbeddingCache(folder)
    cache.keep([row(dimension=4, seed=1), row(dimension=8, seed=2)])
    _tamper(folder, "UPDATE embeddings SET checksum = 0 WHERE dimension = 4")
    assert found(cache, key(), prefixes=True)[0].key.dimension == 8


def _cut_in_half(path: Path) -> None:
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2)


def _cut_in_the_header(path: Path) -> None:
    with path.open("r+b") as file:
        file.truncate(77)


def _overwrite_the_middle(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xa5" * (path.stat().st_size - 8192))


def _replace_by_text(path: Path) -> None:
    path.write_text("this is no database, it is a letter to a friend\n" * 200, encoding="utf-8")


@pytest.mark.parametrize("damage", [_cut_in_half, _cut_in_the_header, _overwrite_the_middle, _replace_by_text])
def test_a_damaged_file_is_set_aside_with_one_notice_and_work_goes_on(
    folder: Path, damage: Callable[[Path], None]
) -> None:
    writer = EmbeddingCache(folder)
    writer.keep(row(str(number), 768, seed=number) for number in range(100))
    writer.close()
    damage(file_of(folder))
    damaged = file_of(folder).read_bytes()

    cache = EmbeddingCache(folder)
    keys = [key(str(number), 768) for number in range(100)]
    for at, hit in found(cache, *keys).items():  # what could still be read is right
        assert hit.vector.tolist() == vector(at, 768).tolist()
    cache.keep(row(str(number), 768, seed=number) for number in range(100))
    assert len(found(cache, *keys)) == 100

    (notice,) = cache.notices
    (aside,) = folder.glob("embeddings.damaged-*")
    assert "damaged" in notice
    assert aside.name in notice
    assert aside.read_bytes() == damaged
    assert len(found(EmbeddingCache(folder), *keys)) == 100


def test_a_damaged_file_is_set_aside_once_by_all_who_have_it_open(folder: Path) -> None:
    EmbeddingCache(folder).keep(row(str(number), 768, seed=number) for number in range(100))
    kernels = [EmbeddingCache(folder) for _ in range(3)]
    for kernel in kernels:
        assert kernel.info().rows == 100
    _overwrite_the_middle(file_of(folder))
    for number, kernel in enumerate(kernels):
        found(kernel, *(key(str(row_), 768) for row_ in range(100)))
        kernel.keep([row(f"new {number}", 768)])
    assert len(list(folder.glob("embeddings.damaged-*"))) == 1
    assert len(found(EmbeddingCache(folder), *(key(f"new {number}", 768) for number in range(3)))) == 3
    assert [len(kernel.notices) for kernel in kernels] == [1, 0, 0]


def test_a_file_that_lost_its_table_is_left_alone_and_work_goes_on_in_memory(folder: Path) -> None:
    EmbeddingCache(folder).keep([row()])
    db = sqlite3.connect(file_of(folder))
    db.execute("DROP TABLE embeddings")
    db.close()
    cache = EmbeddingCache(folder)
    cache.keep([row(seed=3)])
    assert found(cache, key())[0].vector.tolist() == vector(3).tolist()
    assert len(cache.notices) == 1
    assert cache.info().path is None


# No place to write


def _below_a_file(tmp_path: Path) -> Path:
    (tmp_path / "file").write_text("in the way", encoding="utf-8")
    return tmp_path / "file" / "cache"


def _itself_a_file(tmp_path: Path) -> Path:
    (tmp_path / "file").write_text("in the way", encoding="utf-8")
    return tmp_path / "file"


def _too_long(tmp_path: Path) -> Path:
    return tmp_path / ("x" * 300)


def _full_of_a_folder(tmp_path: Path) -> Path:
    (tmp_path / "cache" / FILE_NAME).mkdir(parents=True)
    return tmp_path / "cache"


@pytest.mark.parametrize("place", [_below_a_file, _itself_a_file, _too_long, _full_of_a_folder])
def test_where_no_file_can_be_made_work_goes_on_in_memory_with_one_notice(
    tmp_path: Path, place: Callable[[Path], Path]
) -> None:
    cache = EmbeddingCache(place(tmp_path))
    cache.info()
    cache.keep([row("a", seed=1)])
    cache.keep([row("b", seed=2)])
    cache.close()  # memory has nothing to let go of, and nothing is lost by it
    assert found(cache, key("a"), key("b"))[1].vector.tolist() == vector(2).tolist()
    (notice,) = cache.notices
    assert "kept in memory only" in notice
    assert "VN_MAGIC_CACHE" in notice
    assert (cache.info().path, cache.info().rows, cache.info().journal_mode) == (None, 2, "memory")


def test_a_folder_that_is_deleted_under_an_open_cache_costs_no_row_of_the_job(folder: Path) -> None:
    cache = EmbeddingCache(folder)
    cache.keep([row("a", seed=1)])
    shutil.rmtree(folder)
    cache.keep([row("b", seed=2)])
    assert found(cache, key("b"))[0].vector.tolist() == vector(2).tolist()
    assert cache.notices == []


def test_a_full_disk_is_work_in_memory_even_where_a_damaged_file_was_set_aside_first(folder: Path) -> None:
    folder.mkdir(parents=True)
    file_of(folder).write_bytes(b"no database" * 100)
    script = """
import resource, sys
from pathlib import Path
import numpy as np
from vn_magic.cache import CachedVector, EmbeddingCache
from vn_magic.keys import CacheKey

resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
cache = EmbeddingCache(Path(sys.argv[1]))
key = CacheKey(b"family", 3)
cache.keep([CachedVector(key, np.ones(3, np.float32), "source")])
hits = []
cache.look_up([key], lambda at, cached: hits.append(cached), prefixes=False)
print(len(hits), cache.info().path, len(cache.notices))
"""
    assert output_of(script, str(folder)) == "1 None 2\n"


def test_a_file_that_stays_locked_is_left_to_its_owner(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache_module, "_BUSY_SECONDS", 0.05)
    EmbeddingCache(folder).keep([row("theirs")])
    owner = sqlite3.connect(file_of(folder), isolation_level=None)
    owner.execute("BEGIN EXCLUSIVE")
    cache = EmbeddingCache(folder)
    cache.keep([row("mine", seed=1)])
    assert found(cache, key("mine"))[0].vector.tolist() == vector(1).tolist()
    assert "database is locked" in cache.notices[0]
    owner.execute("COMMIT")
    assert list(found(EmbeddingCache(folder), key("theirs"), key("mine"))) == [0]


def test_what_could_not_be_written_is_written_as_soon_as_it_can_be(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache_module, "_BUSY_SECONDS", 0.05)
    cache = EmbeddingCache(folder)
    cache.keep([row("before", seed=1), row("twice", seed=1)])
    owner = sqlite3.connect(file_of(folder), isolation_level=None)
    owner.execute("BEGIN IMMEDIATE")
    cache.keep([row("meanwhile", seed=2), row("twice", seed=2), row("thrice", seed=2)])
    cache.keep([row("thrice", seed=3)])
    keys = [key(text) for text in ("before", "meanwhile", "twice", "thrice")]
    assert sorted(found(cache, *keys)) == [0, 1, 2, 3]  # from the file, from memory, from both
    assert sorted(found(EmbeddingCache(folder), *keys)) == [0, 2]
    owner.execute("COMMIT")
    cache.keep([row("after", seed=4), row("meanwhile", seed=5)])
    hits = found(EmbeddingCache(folder), *keys, key("after"))
    assert [hits[at].vector.tolist() for at in range(5)] == [vector(seed).tolist() for seed in (1, 5, 2, 3, 4)]
    assert len(cache.notices) == 1


def test_rows_in_memory_are_not_written_again_for_every_row_that_follows(tmp_path: Path) -> None:
    cache = EmbeddingCache(_below_a_file(tmp_path))
    for batch in range(20):
        cache.keep(row(f"{batch}/{number}") for number in range(10))
    assert cache._memory is not None
    assert cache._memory.total_changes == cache.info().rows == 200


def test_clear_does_not_claim_to_have_forgotten_what_it_could_not(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache_module, "_BUSY_SECONDS", 0.05)
    cache = EmbeddingCache(folder)
    cache.keep([row()])
    reader = sqlite3.connect(file_of(folder), isolation_level=None)
    reader.execute("BEGIN IMMEDIATE")
    assert cache.clear() == 0
    assert len(cache.notices) == 1
    reader.execute("COMMIT")
    assert list(found(EmbeddingCache(folder), key())) == [0]


# Versions of the schema


@pytest.mark.parametrize("journal_mode", ["DELETE", "WAL"])
def test_a_file_of_a_newer_version_is_refused_kindly_and_left_untouched(folder: Path, journal_mode: str) -> None:
    folder.mkdir(parents=True)
    db = sqlite3.connect(file_of(folder))
    db.execute(f"PRAGMA journal_mode = {journal_mode}")
    db.execute("CREATE TABLE embeddings (of_another_kind)")
    db.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    db.close()
    before = file_of(folder).read_bytes()

    cache = EmbeddingCache(folder)
    cache.keep([row(seed=5)])
    assert found(cache, key())[0].vector.tolist() == vector(5).tolist()
    (notice,) = cache.notices
    assert f"newer vn_magic, schema {len(MIGRATIONS) + 1}; this one knows {len(MIGRATIONS)}" in notice
    assert file_of(folder).read_bytes() == before
    assert [path.name for path in folder.iterdir()] == [FILE_NAME]


def test_an_older_file_is_brought_up_to_date_and_keeps_its_rows(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = EmbeddingCache(folder)
    old.keep([row(seed=1)])
    old.close()
    newer = (*MIGRATIONS, "CREATE TABLE notes (text TEXT); CREATE INDEX notes_by_text ON notes (text);")
    monkeypatch.setattr(cache_module, "MIGRATIONS", newer)
    cache = EmbeddingCache(folder)
    assert found(cache, key())[0].vector.tolist() == vector(1).tolist()
    db = sqlite3.connect(file_of(folder))
    assert db.execute("PRAGMA user_version").fetchone()[0] == len(newer)
    assert db.execute("SELECT count(*) FROM notes").fetchone()[0] == 0


def test_a_migration_that_fails_leaves_the_file_as_it_was(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    EmbeddingCache(folder).keep([row(seed=1)])
    broken = (*MIGRATIONS, "CREATE TABLE half_done (text TEXT); ALTER TABLE nobody RENAME TO somebody;")
    with monkeypatch.context() as patched:
        patched.setattr(cache_module, "MIGRATIONS", broken)
        cache = EmbeddingCache(folder)
        with pytest.raises(sqlite3.OperationalError):  # memory takes the same migration; it is a fault of ours
            cache.keep([row()])
    db = sqlite3.connect(file_of(folder))
    assert db.execute("PRAGMA user_version").fetchone()[0] == len(MIGRATIONS)
    assert db.execute("SELECT name FROM sqlite_master WHERE name = 'half_done'").fetchall() == []
    assert found(EmbeddingCache(folder), key())[0].vector.tolist() == vector(1).tolist()


# The journal


@pytest.mark.parametrize(
    ("sqlite_version", "mode"),
    [
        ((3, 52, 0), "WAL"),
        ((4, 0, 0), "WAL"),
        ((3, 51, 3), "WAL"),
        ((3, 51, 2), "TRUNCATE"),
        ((3, 51, 0), "TRUNCATE"),
        ((3, 50, 7), "WAL"),
        ((3, 50, 6), "TRUNCATE"),
        ((3, 49, 9), "TRUNCATE"),
        ((3, 45, 6), "TRUNCATE"),
        ((3, 44, 6), "WAL"),
        ((3, 44, 5), "TRUNCATE"),
        ((3, 40, 1), "TRUNCATE"),
    ],
)
def test_the_write_ahead_log_is_used_only_where_its_race_is_mended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sqlite_version: tuple[int, ...], mode: str
) -> None:
    _mount(tmp_path, monkeypatch, "/", "ext4")
    assert journal_mode_for(tmp_path / FILE_NAME, sqlite_version) == mode


@pytest.mark.parametrize(
    ("file_system", "mode"),
    [
        ("ext4", "WAL"),
        ("btrfs", "WAL"),
        ("overlay", "WAL"),
        ("nfs4", "TRUNCATE"),
        ("cifs", "TRUNCATE"),
        ("fuse.sshfs", "TRUNCATE"),
        ("9p", "TRUNCATE"),
        ("not-known-yet", "TRUNCATE"),
    ],
)
@pytest.mark.parametrize("name", ["home", "my home", "Zuhause \u00fc"])
def test_the_write_ahead_log_is_used_on_local_disks_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file_system: str, mode: str, name: str
) -> None:
    home = tmp_path / name
    _mount(tmp_path, monkeypatch, str(home), file_system, beside="ext4" if mode == "TRUNCATE" else "nfs4")
    assert journal_mode_for(home / "cache" / FILE_NAME, (3, 52, 0)) == mode


def _mount(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: str, file_system: str, beside: str = "nfs4") -> None:
    """Have a table of mounts in the kernel's own format."""
    written = at.replace("\\", "\\134").replace(" ", "\\040")
    root = f"/dev/root / {beside} rw,relatime 0 0"
    lines = [
        root,
        f"server:/export {written} {file_system} rw,relatime 0 0",
        f"server:/export {written}-too {beside} rw,relatime 0 0",
        f"server:/export {written}/cache-too {beside} rw,relatime 0 0",
        *([root] if at != "/" else []),
    ]
    table = tmp_path / "mounts"
    table.write_text("\n".join(lines) + "\n", encoding="utf-8")
    monkeypatch.setattr("vn_magic.journal._MOUNTS", table)


def test_without_a_table_of_mounts_no_disk_counts_as_local(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vn_magic.journal._MOUNTS", tmp_path / "none")
    assert journal_mode_for(tmp_path / FILE_NAME, (3, 52, 0)) == "TRUNCATE"


def test_the_file_has_the_journal_mode_that_was_chosen(folder: Path) -> None:
    cache = EmbeddingCache(folder)
    cache.keep([row()])
    assert cache.info().journal_mode.upper() == journal_mode_for(file_of(folder), sqlite3.sqlite_version_info)


@pytest.mark.parametrize(("held", "chosen"), [("WAL", "TRUNCATE"), ("TRUNCATE", "WAL")])
def test_a_file_that_another_kernel_holds_in_another_mode_is_shared_with_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch, held: str, chosen: str
) -> None:
    EmbeddingCache(folder).keep([row("theirs", seed=1)])
    other = sqlite3.connect(file_of(folder), isolation_level=None)
    other.execute(f"PRAGMA journal_mode = {held}")
    assert other.execute("SELECT count(*) FROM embeddings").fetchone()[0] == 1  # it has the file open from now on
    monkeypatch.setattr(cache_module, "journal_mode_for", lambda _path, _version: chosen)
    cache = EmbeddingCache(folder)
    cache.keep([row("mine", seed=2)])
    assert sorted(found(cache, key("theirs"), key("mine"))) == [0, 1]
    assert other.execute("SELECT count(*) FROM embeddings").fetchone()[0] == 2
    assert cache.notices == []


# Several kernels

SHARED_WRITER = """
import sys, time
from pathlib import Path
import numpy as np
from vn_magic.cache import CachedVector, EmbeddingCache
from vn_magic.keys import CacheKey

folder, mine, writers, rows = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])

def row(writer, number):
    values = np.random.default_rng([writer, number]).standard_normal(256).astype(np.float32)
    return CachedVector(CacheKey(f"{writer}/{number}".encode(), 256), values, f"writer {writer}")

print("ready", flush=True)
sys.stdin.readline()
cache = EmbeddingCache(folder)
for start in range(0, rows, 8):
    cache.keep([row(mine, number) for number in range(start, start + 8)])
    cache.look_up([row(writer, start).key for writer in range(writers)], lambda at, cached: None, prefixes=True)

everything = [row(writer, number) for writer in range(writers) for number in range(rows)]
missing = set(range(len(everything)))

def check(at, cached):
    assert cached.vector.tobytes() == everything[at].vector.tobytes() and cached.source == everything[at].source
    missing.discard(at)

until = time.monotonic() + 90
while missing and time.monotonic() < until:
    cache.look_up([row.key for row in everything], check, prefixes=False)
print(len(missing), cache.notices)
"""


def test_several_processes_write_and_read_one_file_at_once(folder: Path) -> None:
    writers, rows = 3, 200
    processes = [python(SHARED_WRITER, str(folder), str(mine), str(writers), str(rows)) for mine in range(writers)]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n", process.communicate()[1]
    # All at once: each finds no file, and makes it.
    outputs = []
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in processes:
        out, err = process.communicate(timeout=120)
        outputs.append((process.returncode, out, err))
    assert outputs == [(0, "0 []\n", "")] * writers
    assert EmbeddingCache(folder).info().rows == writers * rows


# Housekeeping


def test_info_makes_neither_file_nor_folder(folder: Path) -> None:
    info = EmbeddingCache(folder).info()
    assert (info.path, info.rows, info.size) == (file_of(folder), 0, 0)
    assert not folder.exists()


def test_info_tells_rows_and_size_of_the_file(folder: Path) -> None:
    cache = EmbeddingCache(folder)
    cache.keep(row(str(number), 768) for number in range(50))
    info = EmbeddingCache(folder).info()
    assert (info.path, info.rows, info.size) == (file_of(folder), 50, file_of(folder).stat().st_size)
    assert info.size > 50 * 768 * 4


def test_clear_forgets_everything_gives_the_space_back_and_says_how_many(folder: Path) -> None:
    cache = EmbeddingCache(folder)
    cache.keep(row(str(number), 768) for number in range(50))
    assert cache.clear() == 50
    assert found(cache, key("1", 768)) == {}
    assert cache.info().rows == 0
    cache.close()
    assert file_of(folder).stat().st_size < 50 * 768 * 4


def test_clear_forgets_what_is_in_memory_too(tmp_path: Path) -> None:
    cache = EmbeddingCache(_below_a_file(tmp_path))
    cache.keep([row("a"), row("b")])
    assert cache.clear() == 2
    assert found(cache, key("a")) == {}
    assert cache.clear() == 0


def test_clear_of_a_cache_that_was_never_used_makes_no_file(folder: Path) -> None:
    assert EmbeddingCache(folder).clear() == 0
    assert not folder.exists()


def test_a_new_folder_is_for_this_user_alone(folder: Path) -> None:
    EmbeddingCache(folder).keep([row()])
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_a_folder_that_is_there_keeps_its_mode(folder: Path) -> None:
    folder.mkdir(parents=True)
    folder.chmod(0o755)
    EmbeddingCache(folder).keep([row()])
    assert stat.S_IMODE(folder.stat().st_mode) == 0o755


def test_the_folder_is_the_named_one_else_the_platform_s(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder({"VN_MAGIC_CACHE": " /some/where "}) == Path("/some/where")
    assert cache_folder({"VN_MAGIC_CACHE": "~/cache"}) == tmp_path / "cache"
    assert cache_folder({"VN_MAGIC_CACHE": " "}) == cache_folder({})
    assert cache_folder({}).name == "vn_magic"
