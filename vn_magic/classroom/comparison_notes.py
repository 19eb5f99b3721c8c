"""What a comparison says of itself: where it comes from, what counted, and sentences for the reader."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from vn_magic.classroom.settings_grid import FEWEST_ROWS, GridJob, SettingsGrid
from vn_magic.embeddings import Embeddings
from vn_magic.explore.comparison import MOST_ROWS
from vn_magic.explore.labels import shortened
from vn_magic.explore.manifolds import SEED
from vn_magic.models import OFFLINE_MODEL
from vn_magic.session import OFFLINE_NOTICE
from vn_magic.wording import counted

ATTRS_KEY = "comparison"
"""Under this name ``DataFrame.attrs`` hold what a comparison says of itself, as plain JSON."""

SETTINGS = ("model", "task_type", "dimension")
"""The columns that say what a line's setting is."""

_NAMED_ROWS = 5


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """What became of a grid.

    Parameters
    ----------
    grid, jobs, results
        What was to be compared, what was sent for it, and what came, a result a job.
    usable
        Which rows have a vector in every setting, bool ``(rows,)``.
    labels
        The labels of those rows; None where nobody gave labels.
    """

    grid: SettingsGrid
    jobs: Sequence[GridJob]
    results: Sequence[Embeddings]
    usable: NDArray[np.bool_]
    labels: Sequence[object] | None

    @property
    def rows(self) -> int:
        """How many rows count."""
        return int(self.usable.sum())

    @property
    def labelled(self) -> Sequence[object]:
        """The labels of rows that count and have one."""
        return [label for label in self.labels or () if label is not None]

    @property
    def source(self) -> str:
        """Where the vectors come from."""
        return " and ".join(sorted({result.provenance.source for result in self.results}))

    @property
    def is_offline(self) -> bool:
        """Whether vectors are the stand-in's."""
        return any(result.provenance.model == OFFLINE_MODEL for result in self.results)


def attrs_of(table: pd.DataFrame, outcome: Outcome) -> dict[str, Any]:
    """Return what a comparison says of itself: plain JSON, which pandas keeps with the frame."""
    sample = {"overlap": min(outcome.rows, MOST_ROWS), "rank_correlation": min(outcome.rows, MOST_ROWS)}
    if outcome.labels is not None:
        sample |= {"purity": min(len(outcome.labelled), MOST_ROWS), "silhouette": len(outcome.labelled)}
    return {
        "source": outcome.source,
        "offline": outcome.is_offline,
        "reference": setting_names(table, SETTINGS)[0],
        "k": outcome.grid.k,
        "rows": len(outcome.usable),
        "failed": np.flatnonzero(~outcome.usable).tolist(),
        "sample": sample,
        "notes": _notes(table, outcome),
    }


def setting_names(table: pd.DataFrame, columns: Sequence[str]) -> list[str]:
    """Return what each line's setting is called, by some of its parts."""
    lines = table[list(columns)].astype(object).itertuples(index=False)
    return [" · ".join("no task" if pd.isna(part) else str(part) for part in line) for line in lines]


def _notes(table: pd.DataFrame, outcome: Outcome) -> list[str]:
    notes = [f"Overlap and rank correlation are with the first line, {setting_names(table, SETTINGS)[0]}."]
    if outcome.is_offline:
        notes += _offline_notes(outcome.grid)
    notes += _cost_notes(outcome)
    notes += _row_notes(outcome)
    notes += _chance_notes(outcome)
    told = [notice for result in outcome.results for notice in result.summary.notices if notice != OFFLINE_NOTICE]
    return [*notes, *dict.fromkeys(told)]


def _offline_notes(grid: SettingsGrid) -> list[str]:
    asked = {(request.recipe.model, request.recipe.task_type) for request in grid.requests}
    same = "They do not depend on the model or the task, so lines that differ in nothing else are equal."
    return [OFFLINE_NOTICE, same] if len(asked) > 1 else [OFFLINE_NOTICE]


def _cost_notes(outcome: Outcome) -> list[str]:
    notes = []
    if any(len(job.lines) > 1 for job in outcome.jobs):
        notes.append(
            "Dimensions of one model and task shared their requests: shorter vectors are the beginnings of the longest "
            "ones, normalised. The cost stands on the line of the longest and is 0 on the others."
        )
    kinds = {(request.recipe.model, request.recipe.task_type) for request in outcome.grid.requests}
    if len(outcome.jobs) > len(kinds):
        notes.append(
            "Some dimensions were embedded one by one: the beginnings of raw vectors, and of this model's, are not "
            "known to be vectors."
        )
    did = [result.summary for result in outcome.results]
    new, kept = sum(one.new for one in did), sum(one.cached + one.recorded for one in did)
    if kept:
        notes.append(f"{kept:,} of {new + kept:,} vectors came from the cache or a pack and cost nothing.")
    if any(one.tokens_estimated for one in did):
        notes.append("Token counts are estimates.")
    return notes


def _row_notes(outcome: Outcome) -> list[str]:
    notes = []
    failed = np.flatnonzero(~outcome.usable).tolist()
    if failed:
        why = {row: reason for result in outcome.results for row, reason in result.errors.items()}
        named = ", ".join(f"row {row} ({_reason(why.get(row))})" for row in failed[:_NAMED_ROWS])
        more = f" and {len(failed) - _NAMED_ROWS:,} more" if len(failed) > _NAMED_ROWS else ""
        left = f"{counted(len(failed), 'row')} without a vector in every setting"
        notes.append(f"{left} {'is' if len(failed) == 1 else 'are'} left out of all figures: {named}{more}.")
    if outcome.rows < FEWEST_ROWS:
        notes.append("Too few rows have a vector in every setting for anything to be compared.")
    if outcome.rows > MOST_ROWS:
        figures = (
            "Overlap, rank correlation and purity" if outcome.labels is not None else "Overlap and rank correlation"
        )
        notes.append(
            f"{figures} are those of a random sample of {MOST_ROWS:,} of the {outcome.rows:,} rows (seed {SEED}); "
            "neighbours were searched among all."
        )
    without = outcome.rows - len(outcome.labelled) if outcome.labels is not None else 0
    if without:
        notes.append(
            f"{counted(without, 'row')} without a label {'counts' if without == 1 else 'count'} for neither purity "
            "nor silhouette."
        )
    return notes


def _chance_notes(outcome: Outcome) -> list[str]:
    """Tell what the figures would be if nothing were near to anything in particular."""
    k, rows, notes = outcome.grid.k, outcome.rows, []
    if rows < FEWEST_ROWS:
        return []
    if k >= rows - 1:
        notes.append(f"With k = {k} all other rows are neighbours, so overlap is 1 whatever the vectors.")
        chance = []
    else:
        chance = [f"overlap would be about {k / (rows - 1):.2f}"]
    counts, labelled = Counter(outcome.labelled), len(outcome.labelled)
    if labelled > 1:
        pairs = sum(count * (count - 1) for count in counts.values())
        chance.append(f"purity {'' if chance else 'would be '}about {pairs / (labelled * (labelled - 1)):.2f}")
        if not 2 <= len(counts) < labelled:
            notes.append(
                "There is no silhouette: among the rows that count every label is alone, or there is only one."
            )
    return [*notes, *([f"By chance {' and '.join(chance)}."] if chance else [])]


def _reason(error: str | None) -> str:
    return shortened(error.splitlines()[0] if error else "no direction", 60)
