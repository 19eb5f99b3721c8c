"""Table: the rows of a result, page by page."""

from __future__ import annotations

from collections.abc import Callable
from html import escape

import ipywidgets as widgets

from vn_magic.embeddings import Embeddings
from vn_magic.explore.labels import shortened
from vn_magic.notebook.panel.row_list import RowList, ShownRow
from vn_magic.notebook.panel.tasks import Tasks
from vn_magic.notebook.strip import strip_html

_PAGE_ROWS = 10
_REASON_CHARACTERS = 90


class Table:
    """Text and a strip of the vector, ten rows at a time.

    Parameters
    ----------
    on_pick
        Called with the number of the row that was clicked.
    tasks
        Runs what widgets call.
    """

    def __init__(self, on_pick: Callable[[int], None], tasks: Tasks) -> None:
        self._embeddings: Embeddings | None = None
        self._first = 0
        self._rows = RowList(_PAGE_ROWS, on_pick, tasks)
        self._back = widgets.Button(description="Previous", layout={"width": "auto"})
        self._on = widgets.Button(description="Next", layout={"width": "auto"})
        self._place = widgets.HTML()
        self.widget = widgets.VBox([self._rows.widget, widgets.HBox([self._back, self._on, self._place])])
        self._back.on_click(tasks.callback(lambda: self._turn(-_PAGE_ROWS)))
        self._on.on_click(tasks.callback(lambda: self._turn(_PAGE_ROWS)))

    def show(self, embeddings: Embeddings | None) -> None:
        """Show the first page of a result, or hold nothing."""
        self._embeddings, self._first = embeddings, 0
        self._turn(0)

    def _turn(self, rows: int) -> None:
        embeddings = self._embeddings
        if embeddings is None:
            self._rows.show(())
            self._place.value = ""
            return
        count = len(embeddings)
        self._first = min(max(self._first + rows, 0), max(count - 1, 0) // _PAGE_ROWS * _PAGE_ROWS)
        page = range(self._first, min(self._first + _PAGE_ROWS, count))
        self._rows.show([ShownRow(row, embeddings.texts[row], _strip_or_failure(embeddings, row)) for row in page])
        self._back.disabled = self._first == 0
        self._on.disabled = page.stop >= count
        self._place.value = f'<div class="vn-note" role="status">rows {page.start}–{page.stop - 1} of {count:,}</div>'


def _strip_or_failure(embeddings: Embeddings, row: int) -> str:
    if row in embeddings.errors:
        return f"<em>failed: {escape(shortened(embeddings.errors[row], _REASON_CHARACTERS))}</em>"
    return strip_html(embeddings.matrix[row])
