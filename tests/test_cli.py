"""`vn-magic` as a program: its output, its exit status, and where its errors go."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.gateways import Served
from support.hunt import CANARY, MASK, Hunt
from support.packs import pack_file, recording

from vn_magic import Session
from vn_magic.cli import main


def _run(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "vn_magic", *arguments],
        env={**os.environ, **environ},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_cache_tells_counts_and_forgets(offline: Session, tmp_path: Path) -> None:
    offline.embed(["one", "two"])
    offline.close()
    path = tmp_path / "cache" / "embeddings.sqlite3"
    assert _run("cache", "path").stdout == f"{path}\n"
    assert _run("cache").stdout.startswith(f"{path}   2 rows, ")
    assert _run("cache", "clear").stdout == "2 rows forgotten\n"
    assert _run("cache").stdout.startswith(f"{path}   0 rows, ")


def test_doctor_says_by_its_exit_status_whether_all_is_well(gateway: Served, token: str) -> None:
    well = _run("doctor", VN_MAGIC_BASE_URL=gateway.url, VECTORNODE_API_KEY=token)
    assert (well.returncode, well.stderr) == (0, "")
    assert "!!" not in well.stdout
    silent = _run("doctor", VN_MAGIC_BASE_URL="http://127.0.0.1:9")
    assert silent.returncode == 1
    assert "!!  base URL" in silent.stdout


def test_a_bad_environment_is_told_in_short_on_stderr() -> None:
    done = _run("cache", VN_MAGIC_OFFLINE="perhaps")
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("vn-magic: $VN_MAGIC_OFFLINE is 'perhaps'.")


def test_pack_info_shows_the_manifest(tmp_path: Path) -> None:
    path = pack_file(
        tmp_path / "lesson.vnpack",
        recording(["a", "b"], 128),
        recording(["a"], 128, task_type="CLUSTERING", title="薔薇"),
        notices=["a notice"],
    )
    shown = _run("pack", "info", str(path), PYTHONIOENCODING="utf-8")
    assert (shown.returncode, shown.stderr) == (0, "")
    assert shown.stdout.splitlines()[:4] == [
        "lesson.vnpack   3 rows · 2026-05-16 · vn_magic 0.1.0",
        "licence: CC0 · holds texts and vectors: whoever has this file can read the texts",
        "     2 × gemini-embedding-001, SEMANTIC_SIMILARITY, 128 values, as received, from gateway.example",
        "     1 × gemini-embedding-001, CLUSTERING, 128 values, the title '薔薇', as received, from gateway.example",
    ]
    assert shown.stdout.splitlines()[-1] == "a notice"
    narrow = _run("pack", "info", str(path), PYTHONIOENCODING="ascii")
    assert (narrow.returncode, narrow.stderr, "the title '??'" in narrow.stdout) == (0, "", True)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (None, "There is no pack 'lesson.vnpack' there.\nNext: check the path and the folder."),
        (b"<html>", "'lesson.vnpack' is damaged or is no pack: it does not begin as one.\nNext: copy or download"),
    ],
)
def test_a_pack_that_cannot_be_read_is_told_on_stderr(tmp_path: Path, content: bytes | None, why: str) -> None:
    if content is not None:
        (tmp_path / "lesson.vnpack").write_bytes(content)
    told = _run("pack", "info", str(tmp_path / "lesson.vnpack"))
    assert (told.returncode, told.stdout) == (1, "")
    assert told.stderr.startswith(f"vn-magic: {why}")
    assert len(told.stderr.splitlines()) == 2


def test_doctor_is_content_with_a_pack_that_alone_answers_and_names_one_that_cannot(tmp_path: Path) -> None:
    path = pack_file(tmp_path / "lesson.vnpack", recording(["a"], 128))
    well = _run("doctor", VN_MAGIC_PACK=str(path), VN_MAGIC_BASE_URL="http://127.0.0.1:9")
    assert (well.returncode, well.stderr) == (0, "")
    assert "ok  pack: lesson.vnpack, 1 row, it alone answers, from $VN_MAGIC_PACK" in well.stdout
    path.unlink()
    ill = _run("doctor", VN_MAGIC_PACK=str(path), VN_MAGIC_BASE_URL="http://127.0.0.1:9")
    assert (ill.returncode, ill.stderr) == (1, "")
    assert (
        "!!  pack: $VN_MAGIC_PACK: There is no pack 'lesson.vnpack' there.\n     cure: check the path and the folder."
    ) in ill.stdout


@pytest.mark.parametrize("arguments", [(), ("nothing",), ("serve", "--token", "x")])
def test_what_is_not_understood_ends_with_2_and_the_usage(arguments: tuple[str, ...]) -> None:
    done = _run(*arguments)
    assert done.returncode == 2
    assert "usage: vn-magic" in done.stderr


@pytest.mark.parametrize("secret", ["sk-canary-7d1e5b0c93", "AIzaSy5e1f0a7b2c9d", "hush-hush'o'clock"])
@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("serve", "--token", "{}"), "unrecognized arguments: --token …"),
        (("cache", "--token={}"), "unrecognized arguments: --token=…"),
        (("doctor", "{}"), "unrecognized arguments: …"),
        (("{}",), "argument COMMAND: invalid choice: … (choose from"),
        (("cache", "{}"), "argument what: invalid choice: … (choose from"),
        (("serve", "--port", "{}"), "argument --port: invalid int value: …"),
        (("serve", "--drops-dimension={}"), "argument --drops-dimension: ignored explicit argument …"),
        (("serve", "--no-batch={}"), "argument --no-batch: ignored explicit argument …"),
        (("scrub", "--token={}", "x.ipynb"), "unrecognized arguments: --token=…"),
        (("scrub", "--write={}", "x.ipynb"), "argument --write: ignored explicit argument …"),
    ],
)
def test_what_does_not_fit_is_named_by_its_option_and_its_value_is_not_quoted(
    arguments: tuple[str, ...], named: str, secret: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main([argument.format(secret) for argument in arguments])
    told = capsys.readouterr().err
    assert named in told
    assert all(word not in told for word in secret.split())


def _notebook(path: Path, *, source: str = "", shown: str = "") -> Path:
    output = {"output_type": "stream", "name": "stdout", "text": [shown]}
    cell = {"cell_type": "code", "execution_count": 2, "metadata": {}, "outputs": [output], "source": [source]}
    notebook = {"cells": [cell], "metadata": {}, "nbformat": 4, "nbformat_minor": 4}
    path.write_text(json.dumps(notebook, indent=1), encoding="utf-8")
    return path


def test_scrub_prints_a_line_for_each_token_and_says_by_its_exit_status_whether_there_is_one(tmp_path: Path) -> None:
    clean = _notebook(tmp_path / "clean.ipynb", source="1 + 1", shown="2")
    leaky = _notebook(tmp_path / "leaky.ipynb", source=f"key = '{CANARY}'", shown=f"{CANARY}\n")
    script = tmp_path / "script.py"
    script.write_text(f"import os\nkey = '{CANARY}'\n")
    well = _run("scrub", str(clean))
    assert (well.returncode, well.stdout, well.stderr) == (0, "", "")
    before = leaky.read_bytes()
    found = _run("scrub", str(clean), str(leaky), str(script))
    assert (found.returncode, found.stderr) == (1, "")
    assert found.stdout.splitlines() == [
        f"{leaky}: cell 1 (In [2]), output (text): {MASK}; rotate the token, then `vn-magic scrub --write` masks it",
        f"{leaky}: cell 1 (In [2]), source line 1: {MASK}; rotate the token, then edit the cell",
        f"{script}: line 2: {MASK}; rotate the token, then edit the file",
    ]
    assert leaky.read_bytes() == before


def test_scrub_write_masks_what_was_not_typed_and_fails_as_long_as_there_was_something(tmp_path: Path) -> None:
    path = _notebook(tmp_path / "leaky.ipynb", shown=f"{CANARY}\n")
    done = _run("scrub", "--write", str(path))
    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout == f"{path}: cell 1 (In [2]), output (text): {MASK}; masked; rotate the token\n"
    assert not Hunt().finds(path.read_bytes())
    assert _run("scrub", "--write", str(path)).returncode == 0
    path = _notebook(tmp_path / "leaky.ipynb", source=CANARY)
    for _ in range(2):
        left = _run("scrub", "--write", str(path))
        assert (left.returncode, left.stdout.partition("; ")[2]) == (1, "rotate the token, then edit the cell\n")


def test_scrub_looks_for_the_tokens_of_the_environment_whatever_their_shape(tmp_path: Path) -> None:
    path = _notebook(tmp_path / "leaky.ipynb", shown="hush-hush-5e1f0a7b2c?")
    assert _run("scrub", str(path)).returncode == 0
    for variable in ("VECTORNODE_API_KEY", "VECTOR_ENGINE_API_KEY"):
        assert "output (text): …7b2c; " in _run("scrub", str(path), **{variable: "hush-hush-5e1f0a7b2c"}).stdout
    spoiled = _run("scrub", str(path), VECTORNODE_API_KEY="hush hush 5e1f0a7b2c")
    assert (spoiled.returncode, spoiled.stdout) == (1, "")
    assert "$VECTORNODE_API_KEY: The token has blanks" in spoiled.stderr


def test_scrub_goes_on_after_a_file_that_it_cannot_check_and_ends_with_2(tmp_path: Path) -> None:
    broken = tmp_path / "broken.ipynb"
    broken.write_text(CANARY)
    leaky = _notebook(tmp_path / "leaky.ipynb", shown=CANARY)
    done = _run("scrub", str(broken), "hush-hush", CANARY, str(leaky))
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        f"vn-magic: {broken}: it is no notebook of format 4 (JSON in UTF-8), so it was not checked",
        "vn-magic: file 2 of 4: it cannot be read: No such file or directory",
        "vn-magic: file 3 of 4: it cannot be read: No such file or directory",
    ]
    assert done.stdout.startswith(f"{leaky}: cell 1")


def test_scrub_tells_in_its_help_what_it_rewrites_and_how_it_ends() -> None:
    told = " ".join(_run("scrub", "--help").stdout.split())
    assert "Exit status: 0 nothing was found, 1 something was" in told
    assert "What was typed (sources of cells, text files) is never rewritten" in told
    assert "--write mask what was found in outputs, metadata, attachments and widget state" in told


def test_scrub_tells_what_it_found_in_whatever_encoding(tmp_path: Path) -> None:
    leak = tmp_path / "notes.txt"
    leak.write_text("sk-canary-0123456789abcdef", encoding="utf-8")
    found = _run("scrub", str(leak), PYTHONIOENCODING="ascii")
    assert (found.returncode, found.stderr) == (1, "")
    assert "line 1: sk-?cdef" in found.stdout
