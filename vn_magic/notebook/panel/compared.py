"""What a comparison has brought, as it is shown: its table, what is said about it, and its chart."""

from __future__ import annotations

import math
from dataclasses import dataclass
from html import escape

from vn_magic.classroom.comparison_report import chart, said_of, shown
from vn_magic.frames import Frame
from vn_magic.pictures import Picture
from vn_magic.wording import counted


@dataclass(frozen=True, slots=True, eq=False)
class Compared:
    """A comparison to look at; nobody writes into it, whatever becomes of the frame.

    Parameters
    ----------
    head
        What it is: its name, how many settings and rows, and where the vectors come from.
    notes
        Sentences for the reader.
    table, text
        The figures as HTML and as plain text.
    picture
        The chart.
    offline
        Whether its vectors are the stand-in's.
    cell
        What gives it again.
    """

    head: str
    notes: tuple[str, ...]
    table: str
    text: str
    picture: Picture
    offline: bool
    cell: str


def compared(name: str, table: Frame, cell: str) -> Compared:
    """Return how a frame of `run_comparison` is shown."""
    said, figures = said_of(table), shown(table)
    size = f"{counted(len(table), 'setting')} × {counted(said['rows'], 'row')}"
    return Compared(
        f"{name or 'comparison'}   {size}   {said['source']}",
        tuple(said["notes"]),
        _table_html(figures),
        figures.to_string(),
        chart(table),
        said["offline"],
        cell,
    )


def _table_html(figures: Frame) -> str:
    """Return a table whose cells say their column, for pages too narrow for a line: see panel.css."""
    names = [str(name) for name in figures.columns]
    head = "".join(f'<th scope="col" role="columnheader">{escape(name)}</th>' for name in names)
    rows = "".join(
        f'<tr role="row">{"".join(_cell(name, value) for name, value in zip(names, line, strict=True))}</tr>'
        for line in figures.itertuples(index=False)
    )
    # Roles: a table whose rows are laid out as blocks is none for screen readers, unless that is said.
    return (
        '<div class="vn-compared"><table role="table">'
        f'<thead role="rowgroup"><tr role="row">{head}</tr></thead><tbody role="rowgroup">{rows}</tbody></table></div>'
    )


def _cell(name: str, value: object) -> str:
    if isinstance(value, float):
        said = "—" if math.isnan(value) else f"{value:.{2 if name == 'seconds' else 3}f}"
    else:
        said = "—" if value is None else str(value)
    return f'<td role="cell" data-name="{escape(name)}">{escape(said)}</td>'
