"""What has been chosen in the panel, and the cell that says the same. Pure."""

from __future__ import annotations

import shlex
from dataclasses import dataclass

from vn_magic.rows import DEFAULT_COLUMN, Split
from vn_magic.settings import OnError, Result, Settings, TaskType

DEFAULT_SEPARATOR = ","


@dataclass(frozen=True, slots=True)
class TypedText:
    """Text from the panel's own field; ``column`` and ``separator`` as in ``%%embed``."""

    body: str
    split: Split = "lines"
    column: str = DEFAULT_COLUMN
    separator: str = DEFAULT_SEPARATOR


@dataclass(frozen=True, slots=True)
class Variable:
    """A variable of the user's namespace, with a column where it is a frame."""

    name: str
    column: str | None = None


@dataclass(frozen=True, slots=True)
class Choices:
    """How to embed; ``task_type`` is None for models without tasks."""

    model: str
    dimension: int
    task_type: TaskType | None
    unit_length: bool
    on_error: OnError
    result: Result
    out: str


def equivalent_cell(source: TypedText | Variable, choices: Choices, settings: Settings) -> str:
    """Return the ``%%embed`` or ``%embed`` cell that does the same.

    What is not the default is said, also where the session has it set: the cell may be run in another one.
    """
    options = _options(choices, settings)
    if isinstance(source, Variable):
        if source.column is not None:
            options += _column(source.column)
        return " ".join([choices.out, "= %embed", *options, source.name])
    if source.split != "lines":
        options += ["--split", source.split]
    if source.split in ("csv", "jsonl") and source.column != DEFAULT_COLUMN:
        options += _column(source.column)
    if source.split == "csv" and source.separator != DEFAULT_SEPARATOR:
        options += _option("--sep", "\\t" if source.separator == "\t" else source.separator)
    return f"{' '.join(['%%embed', choices.out, *options])}\n{source.body}"


def _options(choices: Choices, settings: Settings) -> list[str]:
    usual = Settings()
    options: list[str] = []
    if not choices.model == settings.model == usual.model:
        options += _option("--model", choices.model)
    if not choices.dimension == settings.dimension == usual.dimension:
        options += ["--dim", str(choices.dimension)]
    if choices.task_type is not None and not choices.task_type == settings.task_type == usual.task_type:
        options += ["--task", choices.task_type]
    if not choices.on_error == settings.on_error == usual.on_error:
        options += ["--on-error", choices.on_error]
    if choices.result != "df":
        options += ["--as", choices.result]
    return options if choices.unit_length else [*options, "--raw"]


def _column(name: str) -> list[str]:
    return _option("--column" if name.startswith("-") else "-c", name)


def _option(name: str, value: str) -> list[str]:
    """Return a long option with a value, joined where the value alone would be read as an option."""
    quoted = shlex.quote(value)
    return [f"{name}={quoted}"] if value.startswith("-") else [name, quoted]
