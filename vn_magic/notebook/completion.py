"""Tab completion of the magics' lines: exactly the options, their values, variables and columns."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from IPython.core.completer import CompletionContext, SimpleCompletion, SimpleMatcherResult, context_matcher
from IPython.core.interactiveshell import InteractiveShell

from vn_magic.classroom.recording import SUFFIX
from vn_magic.models import TASK_TYPES
from vn_magic.notebook.comparing import COMPARE_OPTIONS
from vn_magic.notebook.drawing import PICTURES
from vn_magic.notebook.options import option_names
from vn_magic.notebook.packing import OPTIONS as PACK_OPTIONS
from vn_magic.notebook.packing import WORDS as PACK_WORDS
from vn_magic.notebook.searching import NEAREST_OPTIONS
from vn_magic.notebook.vn import SUBCOMMANDS

Matcher = Callable[[CompletionContext], SimpleMatcherResult]

_EMBED_LINE = re.compile(r"^(?:[^'\"#]*=\s*|\s*)(%%|%)embed\s(.*)$")
_VN_LINE = re.compile(r"^\s*%vn\s+(.*)$")
_TWINS = {**PICTURES, "nearest": NEAREST_OPTIONS}


def make_matcher(shell: InteractiveShell) -> Matcher:
    """Return a matcher for one shell, to be appended to ``Completer.custom_matchers``.

    IPython by itself offers some two hundred Python names for ``%%embed --``.
    """

    @context_matcher()
    def vn_magic_matcher(context: CompletionContext) -> SimpleMatcherResult:
        return _result(*completions(context.text_until_cursor, context.cursor_line, shell.user_ns))

    matcher: Matcher = vn_magic_matcher
    return matcher


def completions(line: str, line_number: int, variables: Mapping[str, Any]) -> tuple[str, Iterable[str], bool]:
    """Return the word before the cursor, what may stand there, and whether nothing else may.

    Parameters
    ----------
    line
        The line up to the cursor.
    line_number
        Its number in the cell; ``%%embed`` is a magic in the first line only.
    variables
        The user's namespace.
    """
    if found := _VN_LINE.match(line):
        return _vn(found[1], variables)
    found = _EMBED_LINE.match(line)
    if found is None or (found[1] == "%%" and line_number > 0):
        return "", (), False
    return _embed(found[2], variables, is_cell=found[1] == "%%")


def _embed(arguments: str, variables: Mapping[str, Any], *, is_cell: bool) -> tuple[str, Iterable[str], bool]:
    *before, word = re.split(r"\s+", arguments)
    names = option_names()
    option = names.get(before[-1]) if before else None
    if option is not None and option.nargs != 0:
        if option.choices is not None:
            return word, option.choices, True
        if option.dest == "column":
            return word, _columns(before, variables, is_cell=is_cell), True
        if option.dest == "out":
            return word, _variables(variables), True
        return word, (), True
    if word.startswith("-"):
        return word, names, True
    return (word, (), False) if is_cell or "." in word or "[" in word else (word, _embeddable(variables), False)


def _vn(arguments: str, variables: Mapping[str, Any]) -> tuple[str, Iterable[str], bool]:
    *before, word = re.split(r"\s+", arguments)
    if not before:
        return word, SUBCOMMANDS, True
    if before[0] == "compare":
        return _compare(before, word, variables)
    if before[0] in _TWINS:
        return _twin(_TWINS[before[0]], before, word, variables)
    if before[0] == "pack":
        return word, _pack(before[1:], word, variables), True
    if before[0] == "doctor":
        return word, _files(word, ".ipynb") if len(before) > 1 else ("--notebook",), True
    known = SUBCOMMANDS.get(before[0])
    return word, known.words if known and len(before) == 1 else (), True


def _twin(
    options: Mapping[str, str], before: list[str], word: str, variables: Mapping[str, Any]
) -> tuple[str, Iterable[str], bool]:
    argument = options.get(before[-1])
    if argument == "method":
        from vn_magic.pictures import METHODS  # noqa: PLC0415 - charts wait until somebody draws

        return word, METHODS, True
    if argument is not None:
        return word, () if argument == "k" else _columns(before, variables, is_cell=False), True
    if word.startswith("-"):
        return word, options, True
    return (word, (), False) if "." in word or "[" in word else (word, _frames(variables), False)


def _compare(before: list[str], word: str, variables: Mapping[str, Any]) -> tuple[str, Iterable[str], bool]:
    argument = COMPARE_OPTIONS.get(before[-1])
    if argument == "task_types":
        named, comma, _ = word.rpartition(",")
        return word, [f"{named}{comma}{task}" for task in TASK_TYPES if task not in named.split(",")], True
    if argument in ("column", "labels"):
        return word, _columns(before, variables, is_cell=False), True
    if argument is not None:
        return word, _variables(variables) if argument == "out" else (), True
    if word.startswith("-"):
        return word, COMPARE_OPTIONS, True
    return (word, (), False) if "." in word or "[" in word else (word, _embeddable(variables), False)


def _pack(before: list[str], word: str, variables: Mapping[str, Any]) -> Iterable[str]:
    if not before:
        return PACK_WORDS
    if word.startswith("-"):
        return PACK_OPTIONS.get(before[0], ())
    if before[-1] in ("-c", "--column"):
        return _columns(before, variables, is_cell=False)
    if before[-1] == "--licence":
        return ()
    if before == ["save"] or before[0] in ("use", "info"):
        return _files(word, SUFFIX)
    return _frames(variables) if before[0] == "save" else ()


def _columns(before: list[str], variables: Mapping[str, Any], *, is_cell: bool) -> list[str]:
    """Return the columns of the frame that the line names, else of every frame there is."""
    if is_cell:
        return []
    frames = _frames(variables)
    named = [frames[word] for word in before if word in frames] or list(frames.values())
    columns = dict.fromkeys(str(column) for frame in named for column in frame.columns)
    return [f'"{column}"' if re.search(r"\s", column) else column for column in columns]


def _files(word: str, ending: str) -> list[str]:
    """Return the files that a word may become, and the folders on the way to others."""
    found = sorted(glob.glob(glob.escape(word) + "*"))  # noqa: PTH207 - pathlib forgets how the folder was typed
    paths = [f"{path}/" if os.path.isdir(path) else path for path in found]  # noqa: PTH112 - as above
    return [f'"{path}"' if re.search(r"\s", path) else path for path in paths if path.endswith((ending, "/"))]


def _frames(variables: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in _public(variables) if type(value).__name__ == "DataFrame"}


def _embeddable(variables: Mapping[str, Any]) -> list[str]:
    kinds = ("DataFrame", "Series", "Index", "ndarray", "list", "tuple", "str")
    return [name for name, value in _public(variables) if type(value).__name__ in kinds]


def _variables(variables: Mapping[str, Any]) -> list[str]:
    return [name for name, value in _public(variables) if type(value).__name__ != "module"]


def _public(variables: Mapping[str, Any]) -> Iterable[tuple[str, Any]]:
    hidden = ("In", "Out", "exit", "quit", "open", "get_ipython")
    return [(name, value) for name, value in variables.items() if not name.startswith("_") and name not in hidden]


def _result(word: str, candidates: Iterable[str], exclusive: bool) -> SimpleMatcherResult:  # noqa: FBT001 - one field of three
    found = [SimpleCompletion(text, type="magic") for text in candidates if text.lower().startswith(word.lower())]
    return {"completions": found, "matched_fragment": word, "suppress": exclusive, "ordered": True}
