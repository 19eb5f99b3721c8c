"""A comparison for people to look at: a table and a chart."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from vn_magic.classroom.comparison_notes import ATTRS_KEY, SETTINGS, setting_names
from vn_magic.exceptions import InputError
from vn_magic.explore.charts import dots_spec
from vn_magic.explore.comparison import MOST_ROWS
from vn_magic.explore.figures import Dots
from vn_magic.explore.labels import one_line
from vn_magic.explore.static_charts import dots_svg
from vn_magic.pictures import Picture
from vn_magic.wording import counted


def said_of(table: pd.DataFrame) -> Mapping[str, Any]:
    """Return what a comparison says of itself.

    Raises
    ------
    InputError
        When the frame does not say so (any more).
    """
    said = table.attrs.get(ATTRS_KEY)
    if not isinstance(said, Mapping):
        raise InputError(
            "This frame does not say what it compares: pandas drops that note (attrs) when it joins frames.\n"
            "Next: take the frame as compare returned it."
        )
    return said


def shown(table: pd.DataFrame) -> pd.DataFrame:
    """Return a comparison as people read it: rounded, and the figures named with their number of neighbours."""
    k = said_of(table)["k"]
    figures = {name: 3 for name in table.columns if name not in (*SETTINGS, "seconds")}
    return table.round({**figures, "seconds": 2}).rename(columns={"overlap": f"overlap@{k}", "purity": f"purity@{k}"})


def chart(table: pd.DataFrame) -> Picture:
    """Draw a comparison: a panel a figure, a line a setting.

    Raises
    ------
    InputError
        When the frame is none that `compare` returned, or has no lines.
    """
    said = said_of(table)
    if table.empty:
        raise InputError("The comparison has no lines, so there is nothing to draw.")
    k = said["k"]
    titles = {"overlap": f"overlap@{k}", "rank_correlation": "rank correlation", "purity": f"purity@{k}"}
    panels = [
        (titles.get(name, name), [None if pd.isna(value) else float(value) for value in table[name]])
        for name in (*titles, "silhouette")
        if name in table.columns
    ]
    varying = [name for name in SETTINGS if len(set(setting_names(table, [name]))) > 1]
    names = setting_names(table, varying or SETTINGS)
    if len(set(names)) < len(names):
        names = [f"({line}) {name}" for line, name in enumerate(names)]
    title = f"Comparison of {counted(len(table), 'setting')}"
    source = f"{said['source']}: lexical, not semantic" if said["offline"] else said["source"]
    caption = (f"Overlap and rank correlation: with {said['reference']}.", f"{_rows_told(said)} · {source}")
    lines = [
        f"{name}: " + ", ".join(f"{figure} {values[line]:.3f}" for figure, values in panels if values[line] is not None)
        for line, name in enumerate(names)
    ]
    dots = Dots(names, panels, title, caption)
    said_in_words = "\n".join(map(one_line, (title, *caption, *lines)))
    return Picture(dots_spec(dots, said_in_words), dots_svg(dots), said_in_words)


def _rows_told(said: Mapping[str, Any]) -> str:
    count = said["rows"] - len(said["failed"])
    of = f" of {said['rows']:,}" if said["failed"] else ""
    sample = f", of which {MOST_ROWS:,} were sampled" if count > MOST_ROWS else ""
    return f"{count:,}{of} rows{sample}"
