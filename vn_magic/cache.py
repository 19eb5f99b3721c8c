"""EmbeddingCache: finished rows on disk, so that none is lost or paid for twice. The one file with SQLite."""

from __future__ import annotations

import os
import sqlite3
import time
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from platformdirs import user_cache_path

from vn_magic.forks import ForkGuard
from vn_magic.journal import journal_mode_for
from vn_magic.keys import CacheKey

T = TypeVar("T")

FILE_NAME = "embeddings.sqlite3"
FOLDER_VARIABLE = "VN_MAGIC_CACHE"
# Columns by name: a damaged schema with another name must not take rows that no look-up finds again.
_INSERT = """
    INSERT OR REPLACE INTO embeddings (digest, family, dimension, source, vector, checksum, created)
    VALUES (?, ?, ?, ?, ?, ?, ?)
"""
_KEYS_A_QUERY = 400
_BUSY_SECONDS = 10.0
_BUSY_AGAIN_SECONDS = 0.1

# Numbered by position and never edited: a change of the schema is a new entry.
MIGRATIONS = (
    """
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
    """,
)


@dataclass(frozen=True, slots=True, eq=False)
class CachedVector:
    """A vector as it was received: float32 ``(length,)``, neither cut nor normalised."""

    key: CacheKey
    vector: NDArray[np.float32]
    source: str


@dataclass(frozen=True, slots=True)
class CacheInfo:
    """Where the cache is and how much it holds. ``path`` is None while it lives in memory only."""

    path: Path | None
    rows: int
    size: int
    journal_mode: str
    sqlite_version: str = sqlite3.sqlite_version


Record = tuple[bytes, bytes, int, str, bytes, int, float]
Deliver = Callable[[int, CachedVector], None]


def cache_folder(environ: Mapping[str, str]) -> Path:
    """Return the folder of the cache: ``$VN_MAGIC_CACHE``, else the platform's cache folder."""
    named = environ.get(FOLDER_VARIABLE, "").strip()
    return Path(named).expanduser() if named else user_cache_path("vn_magic")


