"""A hunt for a planted token: in texts, files, processes, and in all that an inspector of variables can open."""

from __future__ import annotations

import base64
import sqlite3
import zipfile
from collections.abc import Iterator
from contextlib import closing, suppress
from io import BytesIO
from pathlib import Path
from typing import Any

from support.inspection import shown
from support.waiting import until

CANARY = "sk-canary-5e1f0a7b2c"
MASK = "sk-…7b2c"
# A mask shows four characters. Whatever shows so many in a row shows more than that.
RUN = 8


class Hunt:
    """Finds a token, or a part of it that no mask would show, in whatever it was written into.

    Parameters
    ----------
    token
        Its last part, after the last dash, is what is looked for.
    """

    def __init__(self, token: str = CANARY) -> None:
        secret = token.rpartition("-")[2].encode()
        runs = [secret[start : start + RUN] for start in range(len(secret) - RUN + 1)]
        self._needles = {form for run in runs for form in _forms(run)}

    def finds(self, place: str | bytes) -> bool:
        """Whether the token is in a text, plainly or in UTF-16, base64, hexadecimal, or backwards."""
        data = place.encode(errors="surrogatepass") if isinstance(place, str) else place
        return any(needle in data for needle in self._needles)

    def files(self, folder: Path) -> list[str]:
        """Return the files below a folder that hold the token, archives and databases opened."""
        found = []
        for path in _files(folder):
            with suppress(FileNotFoundError):  # whoever lives there takes files away meanwhile
                if any(map(self.finds, _contents(path))):
                    found.append(str(path.relative_to(folder)))
        return found

    def processes(self, *numbers: int) -> list[str]:
        """Return what ``ps`` shows of processes, and of their environment, where the token is in it."""
        for number in numbers:
            _wait_for_arguments(number)
        places = [f"/proc/{number}/{name}" for number in numbers for name in ("cmdline", "environ", "comm")]
        return [place for place in places if self.finds(Path(place).read_bytes())]

    def attributes(self, root: object) -> list[str]:
        """Return the paths from an object to whatever shows the token; see `shown`."""
        return [path for path, text in shown(root) if self.finds(text)]


def _forms(run: bytes) -> Iterator[bytes]:
    yield run
    yield run[::-1]
    yield run.hex().encode()
    yield run.decode().encode("utf-16-le")
    for before in range(3):  # what base64 makes of it depends on where it begins; the ends depend on the neighbours
        encoded = base64.b64encode(bytes(before) + run).rstrip(b"=")
        yield encoded[(0, 2, 3)[before] : -1]


def _wait_for_arguments(number: int) -> None:
    """Wait until a process that was just started shows its arguments: for a moment there are none."""
    until(Path(f"/proc/{number}/cmdline").read_bytes, f"a command line of process {number}")


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.rglob("*")) if path.is_file())


def _contents(path: Path) -> Iterator[bytes]:
    data = path.read_bytes()
    yield str(path).encode()
    yield data
    if data.startswith(b"SQLite format 3"):
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=60)) as database:
            database.text_factory = bytes
            yield from _texts(database)
    elif zipfile.is_zipfile(BytesIO(data)):
        with zipfile.ZipFile(BytesIO(data)) as archive:
            yield from (archive.read(name) for name in archive.namelist())


def _texts(database: sqlite3.Connection) -> Iterator[bytes]:
    """Yield every value of every table. In the file, a long one lies on pages far apart."""
    tables = [row[0].decode() for row in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    for table in tables:
        for row in database.execute(f'SELECT * FROM "{table}"'):
            values: tuple[Any, ...] = row
            yield from (value if isinstance(value, bytes) else str(value).encode() for value in values)
