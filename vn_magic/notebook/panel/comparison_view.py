"""What the last comparison brought: sentences, a table and a chart."""

from __future__ import annotations

import ipywidgets as widgets

from vn_magic.notebook.panel.compared import Compared
from vn_magic.notebook.panel.tasks import Message


class ComparisonView:
    """Holds a comparison while people look at it, for a notebook may save what widgets hold."""

    def __init__(self) -> None:
        self._result: Compared | None = None
        self._on_view = True
        self._what = Message()
        self._table = widgets.HTML()
        self._notes = Message()
        self._picture = widgets.Output()
        self._picture.add_class("vn-picture")
        self._picture.add_class("vn-chart")
        self.widget = widgets.VBox([self._what.widget, self._table, self._notes.widget, self._picture])
        self._arrange()

    def show(self, result: Compared) -> None:
        """Show a new comparison."""
        self._result = result
        self._arrange()

    def turn(self, *, on_view: bool) -> None:
        """Show the comparison, or hold nothing while people look at something else."""
        self._on_view = on_view
        self._arrange()

    def _arrange(self) -> None:
        result = self._result if self._on_view else None
        nothing = "Run shows a line for each setting here: a table, what there is to say about it, and a chart."
        self._what.say([nothing if result is None else result.head])
        self._notes.say([] if result is None else result.notes)
        self._table.value = "" if result is None else result.table
        bundle = {"output_type": "display_data", "data": {}, "metadata": {}}
        self._picture.outputs = () if result is None else ({**bundle, "data": result.picture._repr_mimebundle_()},)
        self._picture.layout.display = self._table.layout.display = "none" if result is None else None