class EmbeddingCache:
    """Vectors by key, in a file shared by all kernels that use the same folder.

    The file is opened by the first call that needs it. What cannot be written to it is kept in memory beside it, and
    `notices` says so once; a damaged file is set aside. One thread at a time: `CacheThread` owns it in a session.

    Parameters
    ----------
    folder
        Holds the file; made, for this user alone, when it is first needed.
    """

    def __init__(self, folder: Path) -> None:
        self.notices: list[str] = []
        self._path = folder / FILE_NAME
        self._file: sqlite3.Connection | None = None
        self._opened: os.stat_result | None = None
        self._busy_seconds = _BUSY_SECONDS
        self._memory: sqlite3.Connection | None = None
        self._guard = ForkGuard(self.close)

    def look_up(self, keys: Sequence[CacheKey], deliver: Deliver, *, prefixes: bool) -> None:
        """Hand every stored vector to ``deliver(position, cached)``, at most once a position.

        Parameters
        ----------
        keys
            What is wanted, all of one dimension; ``position`` counts in this sequence.
        deliver
            Called for hits only. A row whose checksum is wrong is no hit.
        prefixes
            Whether a longer vector of the same family may serve; the shortest that fits is handed over.
        """
        for start in range(0, len(keys), _KEYS_A_QUERY):
            wanted = {key.family: position for position, key in enumerate(keys[start : start + _KEYS_A_QUERY], start)}
            # A look-up removes what it has handed over, so memory is asked only for what the file did not have.
            find = partial(_look_up, wanted=wanted, dimension=keys[0].dimension, deliver=deliver, prefixes=prefixes)
            self._in_file(find, otherwise=None)
            if self._memory is not None and wanted:
                find(self._memory)

    def keep(self, rows: Iterable[CachedVector]) -> None:
        """Store vectors as received, in one transaction: when this returns, they are finished."""
        now = time.time()
        records = [_record(row, now) for row in rows]
        # What could not be written before may be written now, and goes first: it is older.
        if self._in_file(partial(_write, records=records, before=self._memory), otherwise=False):
            self._memory = None
            return
        if self._memory is None:
            self._memory = _connect(":memory:")
            _migrate(self._memory)
        _write(self._memory, records=records)

    def info(self) -> CacheInfo:
        """Return where the cache is and how much it holds. Opens no file that is not there yet."""
        if self._file is None and self._memory is None and not os.path.exists(self._path):  # noqa: PTH110 - Path.exists raises for some paths
            return CacheInfo(self._path, rows=0, size=0, journal_mode="not opened yet")

        known = self._in_file(_counts, otherwise=None)
        if known is None:
            rows = _counts(self._memory)[0] if self._memory is not None else 0
            return CacheInfo(None, rows, size=0, journal_mode="memory")
        return CacheInfo(self._path, *known)

    def clear(self) -> int:
        """Forget everything; return the number of rows that were there."""
        in_memory = _counts(self._memory)[0] if self._memory is not None else 0
        self._memory = None
        return in_memory + (self._in_file(_delete_all, otherwise=0) if self.info().rows else 0)

    def close(self) -> None:
        """Let go of the file. The next call opens it again; what is kept in memory stays."""
        with self._guard:
            if self._file is not None:
                with suppress(sqlite3.Error):
                    self._file.close()
            self._file = None

    def _in_file(self, work: Callable[[sqlite3.Connection], T], otherwise: T) -> T:
        """Do work on the file and return its result; where the file is of no use, say so once and return another."""
        with self._guard:
            return self._in_guarded_file(work, otherwise)

    def _in_guarded_file(self, work: Callable[[sqlite3.Connection], T], otherwise: T) -> T:
        try:
            try:
                done = work(self._open())
            except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
                if not _is_damage(error):
                    raise
                self._set_aside(str(error))
                done = work(self._open())
        except (sqlite3.Error, OSError) as error:  # read-only, full, locked for too long, of a newer version
            self._wait_for_locks(_BUSY_AGAIN_SECONDS)  # a lasting lock is not waited for twice
            reason = getattr(error, "strerror", None) or error
            self._say_once(
                f"The cache file cannot be used just now ({reason}); new vectors are kept in memory only until it can, "
                f"and are lost with the kernel. Next: see `%vn cache path`, or set ${FOLDER_VARIABLE} to a folder that "
                "can be written."
            )
            return otherwise
        self._wait_for_locks(_BUSY_SECONDS)
        return done

    def _wait_for_locks(self, seconds: float) -> None:
        if self._file is not None and seconds != self._busy_seconds:
            self._busy_seconds = seconds
            with suppress(sqlite3.Error):
                self._file.execute(f"PRAGMA busy_timeout = {round(seconds * 1000)}")

    def _open(self) -> sqlite3.Connection:
        if self._file is not None and not self._is_in_place():
            self.close()
        if self._file is None:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._opened = self._path.stat() if self._path.exists() else None
            self._busy_seconds = _BUSY_SECONDS
            db = _connect(str(self._path))
            try:
                _migrate(db)  # first of all: a file of a newer version is left as it is
                mode = journal_mode_for(self._path, sqlite3.sqlite_version_info)
                _set_journal_mode(db, mode)
            except BaseException:
                db.close()
                raise
            self._file, self._opened = db, self._path.stat()
        return self._file

    def _is_in_place(self) -> bool:
        """Whether the path still leads to the file that is open: people delete caches, and kernels set them aside."""
        try:
            return self._opened is not None and os.path.samestat(self._opened, self._path.stat())
        except OSError:
            return False

    def _set_aside(self, reason: str) -> None:
        """Move a damaged file out of the way, unless another kernel has done so already."""
        self.close()
        if not self._is_in_place():
            return
        aside = self._path.with_suffix(f".damaged-{time.time_ns()}")
        self._path.rename(aside)
        for left_over in ("-wal", "-shm", "-journal"):
            self._path.with_name(FILE_NAME + left_over).unlink(missing_ok=True)
        self._say_once(
            f"The cache file was damaged ({reason}); it was set aside as {aside.name} and a new one begun. "
            "Texts embedded before are sent again."
        )

    def _say_once(self, notice: str) -> None:
        if notice not in self.notices:
            self.notices.append(notice)


def _connect(path: str) -> sqlite3.Connection:
    # One thread at a time is the owner's promise; info() and close() may come from another after a join.
    db = sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    db.text_factory = _text
    return db


def _text(data: bytes) -> str:
    """Read a text of a row that may be damaged: what is no text fails the row's checksum, not the whole look-up."""
    return data.decode("utf-8", "replace")


