"""A call to embed, with every option settled: what to ask for, how, and what shape the result has."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypedDict, Unpack, get_args

import numpy as np
from numpy.typing import NDArray

from vn_magic.embeddings import Embeddings
from vn_magic.exceptions import InputError
from vn_magic.frames import Frame, Source, source_of, to_frame
from vn_magic.models import facts_of
from vn_magic.settings import JobOptions, OnError, Recipe, Result, Settings, TaskType, check_budget

Vectors = Frame | NDArray[np.float32]

# Options that replace a setting of the session for one call.
_SETTINGS = (
    "model",
    "dimension",
    "task_type",
    "unit_length",
    "on_error",
    "concurrency",
    "requests_per_minute",
    "batch_size",
)


class EmbedOptions(TypedDict, total=False):
    """The options of `vn_magic.embed`; None means the session's setting."""

    column: str | None
    model: str | None
    dimension: int | None
    task_type: TaskType | None
    title: str | None
    result: Result
    unit_length: bool | None
    on_error: OnError | None
    concurrency: int | None
    requests_per_minute: int | None
    batch_size: int | None
    refresh: bool
    cache: bool
    max_requests: int | None
    max_tokens: int | None


@dataclass(frozen=True, slots=True, eq=False)
class Request:
    """A call to embed with every option settled; ``first_row`` is the number of its first row as errors say it."""

    source: Source
    recipe: Recipe
    options: JobOptions
    result: Result
    first_row: int = 0

    def shaped(self, embeddings: Embeddings) -> Vectors:
        """Return the result in the shape that was asked for."""
        if self.result == "numpy":
            # Nobody else holds this matrix, so its owner may write to it; views in a frame stay read-only.
            embeddings.matrix.setflags(write=True)
            return embeddings.matrix
        return to_frame(embeddings, self.source, with_errors=self.options.on_error == "keep")


def settle(texts: object, settings: Settings, **options: Unpack[EmbedOptions]) -> Request:
    """Check everything that can be checked before a job: the texts' container, recipe and options.

    Raises
    ------
    InputError
        When the texts' container is of no use, the model has no such dimension or no tasks, or a title has no
        document to go with.
    SettingsError
        When a value is impossible by itself.
    """
    result = options.get("result", "df")
    if result not in get_args(Result):
        raise InputError(f"result is {result!r}, expected one of {', '.join(get_args(Result))}.")
    source = source_of(texts, options.get("column"))
    for name in _SETTINGS:
        value: Any = options.get(name)
        if value is not None:
            settings = settings.with_value(name, value, "this call")
    check_budget("max_requests", options.get("max_requests"))
    check_budget("max_tokens", options.get("max_tokens"))
    job_options = JobOptions(
        settings.on_error,
        settings.concurrency,
        settings.requests_per_minute,
        settings.batch_size,
        refresh=options.get("refresh", False),
        use_cache=options.get("cache", True),
        max_requests=options.get("max_requests"),
        max_tokens=options.get("max_tokens"),
    )
    return Request(source, _recipe(settings, options.get("title")), job_options, result)


def _recipe(settings: Settings, title: str | None) -> Recipe:
    facts = facts_of(settings.model)
    facts.check_dimension(settings.model, settings.dimension)
    task: str | None = settings.task_type
    if not facts.has_task_type:
        if settings.source_of("task_type") != "default":
            raise InputError(
                f"{settings.model} has no task types; write the task into the text, e.g. 'task: search result | "
                f"query: …'.\nNext: leave out the task ({task}, from {settings.source_of('task_type')})."
            )
        task = None
    if title is not None and task != "RETRIEVAL_DOCUMENT":
        raise InputError(f"A title goes only with the task RETRIEVAL_DOCUMENT, and the task is {task}.")
    return Recipe(settings.model, settings.dimension, task, title, settings.unit_length)
