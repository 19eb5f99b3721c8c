"""``vn-magic embed INPUT -o OUTPUT``: a table file to one with vectors, from a terminal."""

from __future__ import annotations

import argparse
import re
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from types import FrameType, MappingProxyType
from typing import Any, Self

from vn_magic.exceptions import InputError, VnMagicError
from vn_magic.notebook.file_progress import FileProgress
from vn_magic.notebook.forecast import forecast_lines
from vn_magic.notebook.options import add_options, options_of_job
from vn_magic.notebook.phrases import summary_lines
from vn_magic.request import Request
from vn_magic.rows import DEFAULT_COLUMN
from vn_magic.scale.file_job import embed_file, plan_file
from vn_magic.scale.table_files import TableFiles
from vn_magic.session import Session

EXAMPLES = """\
examples:
  vn-magic embed reviews.parquet -c review -o vectors.parquet
  vn-magic embed reviews.csv --sep ';' -o vectors.parquet --dim 256 --rpm 600
  vn-magic embed reviews.jsonl -o vectors.jsonl --on-error keep
  vn-magic embed reviews.csv -o vectors.parquet --dry-run     what would be sent, and sends nothing
  vn-magic embed reviews.csv -o try.parquet --offline         without a token: lexical, not semantic

INPUT and OUTPUT are .parquet, .csv (UTF-8, with a header) or .jsonl (an object a line), each of any kind. The other
columns come along. All of INPUT is checked before anything is sent; errors count its rows from 0 and its lines from 1.
OUTPUT is complete or absent. After an interruption run the same line again: what had arrived is in the cache, and only
the rest is sent. vn_magic.load and pandas read .parquet with all its types, vn_magic.load reads .csv, whose cells are
texts; an empty one is a missing value. Failed rows are NaN there, null in .jsonl, with a reason in the column `error`.

The token comes from $VECTORNODE_API_KEY or the file that $VECTORNODE_API_KEY_FILE names; there is no option for it.
Exit status: 0 OUTPUT is complete (under --on-error keep also if rows have failed), 1 there was an error, 2 the line was
not understood, 130, 143 and 129 it was stopped by Ctrl-C, SIGTERM or SIGHUP.
"""

