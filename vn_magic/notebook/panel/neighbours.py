"""Neighbours: the rows nearest to a question, or to one of the rows."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from html import escape
from typing import Any

import ipywidgets as widgets
import numpy as np
from numpy.typing import NDArray

from vn_magic.embeddings import Embeddings
from vn_magic.exceptions import InputError
from vn_magic.explore.labels import shortened
from vn_magic.explore.neighbors import nearest
from vn_magic.notebook.panel.row_list import RowList, ShownRow, score_html
from vn_magic.notebook.panel.tasks import Tasks
from vn_magic.queries import query_request
from vn_magic.session import Session
from vn_magic.wording import counted

_MOST = 20
_ABOUT_CHARACTERS = 60
# Seconds; two messages of one key press are read one after the other.
_BETWEEN_MESSAGES = 0.1


@dataclass(frozen=True, slots=True)
class _Question:
    """A text, or the number of a row to look around; and how many rows to find."""

    asked: str | int
    k: int


class Neighbours:
    """A search field over a list of what was found; clicking a row looks around that row.

    Parameters
    ----------
    session
        Embeds questions, at the cost of one text each.
    tasks
        Runs the search, and shows what goes wrong.
    """

    def __init__(self, session: Session, tasks: Tasks) -> None:
        self._session = session
        self._tasks = tasks
        self._embeddings: Embeddings | None = None
        self._asked: _Question | None = None
        self._search: Future[None] | None = None
        self._query = widgets.Text(
            description="Find",
            placeholder="a question or a few words, then Enter",
            continuous_update=False,
            layout={"flex": "1 1 180px", "width": "auto"},
        )
        self._k = widgets.BoundedIntText(value=5, min=1, max=_MOST, description="How many", layout={"width": "150px"})
        self._find = widgets.Button(description="Search", layout={"width": "auto"})
        self._heading = widgets.HTML()
        self._rows = RowList(_MOST, self.look_around, tasks)
        controls = widgets.HBox([self._query, self._k, self._find], layout={"flex_flow": "row wrap"})
        self.widget = widgets.VBox([controls, self._heading, self._rows.widget])
        self._query.on_msg(self._hear)
        self._k.observe(tasks.callback(self._ask_again), "value")
        self._find.on_click(tasks.callback(self._ask))

    def show(self, embeddings: Embeddings | None) -> None:
        """Search in a result from now on, or hold nothing."""
        self._embeddings, self._asked = embeddings, None
        self._rows.show(())
        self._heading.value = "" if embeddings is None else _heading("Type a question, or click a row in the table.")
        self._query.value = ""

    def look_around(self, row: int) -> None:
        """Find the rows nearest to a row."""
        self._tasks.callback(lambda: self._start(_Question(row, self._k.value)))(None)

    def _hear(self, _field: object, content: Mapping[str, Any], _buffers: object) -> None:
        """Search on Enter. Not on every change: the field also tells one when people leave it half-typed."""
        if content.get("event") == "submit":
            self._tasks.callback(self._ask_after_enter)(None)

    def _ask_after_enter(self) -> None:
        self._tasks.start(self._ask_soon)

    async def _ask_soon(self) -> None:
        # The browser tells of Enter just before it tells what was typed.
        await asyncio.sleep(_BETWEEN_MESSAGES)
        self._ask()

    def _ask(self) -> None:
        query = self._query.value.strip()
        if query:
            self._start(_Question(query, self._k.value))

    def _ask_again(self) -> None:
        if self._asked is not None:
            self._start(_Question(self._asked.asked, self._k.value))

    def _start(self, question: _Question) -> None:
        """Search, unless just that is being searched: Enter and a click may both ask, and a question costs a text."""
        embeddings = self._embeddings
        if embeddings is None or (question == self._asked and self._search is not None and not self._search.done()):
            return
        if len(embeddings.errors) == len(embeddings):
            raise InputError("No row has a vector, so nothing is near.\nNext: see the table for the reasons.")
        self._asked = question
        self._tasks.message.clear()
        self._rows.show(())
        self._heading.value = _heading("Searching…")
        self._search = self._tasks.start(lambda: self._found(question, embeddings))

    async def _found(self, question: _Question, embeddings: Embeddings) -> None:
        try:
            await self._find_and_show(question, embeddings)
        except BaseException:
            self._heading.value = _heading("")
            raise

    async def _find_and_show(self, question: _Question, embeddings: Embeddings) -> None:
        row = question.asked if isinstance(question.asked, int) else None
        if row is not None and row in embeddings.errors:
            raise InputError(f"Row {row} has no vector: {embeddings.errors[row]}")
        vector = embeddings.matrix[row] if row is not None else await self._embedded(str(question.asked), embeddings)
        rows, scores = await asyncio.to_thread(
            nearest,
            embeddings.matrix,
            vector,
            question.k,
            exclude=row,
            unit_length=embeddings.provenance.unit_length,
        )
        if question != self._asked or embeddings is not self._embeddings:
            return  # overtaken by a later question
        found = zip(rows.tolist(), scores.tolist(), strict=True)
        self._rows.show([ShownRow(place, embeddings.texts[place], score_html(score)) for place, score in found])
        about = (
            f"row {row} · {shortened(embeddings.texts[row], _ABOUT_CHARACTERS)}"
            if row is not None
            else f"“{question.asked}”"
        )
        self._heading.value = _heading(
            f"{counted(len(rows), 'row')} nearest to {about}, by cosine similarity (click one to look around it):"
        )

    async def _embedded(self, query: str, embeddings: Embeddings) -> NDArray[np.float32]:
        answer = await self._session.run_job(query_request(query, embeddings.provenance, self._session))
        embeddings.provenance.check_comparable(answer.provenance)
        vector: NDArray[np.float32] = answer.matrix[0]
        return vector


def _heading(text: str) -> str:
    return f'<div class="vn-note" role="status">{escape(text)}</div>'
