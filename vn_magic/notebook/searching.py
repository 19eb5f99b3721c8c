"""``%vn nearest``: the twin of ``df.vec.nearest``."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from IPython.core.interactiveshell import InteractiveShell
from IPython.display import display

from vn_magic.exceptions import InputError
from vn_magic.notebook.drawing import method_of, parse
from vn_magic.notebook.expressions import is_expression
from vn_magic.session import Session

NEAREST_OPTIONS: Mapping[str, str] = {"-k": "k"}
NEAREST_USAGE = 'DF "text" [-k N]'

_EXAMPLE = '%vn nearest df "which flower is blue?" -k 5'
_HELP = f"""\
%vn nearest {NEAREST_USAGE}

The N rows of DF that are nearest to the text, best first, with their cosine similarity; five of them without -k.
DF is an expression. `df.vec.nearest` returns the same table, and takes vectors too.

example: {_EXAMPLE}"""
# Always in quotes: without, nobody knows where an expression ends, and IPython takes a last question mark for its own.
_TEXT = re.compile(r"""\s(["'])((?:(?!\1).)+)\1$""")


def nearest(line: Sequence[str], _session: Session, shell: InteractiveShell) -> None:
    """Show the rows that are nearest to a text."""
    if line[0].strip() in ("-h", "--help"):
        print(_HELP)  # noqa: T201 - help is output
        return
    rest, arguments = parse("nearest", line[0].rstrip().removesuffix(";"), NEAREST_OPTIONS)
    text = next((found for found in _TEXT.finditer(rest) if is_expression(rest[: found.start()])), None)
    if text is None or not text[2].strip():
        raise InputError(f"%vn nearest needs a frame with vectors, then a text in quotes.\nNext: e.g. `{_EXAMPLE}`.")
    options = {name: _number(value) for name, value in arguments.items()}
    display(method_of("nearest", rest[: text.start()], shell)(text[2], **options))


def _number(value: str) -> int:
    try:
        return int(value)
    except ValueError:
        raise InputError("%vn nearest: -k is a number of rows.\nNext: e.g. -k 5.") from None
