"""What has been chosen to compare, and the cell that says the same. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

from vn_magic.notebook.panel.choices import Variable
from vn_magic.settings import Settings

USUAL_K = 10
# A list that is longer takes a line for each of its texts.
_LINE_CHARACTERS = 88


@dataclass(frozen=True, slots=True)
class Asked:
    """What `settings_grid` is asked for; None is the session's setting, and nothing in the cell."""

    models: Sequence[str] | None
    task_types: Sequence[str] | None
    dimensions: Sequence[int] | None
    labels: str | None
    k: int


@dataclass(frozen=True, slots=True)
class ComparisonChoices:
    """What to compare; nothing of a kind stands for the session's setting, and an empty ``out`` for no variable."""

    models: Sequence[str]
    task_types: Sequence[str]
    dimensions: Sequence[int]
    labels: str | None
    k: int
    out: str

    def asked(self, settings: Settings) -> Asked:
        """Return what is asked for under a session's settings.

        What is not the default is said, also where the session has it set: the cell may be run in another one.
        """
        usual = Settings()

        def said(values: Sequence[Any], now: object, default: object) -> Sequence[Any] | None:
            return None if not values or (now == default and tuple(values) == (now,)) else values

        return Asked(
            said(self.models, settings.model, usual.model),
            said(self.task_types, settings.task_type, usual.task_type),
            said(self.dimensions, settings.dimension, usual.dimension),
            self.labels,
            self.k,
        )


def comparing_cell(source: Variable | Sequence[object], asked: Asked, out: str, variables: Mapping[str, Any]) -> str:
    """Return the ``%vn compare`` cell that does the same.

    Parameters
    ----------
    source
        A variable, or texts that the cell has to bind first.
    asked, out
        What is asked for, and the variable for the table, if any.
    variables
        The user's namespace: the cell's list takes the place of nothing in it.
    """
    if isinstance(source, Variable):
        lines, words = [], [source.name]
        if source.column is not None:
            words += ["-c", shlex.quote(source.column)]
    else:
        name = _name_of(source, out, variables)
        lines, words = [f"{name} = {_literal(source)}"], [name]
    for option, values in (("--model", asked.models), ("--task", asked.task_types), ("--dim", asked.dimensions)):
        if values is not None:
            words += [option, shlex.quote(",".join(map(str, values)))]
    if asked.labels is not None:
        words += ["--labels", shlex.quote(asked.labels)]
    if asked.k != USUAL_K:
        words += ["-k", str(asked.k)]
    if out:
        words += ["-o", out]
    return "\n".join([*lines, " ".join(["%vn compare", *words])])


def _name_of(texts: Sequence[object], out: str, variables: Mapping[str, Any]) -> str:
    """Return a name that is free, or that these texts have from an earlier run of the cell."""
    names = (f"texts_{number}" if number > 1 else "texts" for number in count(1))
    free = (name for name in names if name not in variables or _is_list(variables[name], texts))
    return next(name for name in free if name != out)


def _is_list(value: object, texts: Sequence[object]) -> bool:
    if type(value) is not list or len(value) != len(texts):
        return False
    # Types first: a user's list may hold arrays, which equal nothing as a whole.
    return all(type(one) is type(other) and one == other for one, other in zip(value, texts, strict=True))


def _literal(texts: Sequence[object]) -> str:
    line = f"[{', '.join(map(repr, texts))}]"
    if len(line) <= _LINE_CHARACTERS:
        return line
    return "\n".join(["[", *(f"    {text!r}," for text in texts), "]"])
