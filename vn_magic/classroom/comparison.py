"""``compare``: the same texts under several settings, a line for each, and what that does to their neighbourhoods."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import CancelledError

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from vn_magic.budget import session_budget
from vn_magic.classroom.comparison_notes import ATTRS_KEY, Outcome, attrs_of
from vn_magic.classroom.settings_grid import GridJob, SettingsGrid, settings_grid
from vn_magic.current import current_session
from vn_magic.embeddings import Embeddings
from vn_magic.exceptions import EmbeddingInterruptedError
from vn_magic.explore.comparison import (
    have_direction,
    neighbor_overlap,
    neighbor_purity,
    rank_correlation,
    silhouette,
)
from vn_magic.progress import ProgressEvent, ProgressListener
from vn_magic.session import Session
from vn_magic.texts import estimated_tokens


def compare(
    data: object,
    *,
    column: str | None = None,
    models: str | Iterable[str] | None = None,
    task_types: str | Iterable[str] | None = None,
    dimensions: int | Iterable[int] | None = None,
    labels: object = None,
    k: int = 10,
    session: Session | None = None,
) -> pd.DataFrame:
    """Embed texts under every combination of settings, and tell what that does to their neighbourhoods.

    Vectors of different models and tasks are never compared with each other; what is near to what among the rows is.
    `comparison_report.chart` draws the result, and `comparison_report.shown` rounds it for reading.

    Parameters
    ----------
    data
        What `vn_magic.embed` takes: a list, a Series, an array of str, or a DataFrame.
    column
        The column of a DataFrame that holds the texts; it may be left out where there is only one of texts.
    models, task_types, dimensions
        One or several of each; None means the session's setting. The lines of the result are models × task types ×
        dimensions, in the order given; the first is the reference.
    labels
        A column of a DataFrame, or a value a row, by position: what near rows should have in common. Rows without one
        (None, NaN) count for neither purity nor silhouette.
    k
        How many neighbours of a row are looked at.
    session
        None means the shell's, else one made from the environment.

    Returns
    -------
    DataFrame
        A line a setting: ``model``, ``task_type``, ``dimension``; ``overlap`` and ``rank_correlation`` with the first
        line, and with labels ``purity`` and ``silhouette`` (see `vn_magic.explore.comparison` for the formulas);
        ``requests``, ``tokens`` and ``seconds`` that its vectors took. ``attrs["comparison"]`` holds, as plain JSON,
        where the vectors come from, how many rows counted, ``k``, and ``notes``: sentences for the reader.

    Raises
    ------
    InputError, SettingsError
        When something cannot be used; nothing was sent.
    VnMagicError
        As `vn_magic.embed`. Finished rows are in the cache, and another run goes on from there.

    Examples
    --------
    >>> import vn_magic
    >>> from vn_magic.classroom.comparison import compare
    >>> texts = ["a red rose", "a blue rose", "a red car", "a blue car"]
    >>> table = compare(texts, dimensions=[3072, 128], k=1, session=vn_magic.Session(offline=True))
    >>> list(table.overlap), list(table.requests)
    ([1.0, 0.75], [4, 0])
    """
    used = current_session() if session is None else session

    def run() -> pd.DataFrame:
        grid = settings_grid(
            data,
            used,
            column=column,
            models=models,
            task_types=task_types,
            dimensions=dimensions,
            labels=labels,
            k=k,
        )
        return wait_for_comparison(grid, used)

    return used.guard(run)


def _unheard(_event: ProgressEvent) -> None:
    """Listen to nothing."""


def wait_for_comparison(
    grid: SettingsGrid,
    session: Session,
    report: ProgressListener = _unheard,
    on_tick: Callable[[], None] | None = None,
) -> pd.DataFrame:
    """Do `run_comparison` from another thread; ``on_tick`` is called there, some ten times a second.

    Raises
    ------
    EmbeddingInterruptedError
        On Ctrl-C, or when somebody closes the session meanwhile.
    VnMagicError
        See `run_comparison`.
    """
    try:
        return session.runtime.portal.run(run_comparison(grid, session, report), on_tick=on_tick)
    except (KeyboardInterrupt, CancelledError) as error:
        why = "Stopped." if isinstance(error, KeyboardInterrupt) else "Stopped, because the session was closed."
        kept = "" if session.asks_nobody else " Rows that had arrived are in the cache; run again for the rest."
        raise EmbeddingInterruptedError(f"{why}{kept}") from None


async def run_comparison(grid: SettingsGrid, session: Session, report: ProgressListener = _unheard) -> pd.DataFrame:
    """Embed what the grid needs, one job after the other, and return its lines. Runs on the session's loop.

    Parameters
    ----------
    grid
        What to compare.
    session
        Runs the jobs.
    report
        Told of progress, in rows of all jobs together.

    Returns
    -------
    DataFrame
        As `compare`. All matrices are held until the figures are computed: a row counts only if every setting has a
        vector for it.

    Raises
    ------
    BudgetError
        When all jobs together would go beyond the session's budget; nothing was sent.
    VnMagicError
        See `Session.run_job`.
    """
    jobs = grid.jobs()
    await _check_budget(grid, jobs, session)
    progress = _Progress(len(jobs), report)
    results: list[Embeddings] = []
    for job in jobs:
        results.append(await session.run_job(grid.requests[job.carrier], progress.note))
        progress.next_job()
    is_stopped = threading.Event()
    try:
        return await asyncio.to_thread(_table, grid, jobs, results, is_stopped)
    finally:
        is_stopped.set()  # a thread cannot be cancelled, and a program would wait for it at its end


async def _check_budget(grid: SettingsGrid, jobs: Sequence[GridJob], session: Session) -> None:
    """Refuse what would go beyond the session's budget before the first of several jobs is paid for."""
    settings, totals, requests, tokens = session.settings, session.totals, 0, 0
    if settings.max_requests is None and settings.max_tokens is None:
        return
    for job in jobs:
        request = grid.requests[job.carrier]
        plan, texts = await session.plan_job(request)
        requests += request.options.requests_for(len(plan.missing))
        tokens += sum(estimated_tokens(texts[row] or "") for row in plan.missing)
    session_budget(settings).check(
        requests=requests,
        tokens=tokens,
        used_requests=totals.requests,
        used_tokens=totals.tokens_taken,
        sent="Nothing was sent.",
    )


