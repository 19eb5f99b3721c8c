"""Results: what the last job brought, as a table, a map, neighbours or a heatmap, one of them at a time."""

from __future__ import annotations

from concurrent.futures import Future

import ipywidgets as widgets

from vn_magic.notebook.panel.neighbours import Neighbours
from vn_magic.notebook.panel.result import PanelResult
from vn_magic.notebook.panel.table import Table
from vn_magic.notebook.panel.tasks import Message, Tasks
from vn_magic.notebook.phrases import head_line, place_of
from vn_magic.pictures import heatmap, scatter
from vn_magic.session import Session

TABLE, MAP, NEIGHBOURS, HEATMAP = "Table", "Map", "Neighbours", "Heatmap"


class Results:
    """The views of one result. Only the one in view holds anything, for a notebook may save what widgets hold.

    Parameters
    ----------
    session
        Embeds the questions that are asked of the result.
    """

    def __init__(self, session: Session) -> None:
        self._result: PanelResult | None = None
        self._on_view = True
        self._message = Message()
        self._tasks = Tasks(session, self._message)
        self._drawing: Future[None] | None = None
        self._what = Message()
        self._view = widgets.RadioButtons(
            options=[TABLE, MAP, NEIGHBOURS, HEATMAP],
            orientation="horizontal",
            layout={"width": "auto"},
        )
        self._table = Table(self._look_around, self._tasks)
        self._neighbours = Neighbours(session, self._tasks)
        self._picture = widgets.Output()
        self._picture.add_class("vn-picture")
        views = [self._table.widget, self._neighbours.widget, self._picture]
        self.widget = widgets.VBox([self._what.widget, self._view, self._message.widget, *views])
        self._arrange()
        self._view.observe(self._tasks.callback(self._arrange), "value")

    def show(self, result: PanelResult) -> None:
        """Show a new result, in the view that people are looking at."""
        self._result = result
        self._arrange()

    def turn(self, *, on_view: bool) -> None:
        """Fill the view that people look at, or hold nothing while they look at something else."""
        self._on_view = on_view
        self._arrange()

    def _look_around(self, row: int) -> None:
        self._view.value = NEIGHBOURS
        self._neighbours.look_around(row)

    def _arrange(self) -> None:
        """Say whose rows these are, fill the view that is looked at, and empty the others."""
        result = self._result
        view = self._view.value if result is not None and self._on_view else None
        embeddings = result.embeddings if result is not None else None
        if result is None:
            self._what.say(["Run shows the rows here, as a table, a map, neighbours or a heatmap."])
        else:
            # A later job may fail, or be under way: these are still the rows of this one.
            origin = place_of(result.embeddings.provenance)
            self._what.say([f"{head_line(result.name, result.embeddings)} · {origin}"])
        self._view.layout.display = None if view else "none"
        self._message.clear()
        if self._drawing is not None:
            self._drawing.cancel()
        parts: dict[str | None, Table | Neighbours] = {TABLE: self._table, NEIGHBOURS: self._neighbours}
        for part in parts.values():
            part.widget.layout.display = "none"
            part.show(None)
        if view in parts:
            parts[view].show(embeddings)
            parts[view].widget.layout.display = None
        self._picture.outputs = ()
        self._picture.layout.display = None if view in (MAP, HEATMAP) else "none"
        if result is not None and view in (MAP, HEATMAP):
            self._message.say(["Drawing…"])
            self._drawing = self._tasks.start(lambda: self._draw(result, view))

    async def _draw(self, result: PanelResult, view: str) -> None:
        picture = await result.picture(scatter if view == MAP else heatmap)
        # Else people look at something else by now: the other thread may just be at it.
        if result is self._result and self._on_view and view == self._view.value:
            self._message.clear()
            bundle = {"output_type": "display_data", "data": picture._repr_mimebundle_(), "metadata": {}}
            self._picture.outputs = (bundle,)