# What is said in notebooks, as a program says it.
_IN_A_TERMINAL: Mapping[str, str] = MappingProxyType(
    {
        r"`%vn login` with a fresh token": "put a fresh token into $VECTORNODE_API_KEY",
        r"`%vn login`(?: and paste| alone, which asks for it)?": "put a token into $VECTORNODE_API_KEY",
        r"`%vn offline(?: on)?`": "use --offline",
        r"`%vn status`": "`vn-magic doctor`",
        r"`%vn (doctor|cache path)`": r"`vn-magic \1`",
        r"`%vn pack off`": "unset $VN_MAGIC_PACK",
        r"[Rr]un the cell(?: again)?": "run it again",
        r", or `%config [^`]*`[^.]*": "",
        r" `%config [^`]*` is in seconds\.": "",
        r"`%vn debug on` and run it again shows where; ": "",
    }
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Tell a parser about the command."""
    add = parser.add_argument
    add("input", metavar="INPUT", type=Path, help="a table: .parquet, .csv or .jsonl")
    add("-o", "--output", metavar="OUTPUT", type=Path, required=True, help="where it goes, with a column `embedding`")
    add(
        "-c",
        "--column",
        metavar="COLUMN",
        default=DEFAULT_COLUMN,
        help=f"column of the texts (default: {DEFAULT_COLUMN})",
    )
    add("--force", action="store_true", help="replace OUTPUT if it exists")
    add("--offline", action="store_true", help="the embedded stand-in: no token, lexical vectors, labelled so")
    add_options(parser, "model", "dim", "task", "title", "sep", sep="separator of a csv INPUT (default: ,)")
    add_options(parser, "raw", "on-error", "concurrency", "rpm", "batch-size", "max-requests", "max-tokens")
    add_options(parser, "refresh", "no-cache", "dry-run", "quiet", quiet="no progress and no summary; errors are shown")


def run(options: argparse.Namespace) -> int:
    """Run the command; return its exit status."""
    progress = FileProgress(options.output.name, quiet=options.quiet)
    with _Signals() as signals:
        try:
            with Session() as session:
                session.guard(lambda: _run(session, options, progress))
        except KeyboardInterrupt:
            progress.insist(_stopped(options, progress))
            return 128 + signals.heard
        except VnMagicError as error:
            lines = as_in_a_terminal(str(error)).splitlines()
            progress.insist([f"vn-magic: {lines[0]}", *lines[1:], *_stopped_by_error(options, progress)])
            return 1
    return 0


def _run(session: Session, options: argparse.Namespace, progress: FileProgress) -> None:
    _refuse_tokens(session, options)
    if options.offline:
        session.configure("offline", True, "--offline")  # noqa: FBT003 - the value of a setting, not a flag argument
    files = TableFiles(options.input, options.output, options.column, options.sep, options.force)
    request = session.prepare([], **options_of_job(options))
    if options.dry_run:
        _say_plan(session, files, request, progress)
        return
    if options.no_cache:
        progress.say(["Without the cache, an interruption loses all rows."])
    provenance, summary = embed_file(session, files, request, progress)
    head, *lines = summary_lines(options.output.name, provenance, summary)
    progress.say([head, *(f"    {line}" for line in lines)])


def _say_plan(session: Session, files: TableFiles, request: Request, progress: FileProgress) -> None:
    found = plan_file(session, files, request, progress)
    lines = forecast_lines(found.plan, found.tokens, found.unusable, request, session.settings, session.totals)
    if found.groups > 1 and found.tokens:
        lines.append("at most: texts that come again much later in the file are counted as new")
    progress.clear()
    sys.stdout.write("\n    ".join(lines) + "\n")


def as_in_a_terminal(message: str) -> str:
    """Return an error with the cures of a terminal where it names those of a notebook."""
    for said, here in _IN_A_TERMINAL.items():
        message = re.sub(said, here, message)
    return message


def _refuse_tokens(session: Session, options: argparse.Namespace) -> None:
    given = (options.input, options.output, options.column, options.title, options.model, options.sep)
    told = "\n".join(str(value) for value in given if value is not None)
    if session.tokens.scrub(told) != told:
        raise InputError(
            "That looks like a token, and a line like this is kept in the shell's history.\n"
            "Next: rotate the token at the gateway, and put the new one into $VECTORNODE_API_KEY."
        )


def _stopped(options: argparse.Namespace, progress: FileProgress) -> list[str]:
    """Return what is told of a job that was stopped: how far it came, what is kept, and how to go on."""
    event, output = progress.latest, _state_of(options.output)
    if event is None:
        return [f"vn-magic: stopped before anything was sent; {output}."]
    place = f"vn-magic: stopped at {event.done:,} of {event.rows:,} rows; {output}"
    if options.no_cache:
        return [f"{place}, and without the cache nothing was kept."]
    return [f"{place}.", "What had arrived is in the cache: run the same line again, and only the rest is sent."]


def _stopped_by_error(options: argparse.Namespace, progress: FileProgress) -> list[str]:
    event = progress.latest
    if event is None or not event.done:
        return []
    kept = "without the cache nothing was kept" if options.no_cache else "what had arrived is in the cache"
    return [f"Stopped at {event.done:,} of {event.rows:,} rows; {_state_of(options.output)}, and {kept}."]


def _state_of(output: Path) -> str:
    return f"{output.name} is as it was" if output.exists() else f"{output.name} was not written"


class _Signals:
    """Ends the work in order when this process is told to stop: the first time, and whatever comes then is ignored.

    Attributes
    ----------
    heard
        The number of the signal; that of Ctrl-C before there was any.
    """

    def __init__(self) -> None:
        self.heard: int = signal.SIGINT
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        for name in ("SIGINT", "SIGTERM", "SIGHUP"):
            number = getattr(signal, name, None)  # Windows has no SIGHUP
            # Who started it in the background, or by nohup, does not want it to hear.
            if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
                self._before[number] = signal.signal(number, self._stop)
        return self

    def __exit__(self, *exc_info: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _stop(self, number: int, _frame: FrameType | None) -> None:
        self.heard = number
        for each in self._before:
            signal.signal(each, signal.SIG_IGN)
        raise KeyboardInterrupt
