"""`vn-magic embed`: what it prints where, how it ends, and what it never repeats."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from support.gateways import Served
from support.tables import column_in, vectors_in, write_table

import vn_magic
from vn_magic.cli import main
from vn_magic.notebook import file_command, file_progress
from vn_magic.notebook.file_command import as_in_a_terminal
from vn_magic.notebook.options import embed_parser
from vn_magic.progress import ProgressEvent
from vn_magic.scale import file_job

NOTICE = "Offline stand-in: these vectors are lexical, not semantic."
OFFLINE = ("--offline", "--dim", "128")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write_table(tmp_path / "in.csv", {"text": ["a", "b", "a"], "n": ["007", "8", "9"]})


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "out.csv"


def embed(source: Path, target: Path, *arguments: str) -> int:
    return main(["embed", str(source), "-o", str(target), *arguments])


def test_a_job_that_goes_well_ends_with_0_and_its_card_on_stderr(
    source: Path, target: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert embed(source, target, *OFFLINE) == 0
    told = capsys.readouterr()
    notice, head, numbers = told.err.splitlines()
    assert told.out == ""
    assert head == "out.csv   3 × 128   offline-lexical · SEMANTIC_SIMILARITY · unit length"
    assert re.fullmatch(
        r"    2 new, 0 from cache · 1 duplicate · ≈2 tokens · 2 requests, 0 retries · \d+\.\d\d s · "
        r"offline stand-in: lexical, not semantic",
        numbers,
    )
    assert notice.startswith(NOTICE)
    assert vn_magic.load(target).attrs["vn_magic"]["embedding"]["source"] == "offline-lexical"


def test_with_q_nothing_is_said_but_errors(
    source: Path, target: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_progress, "_SECONDS_BETWEEN_LINES", 0.0)
    assert embed(source, target, "-q", *OFFLINE, "--no-cache") == 0
    assert capsys.readouterr() == ("", "")
    assert embed(source, target, "-q", *OFFLINE) == 1
    assert capsys.readouterr() == (
        "",
        "vn-magic: There is a file 'out.csv' already.\nNext: choose another name, or replace a file with --force.\n",
    )
    assert embed(source, target, "-q", "--force", *OFFLINE) == 0


def test_every_option_of_the_magic_that_makes_sense_has_its_name_and_its_effect(
    source: Path, target: Path, gateway: Served, token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VN_MAGIC_BASE_URL", gateway.url)
    monkeypatch.setenv("VECTORNODE_API_KEY", token)
    options = (
        "-m",
        "gemini-embedding-001",
        "-d",
        "256",
        "-t",
        "RETRIEVAL_DOCUMENT",
        "--title",
        "T",
        "--raw",
        "-c",
        "n",
    )
    how = ("--sep", ",", "--on-error", "keep", "--concurrency", "2", "--rpm", "100", "--batch-size", "2", "--no-cache")
    assert embed(source, target, *options, *how, "--max-requests", "9", "--max-tokens", "99", "--refresh", "-q") == 0
    [request] = [received for received in gateway.received if received.method == "POST" and "batch" in received.path]
    first = request.json["requests"][0]
    assert (first["taskType"], first["title"], request.texts) == ("RETRIEVAL_DOCUMENT", "T", ["007", "8"])
    assert vectors_in(target).shape == (3, 256)
    provenance = vn_magic.load(target).attrs["vn_magic"]["embedding"]
    assert (provenance["unit_length"], column_in(target, "error")) == (False, [None] * 3)


def test_help_has_examples_and_the_options_of_the_magic(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["embed", "-h"])
    told = capsys.readouterr().out
    own = {"--out", "--split", "--as", "--vars", "--help"}
    shared = {name for name in embed_parser()._option_string_actions if name.startswith("--")} - own
    assert [name for name in shared if f"{name} " not in told and f"{name}\n" not in told] == []
    assert "vn-magic embed reviews.parquet -c review -o vectors.parquet" in told
    assert "Exit status: 0 OUTPUT is complete" in told


@pytest.mark.parametrize("arguments", [(), ("in.csv",), ("-o", "out.csv"), ("in.csv", "-o", "o.csv", "--dims", "3")])
def test_what_is_not_understood_ends_with_2(arguments: Sequence[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["embed", *arguments])
    assert "usage: vn-magic" in capsys.readouterr().err


def test_a_dry_run_says_on_stdout_what_would_be_sent_and_writes_nothing(
    source: Path, target: Path, gateway: Served, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("VN_MAGIC_BASE_URL", gateway.url)
    target.write_text("older")
    assert embed(source, target, "--dry-run", "--max-requests", "1") == 0
    told = capsys.readouterr()
    assert told.err == ""
    assert [line.strip() for line in told.out.splitlines()] == [
        "dry run   3 × 768   gemini-embedding-001; nothing was sent",
        "0 from cache · 1 duplicate · 2 requests would be sent · ≈2 tokens",
        "the job's budget of 1 request would refuse this",
    ]
    monkeypatch.setattr(file_job, "GROUP_ROWS", 2)
    assert embed(source, target, "--dry-run") == 0
    told = capsys.readouterr()
    assert "0 duplicates · 3 requests would be sent · ≈3 tokens" in told.out
    assert "at most: texts that come again much later in the file are counted as new" in told.out
    assert (gateway.received, target.read_text()) == ([], "older")


def test_a_dry_run_counts_what_the_cache_has_and_names_rows_of_the_file(
    tmp_path: Path, target: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(file_job, "GROUP_ROWS", 2)
    source = write_table(tmp_path / "in.csv", {"text": ["a", "b", " ", "c", "long " * 9000]})
    few = write_table(tmp_path / "few.csv", {"text": ["b"]})
    assert embed(few, tmp_path / "few.jsonl", *OFFLINE, "-q") == 0
    assert embed(source, target, *OFFLINE, "--dry-run", "--on-error", "keep") == 0
    told = capsys.readouterr().out
    assert "1 from cache · 0 duplicates · 3 requests would be sent" in told
    assert "1 row cannot be embedded (missing, blank or not text)" in told
    assert "1 row looks longer than the 2,048 tokens that the model reads (row 4)" in told


def test_without_a_token_the_cures_are_those_of_a_terminal(
    source: Path, target: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert embed(source, target) == 1
    assert capsys.readouterr().err.splitlines() == [
        "vn-magic: There is no token for www.vectronode.com.",
        "Next: put a token into $VECTORNODE_API_KEY, or use --offline to try without one (lexical vectors, labelled so).",  # noqa: E501 - as it is told
    ]


def test_no_cure_of_a_notebook_is_told_in_a_terminal() -> None:
    """Of all errors that a job can end with; those of the panel, of packs and of frames are others'."""
    folder = Path(vn_magic.__file__).parent
    said = [folder / name for name in ("exceptions.py", "runtime.py", "embedder.py", "embeddings.py", "cache.py")]
    cures = [
        line
        for path in said
        for line in path.read_text(encoding="utf-8").splitlines()
        if re.match(r'\s*(cure = )?f?"(?!"")', line)
    ]
    assert len([cure for cure in cures if "%vn" in cure or "the cell" in cure]) > 12
    told = [as_in_a_terminal(cure) for cure in cures]
    assert [line for line in told if "%" in line or "the cell" in line] == []


