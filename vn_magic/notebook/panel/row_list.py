"""Rows of a result, each a button: a list that a mouse, a finger or the keyboard can pick from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from html import escape

import ipywidgets as widgets

from vn_magic.explore.labels import shortened
from vn_magic.notebook.panel.tasks import Tasks

_SHOWN_CHARACTERS = 200


@dataclass(frozen=True, slots=True)
class ShownRow:
    """One line of the list: its row number, its text, and a strip or a score as HTML of our own making."""

    row: int
    text: str | None
    beside: str


class RowList:
    """A fixed number of lines that are filled anew; what is not shown is not held, or a notebook would save it.

    Parameters
    ----------
    size
        How many lines there are.
    on_pick
        Called with the number of the row that was clicked.
    tasks
        Runs what widgets call.
    """

    def __init__(self, size: int, on_pick: Callable[[int], None], tasks: Tasks) -> None:
        self._on_pick = on_pick
        self._shown: Sequence[ShownRow] = ()
        self._texts = [widgets.Button(layout={"width": "auto", "flex": "1 1 0%"}) for _ in range(size)]
        self._beside = [widgets.HTML(layout={"flex": "0 0 auto"}) for _ in range(size)]
        self._lines = [
            widgets.HBox(pair, layout={"display": "none"}) for pair in zip(self._texts, self._beside, strict=True)
        ]
        self.widget = widgets.VBox(self._lines)
        self.widget.add_class("vn-rows")
        for place, button in enumerate(self._texts):
            button.on_click(tasks.callback(partial(self._pick, place)))

    def show(self, rows: Sequence[ShownRow]) -> None:
        """Show these rows, as many as there are lines."""
        self._shown = rows[: len(self._lines)]
        for place, line in enumerate(self._lines):
            row = self._shown[place] if place < len(self._shown) else None
            line.layout.display = None if row else "none"
            self._texts[place].description = f"{row.row} · {shortened(row.text, _SHOWN_CHARACTERS)}" if row else ""
            self._texts[place].tooltip = f"Look around row {row.row}" if row else ""
            self._beside[place].value = row.beside if row else ""

    def _pick(self, place: int) -> None:
        if place < len(self._shown):
            self._on_pick(self._shown[place].row)


def score_html(score: float) -> str:
    """Return a cosine similarity as a number and a bar."""
    filled = round(100 * min(max(score, 0.0), 1.0))
    return (
        f'<span class="vn-score"><span class="vn-score-bar" style="--score:{filled}%"></span>'
        f"<span>{escape(f'{score:.3f}')}</span></span>"
    )
