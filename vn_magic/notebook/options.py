"""The line of ``%%embed`` and ``%embed`` to options. argparse reads it, and its errors become ours."""

from __future__ import annotations

import argparse
import re
import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn, get_args

from vn_magic.exceptions import InputError
from vn_magic.notebook.expressions import is_expression
from vn_magic.request import EmbedOptions
from vn_magic.rows import DEFAULT_COLUMN, Split
from vn_magic.session import Session
from vn_magic.settings import OnError, Result, TaskType

EXAMPLES = """\
examples:
  %%embed poems                      one row a line, bound to `poems` as a DataFrame
  %%embed -o X --as numpy --dim 256  a float32 array (rows, 256)
  %%embed --split csv -c review      csv with a header; the other columns come along
  %embed reviews.text                a Series; the result is the value of the line
  df2 = %embed df -c review          a copy of df plus the column `embedding`
  %embed --dry-run df["text"]        what would be sent, and sends nothing
"""


@dataclass(frozen=True, slots=True)
class EmbedLine:
    """A parsed line: where the result goes, what to embed, and the options by their long names."""

    out: str | None
    expression: str
    options: argparse.Namespace


def _separator(text: str) -> str:
    return "\t" if text == "\\t" else text


_SWITCH: Mapping[str, Any] = {"action": "store_true"}
_COUNT: Mapping[str, Any] = {"metavar": "N", "type": int}
# What `%%embed`, `%embed` and `vn-magic embed` have in common.
_OPTIONS: Mapping[str, tuple[str, Mapping[str, Any], str]] = {
    "model": ("-m", {"metavar": "MODEL"}, "default: gemini-embedding-001"),
    "dim": ("-d", _COUNT, "values in a vector, 128 to 3072 (default 768)"),
    "task": (
        "-t",
        {"metavar": "TASK", "type": str.upper, "choices": get_args(TaskType)},
        ", ".join(get_args(TaskType)),
    ),
    "title": ("", {"metavar": "T"}, "title of the document, with --task RETRIEVAL_DOCUMENT"),
    "sep": ("", {"metavar": "S", "type": _separator}, "separator of csv (default: ,)"),
    "raw": ("", _SWITCH, "vectors as received instead of unit length"),
    "on-error": ("", {"choices": get_args(OnError)}, "stop at the first failing row, or keep going and mark it"),
    "concurrency": ("", _COUNT, "requests under way at once, at most"),
    "rpm": ("", _COUNT, "never start more than N requests in a minute"),
    "batch-size": ("", _COUNT, "texts in one request, 1 to 100, if the gateway can (default 1)"),
    "max-requests": ("", _COUNT, "send at most N requests, retries included, else stop"),
    "max-tokens": ("", _COUNT, "send at most about N tokens, else stop"),
    "refresh": ("", _SWITCH, "send every text, whatever the cache has"),
    "no-cache": ("", _SWITCH, "neither read nor write the cache"),
    "dry-run": ("", _SWITCH, "say what would be sent, and send nothing"),
    "quiet": ("-q", _SWITCH, "no card"),
}


def add_options(parser: argparse.ArgumentParser, *names: str, **told: str) -> None:
    """Add options that more than one door has, in this order; ``told`` replaces what their help says."""
    for name in names:
        short, how, usually = _OPTIONS[name]
        parser.add_argument(*filter(None, (short, f"--{name}")), **how, help=told.get(name, usually))


def options_of_job(options: argparse.Namespace) -> EmbedOptions:
    """Return the shared options that say what to ask for, and how, as the Python door names them."""
    return {
        "model": options.model,
        "dimension": options.dim,
        "task_type": options.task,
        "title": options.title,
        "unit_length": False if options.raw else None,
        "on_error": options.on_error,
        "concurrency": options.concurrency,
        "requests_per_minute": options.rpm,
        "batch_size": options.batch_size,
        "refresh": options.refresh,
        "cache": not options.no_cache,
        "max_requests": options.max_requests,
        "max_tokens": options.max_tokens,
    }


class LineParser(argparse.ArgumentParser):
    """An argparse parser that neither exits nor writes to stderr."""

    def error(self, message: str) -> NoReturn:
        """Raise what argparse has to say as an error of ours."""
        raise InputError(f"{self.prog}: {without_values(message)}.\nNext: `{self.prog} -h` shows the options.")


def without_values(message: str) -> str:
    """Return an error of argparse that names unknown options and leaves out their values: these may be secrets."""
    said, unknown, words = message.partition("unrecognized arguments:")
    return said + unknown + "".join(f" {_option_in(word)}" for word in words.split()) if unknown else message


def _option_in(word: str) -> str:
    if not word.startswith("--"):
        return f"{word[:2]}…" if word.startswith("-") else "…"
    name, equals, _ = word.partition("=")
    return name + ("=…" if equals else "")


def embed_parser() -> argparse.ArgumentParser:
    """Return the parser of ``%%embed``; ``%embed`` has the same options."""
    plain: dict[str, Any] = {"color": False} if sys.version_info >= (3, 14) else {}
    parser = LineParser(
        prog="%%embed",
        description="Turn the text of a cell into vectors. `%embed [options] EXPR` does the same for an expression.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        add_help=False,
        allow_abbrev=False,
        **plain,
    )
    add = parser.add_argument
    add("name", nargs="?", metavar="OUT", help="variable for the result; without it the result is the cell's value")
    add("-o", "--out", metavar="OUT", help="the same; the line magic knows only this form")
    add_options(parser, "model", "dim", "task", "title")
    add("--split", choices=get_args(Split), help="how the cell becomes rows (default: lines)")
    add("-c", "--column", metavar="COLUMN", help=f"column of the texts (csv, jsonl: default {DEFAULT_COLUMN})")
    add_options(parser, "sep")
    add("--as", dest="result", choices=get_args(Result), default="df", help="DataFrame or float32 array (default: df)")
    add_options(parser, "raw", "on-error", "concurrency", "rpm", "batch-size", "max-requests", "max-tokens")
    add_options(parser, "refresh", "no-cache", "dry-run")
    add("--vars", action="store_true", help="replace {{name}} in the cell by variables")
    add_options(parser, "quiet")
    add("-h", "--help", action="store_true", help="show this")
    return parser


