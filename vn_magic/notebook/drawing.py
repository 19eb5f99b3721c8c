"""``%vn scatter`` and ``%vn heatmap``: the twins of ``df.vec.scatter`` and ``df.vec.heatmap``."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

from IPython.core.interactiveshell import InteractiveShell
from IPython.display import display

from vn_magic.exceptions import InputError
from vn_magic.notebook.expressions import evaluated
from vn_magic.session import Session

HEATMAP_OPTIONS: Mapping[str, str] = {"--text": "text"}
SCATTER_OPTIONS: Mapping[str, str] = {"-c": "color", "--color": "color", **HEATMAP_OPTIONS, "--method": "method"}
PICTURES: Mapping[str, Mapping[str, str]] = {"scatter": SCATTER_OPTIONS, "heatmap": HEATMAP_OPTIONS}
"""For each picture every spelling of an option, and the argument of the method that it gives."""

HEATMAP_USAGE = "DF [--text COLUMN]"
SCATTER_USAGE = "DF [-c/--color COLUMN] [--text COLUMN] [--method pca|umap|tsne]"

# A word as a shell sees it: quotes keep blanks together.
_WORD = re.compile(r"""(?:"[^"]*"|'[^']*'|[^\s"'])+|["']""")
_QUOTED = re.compile(r""""[^"]*"|'[^']*'""")


def scatter(line: Sequence[str], _session: Session, shell: InteractiveShell) -> None:
    """Show a frame of vectors as points of a plane."""
    _draw("scatter", line[0], SCATTER_USAGE, shell)


def heatmap(line: Sequence[str], _session: Session, shell: InteractiveShell) -> None:
    """Show the similarity of a frame's first rows to one another."""
    _draw("heatmap", line[0], HEATMAP_USAGE, shell)


def parse(name: str, line: str, options: Mapping[str, str]) -> tuple[str, dict[str, str]]:
    """Take the options out of a line; what is left, as it was typed, is the expression.

    Raises
    ------
    InputError
        When an option is not known or has no value.
    """
    kept, arguments, end = "", {}, 0
    words = _WORD.finditer(line)
    for word in words:
        option, given, value = word[0].partition("=")
        if option in options:
            following = None if given else next(words, None)
            text = value if given else following[0] if following else ""
            if not text:
                raise InputError(f"%vn {name}: {option} needs a value.\nNext: `%vn {name} -h` shows the options.")
            arguments[options[option]] = _unquoted(text)
            kept += line[end : word.start()]
            end = (following or word).end()
        elif re.match("--[a-z]", option):
            raise InputError(f"%vn {name}: there is no option {option}.\nNext: `%vn {name} -h` shows the options.")
    return (kept + line[end:]).strip(), arguments


def method_of(name: str, expression: str, shell: InteractiveShell) -> Callable[..., object]:
    """Return the method of ``.vec`` that a subcommand is the twin of, for the frame that its line speaks of.

    Raises
    ------
    InputError
        When that is no frame and no Series.
    """
    value = evaluated(expression, shell.user_ns, f"%vn {name}")
    method: Callable[..., object] | None = getattr(getattr(value, "vec", None), name, None)
    if method is None:
        raise InputError(
            f"%vn {name}: {expression!r} is a {type(value).__name__}, expected a DataFrame or a Series with vectors.\n"
            "Next: `%%embed df` or `df = %embed texts` makes one."
        )
    return method


def _draw(name: str, line: str, usage: str, shell: InteractiveShell) -> None:
    if line.strip() in ("-h", "--help"):
        print(f"%vn {name} {usage}\n\nDF is an expression; the options are those of `df.vec.{name}`.")  # noqa: T201 - help is output
        return
    expression, arguments = parse(name, line.rstrip().removesuffix(";"), PICTURES[name])
    if not expression:
        raise InputError(f"%vn {name} needs a frame with vectors, e.g. `%vn {name} df`.\nNext: `%%embed df` makes one.")
    display(method_of(name, expression, shell)(**arguments))


def _unquoted(text: str) -> str:
    """Take quotes away as a shell does: a part of a word may be in one kind of them, and a part in the other."""
    return _QUOTED.sub(lambda found: found[0][1:-1], text)