class _Progress:
    """Makes one job's progress out of several jobs', which have the same rows."""

    def __init__(self, jobs: int, report: ProgressListener) -> None:
        self._jobs = jobs
        self._report = report
        self._before = self._latest = ProgressEvent(rows=0)

    def note(self, event: ProgressEvent) -> None:
        before = self._before
        self._latest = ProgressEvent(
            rows=self._jobs * event.rows,
            done=before.done + event.done,
            cached=before.cached + event.cached,
            recorded=before.recorded + event.recorded,
            failed=before.failed + event.failed,
            requests=before.requests + event.requests,
            retries=before.retries + event.retries,
            concurrency=event.concurrency,
            waiting=event.waiting,
            seconds=before.seconds + event.seconds,
        )
        self._report(self._latest)

    def next_job(self) -> None:
        self._before = self._latest


def _table(
    grid: SettingsGrid, jobs: Sequence[GridJob], results: Sequence[Embeddings], is_stopped: threading.Event
) -> pd.DataFrame:
    of_line = {line: (job, result) for job, result in zip(jobs, results, strict=True) for line in job.lines}
    # A prefix is not normalised again: cosines do not ask for the length.
    vectors = [of_line[line][1].matrix[:, : request.recipe.dimension] for line, request in enumerate(grid.requests)]
    usable = np.logical_and.reduce([have_direction(matrix) for matrix in vectors])
    if not usable.all():
        vectors = [matrix[usable] for matrix in vectors]
    labels = None
    if grid.labels is not None:
        labels = [label for label, used in zip(grid.labels, usable, strict=True) if used]
    lines = []
    for line, request in enumerate(grid.requests):
        if is_stopped.is_set():
            raise CancelledError
        job, result = of_line[line]
        did = result.summary if line == job.carrier else None
        lines.append(
            {
                "model": result.provenance.model,
                "task_type": result.provenance.task_type,
                "dimension": request.recipe.dimension,
                **_figures(vectors[0], vectors[line], labels, grid.k),
                "requests": did.requests if did else 0,
                "tokens": did.tokens if did else 0,
                "seconds": did.seconds if did else 0.0,
            }
        )
    table = pd.DataFrame(lines)
    table.attrs[ATTRS_KEY] = attrs_of(table, Outcome(grid, jobs, results, usable, labels))
    return table


def _figures(
    first: NDArray[np.float32], other: NDArray[np.float32], labels: Sequence[object] | None, k: int
) -> dict[str, float]:
    figures = {"overlap": neighbor_overlap(first, other, k), "rank_correlation": rank_correlation(first, other)}
    if labels is not None:
        figures |= {"purity": neighbor_purity(other, labels, k), "silhouette": silhouette(other, labels)}
    return figures
