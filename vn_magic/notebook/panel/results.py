"""Results: what the last job brought, as a table, a map, neighbours or a heatmap, one of them at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future

import ipywidgets as widgets

from vn_magic.embeddings import Embeddings
from vn_magic.notebook.panel.neighbours import Neighbours
from vn_magic.notebook.panel.table import Table
from vn_magic.notebook.panel.tasks import Message, Tasks
from vn_magic.pictures import Picture, heatmap, scatter
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
        self._embeddings: Embeddings | None = None
        self._message = Message()
        self._tasks = Tasks(session, self._message)
        self._drawing: Future[None] | None = None
        self._view = widgets.RadioButtons(
            options=[TABLE, MAP, NEIGHBOURS, HEATMAP],
            orientation="horizontal",
            layout={"width": "auto"},
        )
        self._table = Table(self._look_around)
        self._neighbours = Neighbours(session, self._tasks)
        self._picture = widgets.Output()
        self._picture.add_class("vn-picture")
        self.widget = widgets.VBox(
            [self._view, self._message.widget, self._table.widget, self._neighbours.widget, self._picture],
            layout={"width": "auto"},
        )
        self._arrange()
        self._view.observe(self._tasks.callback(self._arrange), "value")

    def show(self, embeddings: Embeddings) -> None:
        """Show a new result, in the view that people are looking at."""
        self._embeddings = embeddings
        self._arrange()

    def _look_around(self, row: int) -> None:
        self._view.value = NEIGHBOURS
        self._neighbours.look_around(row)

    def _arrange(self) -> None:
        """Fill the view that is looked at, and empty the others."""
        embeddings = self._embeddings
        view = self._view.value if embeddings is not None else None
        self._view.layout.display = None if view else "none"
        self._message.say([] if view else ["Run shows the rows here, as a table, a map, neighbours or a heatmap."])
        if self._drawing is not None:
            self._drawing.cancel()
        for name, part in ((TABLE, self._table), (NEIGHBOURS, self._neighbours)):
            part.widget.layout.display = None if view == name else "none"
            part.show(embeddings if view == name else None)
        self._picture.outputs = ()
        self._picture.layout.display = None if view in (MAP, HEATMAP) else "none"
        if embeddings is not None and view in (MAP, HEATMAP):
            draw = scatter if view == MAP else heatmap
            self._drawing = self._tasks.start(lambda: self._draw(draw, embeddings))

    async def _draw(self, draw: Callable[..., Picture], embeddings: Embeddings) -> None:
        picture = await asyncio.to_thread(draw, embeddings.matrix, embeddings.texts, provenance=embeddings.provenance)
        self._picture.outputs = ({"output_type": "display_data", "data": picture._repr_mimebundle_(), "metadata": {}},)