@pytest.mark.parametrize("place", range(4))
def test_a_token_on_the_line_is_refused_and_not_repeated(
    source: Path, target: Path, place: int, capsys: pytest.CaptureFixture[str]
) -> None:
    secret = "sk-canary-7d1e5b0c93"
    arguments = [str(source), str(target), "text", "a title"]
    arguments[place] = secret
    given, output, column, title = arguments
    status = main(["embed", given, "-o", output, "-c", column, "--title", title, "-t", "RETRIEVAL_DOCUMENT", *OFFLINE])
    told = capsys.readouterr()
    assert status == 1
    assert told.err.startswith("vn-magic: That looks like a token, and a line like this is kept in the shell's history")
    assert secret not in told.out + told.err


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("--dim", "hush-hush"), "argument -d/--dim: invalid int value: …"),
        (("--task", "hush-hush"), "argument -t/--task: invalid choice: … (choose from"),
        (("--token", "hush-hush"), "unrecognized arguments: --token …"),
        (("--offline=hush-hush",), "argument --offline: ignored explicit argument …"),
    ],
)
def test_a_value_that_does_not_fit_is_not_quoted(
    source: Path, target: Path, arguments: Sequence[str], named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        embed(source, target, *arguments)
    told = capsys.readouterr().err
    assert named in told
    assert "hush" not in told


def test_rows_that_fail_under_keep_are_told_and_the_job_has_gone_well(
    tmp_path: Path, target: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = write_table(tmp_path / "in.csv", {"text": ["a", " "]})
    assert embed(source, target, *OFFLINE) == 1
    assert "1 of 2 rows cannot be embedded: row 1 (blank). Nothing was sent." in capsys.readouterr().err
    assert embed(source, target, *OFFLINE, "--on-error", "keep") == 0
    assert "1 failed, see the column `error`" in capsys.readouterr().err


def test_after_an_error_in_the_middle_what_is_kept_is_told(
    tmp_path: Path, target: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(file_job, "GROUP_ROWS", 2)
    source = write_table(tmp_path / "in.csv", {"text": ["a", "b", "c", "d"]})
    assert embed(source, target, *OFFLINE, "--max-requests", "3") == 1
    assert capsys.readouterr().err.splitlines()[1:] == [
        "vn-magic: The budget does not allow the rows from 2 on (2 of 3 requests used).",
        "Next: run it again for the rest, with a budget of its own.",
        "Stopped at 2 of 4 rows; out.csv was not written, and what had arrived is in the cache.",
    ]
    assert embed(source, target, *OFFLINE, "--max-requests", "3", "--no-cache", "-q") == 1
    assert "out.csv was not written, and without the cache nothing was kept." in capsys.readouterr().err


def test_handlers_of_signals_are_as_before_whoever_set_them(source: Path, target: Path) -> None:
    mine = signal.getsignal(signal.SIGINT)
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        with file_command._Signals():
            assert signal.getsignal(signal.SIGINT) is not mine
            assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN  # who ignores it, wants it so
        assert embed(source, target, *OFFLINE, "-q") == 0
        assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == (mine, signal.SIG_IGN)
    finally:
        signal.signal(signal.SIGTERM, before)


def test_a_stop_while_the_file_is_looked_at_says_that_nothing_was_sent(
    source: Path, target: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(file_progress.FileProgress, "checked", lambda *_: signal.raise_signal(signal.SIGINT))
    assert embed(source, target, *OFFLINE, "-q") == 130
    assert capsys.readouterr() == ("", "vn-magic: stopped before anything was sent; out.csv was not written.\n")
    assert [path.name for path in target.parent.iterdir() if path.is_file()] == [source.name]


def test_the_first_signal_ends_the_work_and_further_ones_are_ignored_until_it_is_done() -> None:
    with file_command._Signals() as signals:
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.raise_signal(number)
        assert signals.heard == signal.SIGTERM


@pytest.mark.parametrize("quiet", [False, True])
def test_in_a_log_there_is_a_line_now_and_then_unless_it_is_to_be_quiet(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, quiet: bool
) -> None:
    clock = [0.0]
    monkeypatch.setattr(file_progress.time, "monotonic", lambda: clock[0])
    progress = file_progress.FileProgress("out.csv", quiet=quiet)
    progress.draw()
    for second in range(100):
        clock[0] = float(second)
        progress.checked(second)
        progress.note(ProgressEvent(rows=1000, done=10 * second, cached=5, retries=1, waiting="4 s (429)", seconds=10))
        progress.draw()
    told = [
        f"out.csv   {10 * second} of 1,000 rows · 5 from cache · {second - 0.5:.0f} rows/s · 1 retry · "
        f"waiting 4 s (429) · ≈{(1000 - 10 * second) / (second - 0.5):.0f} s left"
        for second in (30, 60, 90)
    ]
    assert capsys.readouterr().err.splitlines() == ([] if quiet else told)


def test_in_a_terminal_one_line_is_rewritten_and_is_never_broken(source: Path, target: Path) -> None:
    pty = pytest.importorskip("pty")  # Windows has none
    terminal, other_end = pty.openpty()
    script = (
        "import sys; from vn_magic.scale import file_job; from vn_magic.notebook import file_progress\n"
        "file_job.GROUP_ROWS = 1; file_progress._SECONDS_BETWEEN_REWRITES = 0.0\n"
        "import vn_magic.portal; vn_magic.portal.POLL_SECONDS = 0.001\n"
        "from vn_magic.cli import main; sys.exit(main(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", script, "embed", str(source), "-o", str(target), *OFFLINE]
    environ = {**os.environ, "COLUMNS": "40", "TERM": "xterm"}
    with subprocess.Popen(command, stderr=other_end, stdout=subprocess.PIPE, env=environ) as process:
        os.close(other_end)
        told = b""
        while piece := _read(terminal):
            told += piece
        assert process.wait(60) == 0
        assert process.stdout is not None
        assert process.stdout.read() == b""
    os.close(terminal)
    notice, *rewritten, last = told.decode().partition("out.csv   3 ×")[0].split("\r")
    assert last == ""
    assert any(line.startswith("out.csv   checking: 1 rows") for line in rewritten)
    assert any(re.match(r"out\.csv   [█░]+ ", line) for line in rewritten)
    assert max(map(len, rewritten)) == 39
    assert rewritten[-1] == " " * 39
    assert notice.startswith(NOTICE)


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # its other end is closed
        return b""
