"""A job of the panel, what it has brought, and its pictures, each drawn once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from vn_magic.embeddings import Embeddings
from vn_magic.pictures import Picture
from vn_magic.request import Request

Draw = Callable[..., Picture]


@dataclass(frozen=True, slots=True, eq=False)
class PanelJob:
    """A request, the name of its result, and the cell that would do the same."""

    request: Request
    name: str
    cell: str


class PanelResult:
    """A result under its name.

    Parameters
    ----------
    name
        The variable that it was bound to.
    embeddings
        Nobody else writes into them.
    """

    def __init__(self, name: str, embeddings: Embeddings) -> None:
        self.name = name
        self.embeddings = embeddings
        self._pictures: dict[Draw, asyncio.Task[Picture]] = {}

    async def picture(self, draw: Draw) -> Picture:
        """Return what `vn_magic.pictures.scatter` or ``heatmap`` makes of it. Runs on the session's loop.

        Raises
        ------
        InputError
            When there is nothing to draw.
        """
        drawing = self._pictures.get(draw)
        if drawing is None or drawing.cancelled():
            drawing = self._pictures[draw] = asyncio.create_task(self._drawn(draw))
            # Whoever asked may have gone; an exception that nobody has seen would be told on stderr.
            drawing.add_done_callback(lambda done: None if done.cancelled() else done.exception())
        # Shielded: a thread that draws cannot be stopped, and someone else may want the picture.
        return await asyncio.shield(drawing)

    async def _drawn(self, draw: Draw) -> Picture:
        of = self.embeddings
        return await asyncio.to_thread(draw, of.matrix, of.texts, provenance=of.provenance)