def _set_journal_mode(db: sqlite3.Connection, mode: str) -> None:
    # Another kernel, with another SQLite, may hold the file open in its own mode: then that one is used.
    with suppress(sqlite3.OperationalError):
        mode = db.execute(f"PRAGMA journal_mode = {mode}").fetchone()[0]
    # sqlite.org/pragma.html: at NORMAL a power cut cannot harm a WAL database, but one with a rollback journal.
    db.execute(f"PRAGMA synchronous = {'NORMAL' if mode.upper() == 'WAL' else 'FULL'}")


def _migrate(db: sqlite3.Connection) -> None:
    version: int = db.execute("PRAGMA user_version").fetchone()[0]
    if version > len(MIGRATIONS):
        raise sqlite3.OperationalError(
            f"it was made by a newer vn_magic, schema {version}; this one knows {len(MIGRATIONS)}"
        )
    if version == len(MIGRATIONS):
        return
    db.execute("BEGIN IMMEDIATE")  # another kernel may be about to do the same
    try:
        version = db.execute("PRAGMA user_version").fetchone()[0]
        for number, migration in enumerate(MIGRATIONS[version:], start=version + 1):
            for statement in filter(None, (part.strip() for part in migration.split(";"))):
                db.execute(statement)
            db.execute(f"PRAGMA user_version = {number}")
        db.execute("COMMIT")
    except BaseException:
        db.execute("ROLLBACK")
        raise


def _is_damage(error: Exception) -> bool:
    if isinstance(error, UnicodeDecodeError):  # SQLite quotes a schema that it cannot read
        return True
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def _counts(db: sqlite3.Connection) -> tuple[int, int, str]:
    rows: int = db.execute("SELECT count(*) FROM embeddings").fetchone()[0]
    pages: int = db.execute("PRAGMA page_count").fetchone()[0]
    page_size: int = db.execute("PRAGMA page_size").fetchone()[0]
    mode: str = db.execute("PRAGMA journal_mode").fetchone()[0]
    return rows, pages * page_size, mode


def _write(db: sqlite3.Connection, *, records: Sequence[Record], before: sqlite3.Connection | None = None) -> bool:
    with db:
        db.execute("BEGIN IMMEDIATE")
        older: Iterable[Record] = before.execute("SELECT * FROM embeddings") if before is not None else ()
        db.executemany(_INSERT, chain(older, records))
    return True


def _look_up(
    db: sqlite3.Connection, *, wanted: dict[bytes, int], dimension: int, deliver: Deliver, prefixes: bool
) -> None:
    marks = ",".join("?" * len(wanted))
    compare = ">=" if prefixes else "="
    query = (
        "SELECT family, dimension, source, vector, checksum FROM embeddings "  # noqa: S608 - only marks are inserted
        f"WHERE family IN ({marks}) AND dimension {compare} ? ORDER BY dimension"
    )
    for family, length, source, blob, checksum in db.execute(query, (*wanted, dimension)):
        position = wanted.get(family)
        if position is None:  # a shorter row was handed over already
            continue
        key = CacheKey(family, length)
        if not _is_whole(key, source, blob, checksum):
            continue  # a damaged row is a miss: it is sent again and replaced
        del wanted[family]
        deliver(position, CachedVector(key, np.frombuffer(blob, dtype="<f4"), source))


def _record(row: CachedVector, now: float) -> Record:
    blob = np.ascontiguousarray(row.vector, dtype="<f4").tobytes()
    checksum = _checksum(row.key, row.source, blob)
    return (row.key.digest, row.key.family, row.key.dimension, row.source, blob, checksum, now)


def _is_whole(key: CacheKey, source: object, blob: object, checksum: object) -> bool:
    """Whether a row is as it was written; in a damaged one a column may hold a value of any type."""
    if not (isinstance(key.dimension, int) and isinstance(source, str) and isinstance(blob, bytes)):
        return False
    return len(blob) == 4 * key.dimension and _checksum(key, source, blob) == checksum


def _checksum(key: CacheKey, source: str, blob: bytes) -> int:
    """Bind a vector to its key and its maker, so that a blob under the wrong key is noticed too."""
    return zlib.crc32(blob, zlib.crc32(source.encode(), zlib.crc32(key.digest)))


def _delete_all(db: sqlite3.Connection) -> int:
    rows = db.execute("DELETE FROM embeddings").rowcount
    db.execute("VACUUM")
    return rows
