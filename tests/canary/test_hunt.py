"""The hunt can find: a token that is planted in each of the places that the other tests search is found there."""

from __future__ import annotations

import base64
import os
import pickle
import sqlite3
import subprocess
import sys
import zipfile
from contextlib import closing
from pathlib import Path

import pytest
from support.hunt import CANARY, MASK, Hunt

from vn_magic.credentials import Token

TEXTS = {
    "alone": CANARY,
    "in a header": f"{{'Authorization': 'Bearer {CANARY}'}}",
    "all but its end": CANARY[:-2],
    "all but its beginning": CANARY[12:],
    "as a shortened repr": f"'{CANARY[-9:]}...'",
    "backwards": CANARY[::-1],
}
BYTES = {
    "base64": base64.b64encode(f"user:{CANARY}".encode()),
    "base64, one further": base64.b64encode(f"user1:{CANARY}".encode()),
    "base64, two further": base64.b64encode(f"user12:{CANARY}".encode()),
    "hexadecimal": CANARY.encode().hex().encode(),
    "UTF-16": CANARY.encode("utf-16"),
    "a pickle": pickle.dumps({"token": CANARY}),
}


@pytest.mark.parametrize("place", [*TEXTS.values(), *BYTES.values()], ids=[*TEXTS, *BYTES])
def test_a_token_is_found_in_a_text(place: str | bytes) -> None:
    assert Hunt().finds(place)


@pytest.mark.parametrize("place", ["", MASK, repr(Token(CANARY)), "sk-canary-", "sk-canary-0000000000"])
def test_a_mask_or_another_token_is_no_find(place: str) -> None:
    assert not Hunt().finds(place)


def test_a_token_is_found_in_files_their_names_archives_and_databases(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "log.txt").write_text(f"...{CANARY}...")
    (tmp_path / f"{CANARY}.txt").touch()
    (tmp_path / "innocent.txt").write_text(MASK)
    with zipfile.ZipFile(tmp_path / "frame.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("text.npy", f"{'x' * 1000}{CANARY}")
    with closing(sqlite3.connect(tmp_path / "history.sqlite")) as database:
        database.execute("PRAGMA page_size = 512")
        database.execute("CREATE TABLE history (source TEXT)")
        # Whatever the page, one of these lies across its end.
        rows = [(f"{'x' * number}{CANARY}",) for number in range(440, 500)]
        database.executemany("INSERT INTO history VALUES (?)", rows)
        database.commit()
    assert Hunt().files(tmp_path) == ["deep/log.txt", "frame.npz", "history.sqlite", f"{CANARY}.txt"]


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_token_is_found_in_the_arguments_and_the_environment_of_a_process() -> None:
    command = [sys.executable, "-c", "input()", CANARY]
    with subprocess.Popen(command, stdin=subprocess.PIPE, env={**os.environ, "TOKEN": CANARY}) as process:
        places = Hunt().processes(process.pid)
        process.communicate(b"\n")
    assert places == [f"/proc/{process.pid}/cmdline", f"/proc/{process.pid}/environ"]


class Slotted:
    """Holds a value where ``vars`` does not look."""

    __slots__ = ("_value",)

    def __init__(self, value: object) -> None:
        self._value = value


@pytest.mark.parametrize(
    ("root", "path"),
    [
        ([{"a": (CANARY,)}], "it[0]['a'][0]"),
        (Slotted([Slotted(CANARY)]), "it._value[0]._value"),
        ({CANARY: 1}, "it key"),
    ],
    ids=["containers", "slots", "keys"],
)
def test_a_token_is_found_deep_inside_a_value(root: object, path: str) -> None:
    assert path in Hunt().attributes(root)
