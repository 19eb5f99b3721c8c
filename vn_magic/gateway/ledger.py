"""The starts that count against a rate, in a file that all kernels of one user on one machine share."""

from __future__ import annotations

import os
import sqlite3
import stat
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import TypeVar

from vn_magic.forks import ForkGuard

T = TypeVar("T")

_SCHEMA = (
    "CREATE TABLE IF NOT EXISTS starts (entry INTEGER PRIMARY KEY, origin TEXT, texts INTEGER, begun REAL, until REAL)",
    "CREATE INDEX IF NOT EXISTS starts_by_end ON starts (origin, until)",
)


def ledger_path() -> Path:
    """Return where this user's kernels on this machine meet: a folder of the machine, not of a network home."""
    user = f"-{os.getuid()}" if hasattr(os, "getuid") else ""  # Windows' temporary folder is the user's own
    return Path(tempfile.gettempdir()) / f"vn-magic{user}" / "rates.sqlite3"


class StartLedger:
    """The texts in requests to one origin that are under way, or ended less than a window ago.

    Times are of `time.monotonic`, which all processes of a machine share. Used on one loop; nothing is opened before
    the first call. What cannot be shared is counted for this process alone, and `notices` says so.

    Parameters
    ----------
    path
        The shared file; None for a ledger of this process alone.
    origin
        Whose rate it is. Tokens are not told apart: no trace of one may reach a file.
    """

    def __init__(self, path: Path | None, origin: str) -> None:
        self.notices: list[str] = []
        self._path = path
        self._origin = origin
        # The starts of this process. They are in the file, too, as long as there is one.
        self._own: dict[int, _Start] = {}
        self._entries = count()
        self._file: sqlite3.Connection | None = None
        self._inode = 0
        self._guard = ForkGuard(self.close)

    def take(self, until: float, limit: int, texts: int = 1) -> int | None:
        """Enter a start where at most ``limit`` texts count with it; return its entry, None where there is no room."""
        now = time.monotonic()
        self._own = {entry: start for entry, start in self._own.items() if start.until > now}
        row = self._in_file(lambda file: self._take_row(file, until, limit, texts))
        if self._path is not None:
            return None if row is None else self._enter(until, texts, row)
        own = sum(start.texts for start in self._own.values())
        return self._enter(until, texts) if own + texts <= limit else None

    def add(self, starts: Sequence[tuple[float, int]]) -> list[int]:
        """Enter starts, ``(until, texts)``, from before there was a limit; return entries, none when it has to wait."""
        now = time.monotonic()
        rows = self._in_file(lambda file: [self._insert(file, now, until, texts) for until, texts in starts])
        if self._path is not None:
            return [self._enter(until, texts, row) for (until, texts), row in zip(starts, rows or [], strict=False)]
        return [self._enter(until, texts) for until, texts in starts]

    def end(self, entry: int, until: float) -> bool:
        """Note that a request has ended and counts until then; False where another kernel is writing just now."""
        start = self._own.get(entry)
        if start is None:
            return True
        start.until = until
        update = "UPDATE starts SET until = ? WHERE entry = ?"
        ended = self._in_file(lambda file: file.execute(update, (until, start.row)))
        return ended is not None or self._path is None

    def close(self) -> None:
        """Close the file; the next call opens it again."""
        with self._guard:
            if self._file is not None:
                self._file.close()
                self._file = None

    def _enter(self, until: float, texts: int, row: int = 0) -> int:
        entry = next(self._entries)
        self._own[entry] = _Start(until, texts, row)
        return entry

    def _take_row(self, file: sqlite3.Connection, until: float, limit: int, texts: int) -> int | None:
        now = time.monotonic()  # in the transaction: others have written before it began
        file.execute("DELETE FROM starts WHERE origin = ? AND until <= ?", (self._origin, now))
        # What began after now was written before this machine was started again.
        counted = "SELECT total(texts) FROM starts WHERE origin = ? AND until > ? AND begun <= ?"
        (under_way,) = file.execute(counted, (self._origin, now, now)).fetchone()
        return self._insert(file, now, until, texts) if under_way + texts <= limit else None

    def _insert(self, file: sqlite3.Connection, now: float, until: float, texts: int) -> int:
        insert = "INSERT INTO starts (origin, texts, begun, until) VALUES (?, ?, ?, ?)"
        return file.execute(insert, (self._origin, texts, now, until)).lastrowid or 0

    def _in_file(self, work: Callable[[sqlite3.Connection], T]) -> T | None:
        """Do the work in one transaction; None where another kernel is writing just now, or there is no file."""
        if self._path is None:
            return None
        try:
            with self._guard:
                return self._in_transaction(self._path, work)
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
                return None
            reason = str(error)
        except (sqlite3.Error, OSError) as error:
            reason = str(error)
        self.close()
        self.notices.append(
            f"Kernels on this machine do not share the rate limit now: {self._path} cannot be used ({reason}). "
            "Within this kernel it holds."
        )
        self._path = None
        return None

    def _in_transaction(self, path: Path, work: Callable[[sqlite3.Connection], T]) -> T:
        file = self._opened(path)
        file.execute("BEGIN IMMEDIATE")
        try:
            result = work(file)
            file.commit()
        except BaseException:
            with suppress(sqlite3.Error):
                file.rollback()
            raise
        return result

    def _opened(self, path: Path) -> sqlite3.Connection:
        if self._file is not None and _inode_of(path) == self._inode:
            return self._file
        self.close()  # what clears temporary folders has taken the file from under it, perhaps
        _check_private(path.parent)
        # Hardly any waiting for other kernels in here: this is a loop's thread.
        file = sqlite3.connect(path, timeout=0.005, isolation_level=None, check_same_thread=False)
        try:
            # A killed process cannot harm the file so; after a power cut it is of no use anyway.
            file.execute("PRAGMA synchronous = OFF")
            for statement in _SCHEMA:
                file.execute(statement)
        except BaseException:
            file.close()
            raise
        self._file, self._inode = file, _inode_of(path)
        return file


@dataclass(slots=True, eq=False)
class _Start:
    """A start of this process: until when its texts count, and its row in the file."""

    until: float
    texts: int
    row: int


def _inode_of(path: Path) -> int:
    try:
        return path.stat().st_ino
    except OSError:
        return -1


def _check_private(folder: Path) -> None:
    """Make the folder for this user alone; refuse one that somebody else has put in its place."""
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if hasattr(os, "getuid") and (found.st_uid != os.getuid() or not stat.S_ISDIR(found.st_mode)):
        raise PermissionError(f"{folder} belongs to another user")