def help_text() -> str:
    """Return the help of ``%%embed``, as ``-h`` prints it and ``%%embed?`` shows it."""
    return embed_parser().format_help()


def option_names() -> dict[str, argparse.Action]:
    """Return every spelling of every option, and what it stands for."""
    return {name: action for action in embed_parser()._actions for name in action.option_strings}  # noqa: SLF001 - argparse has no other list of its options


def parse_cell_line(line: str) -> EmbedLine:
    """Parse the line of ``%%embed``.

    Raises
    ------
    InputError
        When it cannot be read, names two outputs, or carries something that looks like a token.
    """
    options = embed_parser().parse_args(_words(line))
    if options.name is not None and options.out is not None:
        raise InputError(f"%%embed: the output is named twice ({options.name} and {options.out}).\nNext: keep one.")
    return EmbedLine(options.name or options.out, "", options)


def parse_line(line: str) -> EmbedLine:
    """Parse the line of ``%embed``: options, then an expression that is left as it was typed.

    ``-c COLUMN`` and other options may also follow the expression, where the whole is not one by itself:
    ``%embed df -c review``.

    Raises
    ------
    InputError
        As `parse_cell_line`; also when there is no expression.
    """
    line = line.rstrip().removesuffix(";")  # IPython's way to silence a value; what is bound or quiet needs no more
    start = _end_of_options(line)
    words, expression = _words(line[:start]), line[start:].strip()
    # ` --word` is an option even where Python would see a subtraction; a single dash is one only where it must be.
    if not is_expression(expression) or _LONG_OPTION.search(expression):
        expression, trailing = _without_trailing_options(expression)
        words += trailing
    options = embed_parser().parse_args(words)
    if options.name is not None:
        raise InputError(f"%embed: {options.name!r} is left over after {expression!r}.\nNext: leave it out.")
    for name in ("split", "sep", "vars"):
        if getattr(options, name):
            raise InputError(f"%embed: --{name} is for %%embed only.\nNext: leave it out, or use a cell.")
    if not expression and not options.help:
        raise InputError("%embed needs something to embed, e.g. `%embed reviews.text`.\nNext: `%embed -h` shows more.")
    return EmbedLine(options.out, expression, options)


# There are no such options; whoever types one has a secret behind it, whatever its shape. But there is --max-tokens,
# which counts: what stands behind it is no secret while it is short.
_SECRET_OPTION = re.compile(
    r"(?<!\S)--(?!max-tokens?(?:\s*$|[\s=]+\S{1,15}(?!\S)))[^\s=]*(?:key|token|secret|password|bearer)", re.IGNORECASE
)
# A text to embed may well speak of such options.
_QUOTED = re.compile(r""" "(?:\\.|[^"\\])*" | '(?:\\.|[^'\\])*' """, re.VERBOSE)


def refuse_tokens(line: str, session: Session) -> None:
    """Refuse a line with a token on it, or with something that looks like one.

    Raises
    ------
    InputError
        Without quoting it.
    """
    if session.tokens.scrub(line) != line or _SECRET_OPTION.search(_QUOTED.sub("''", line)):
        raise InputError(
            "That looks like a token, and a line like this is kept in the history and in the notebook.\n"
            "Next: rotate the token at the gateway, clear this cell, then `%vn login` alone, which asks for it."
        )


def words_of(line: str, magic: str) -> list[str]:
    """Return the words of a line that names files, those in quotes as one; a backslash parts the folders of Windows.

    Raises
    ------
    InputError
        When a quote is open.
    """
    reader = shlex.shlex(line, posix=True)
    reader.whitespace_split, reader.commenters, reader.escape = True, "", ""
    try:
        return list(reader)
    except ValueError as error:
        raise InputError(f"{magic}: the line cannot be read: {error}.\nNext: close the quotes.") from None


def _words(line: str) -> list[str]:
    try:
        return shlex.split(line)
    except ValueError as error:
        raise InputError(f"%%embed: the line cannot be read: {error}.\nNext: close the quotes.") from None


_LONG_OPTION = re.compile(r"\s--[a-z]")
_WORD = re.compile(r"""\s*((?:"[^"]*"|'[^']*'|[^\s"'])+)""")


def _end_of_options(line: str) -> int:
    """Return where the options at the front of a line end and the expression begins."""
    names, position = option_names(), 0
    while (found := _WORD.match(line, position)) and found[1].startswith("-"):
        word, _, value = found[1].partition("=")
        if word[:2] in names and not word.startswith("--"):
            word, value = word[:2], word[2:] or value
        if word not in names:
            raise InputError(f"%embed: there is no option {word}.\nNext: `%embed -h` shows the options.")
        position = found.end()
        if names[word].nargs != 0 and not value and (argument := _WORD.match(line, position)):
            position = argument.end()
    return position


def _without_trailing_options(text: str) -> tuple[str, list[str]]:
    """Split ``df -c review`` into the shortest expression at its front and the options after it."""
    names = option_names()
    for found in re.finditer(r"\s(--?[a-z][a-z-]*)", text):
        head, tail = text[: found.start()].strip(), text[found.start() :]
        if found[1] in names and is_expression(head):
            return head, _words(tail)
    return text, []
