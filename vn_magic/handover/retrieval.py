"""Documents and queries for other people's stores: one model, one size, one place, and two tasks that meet."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from vn_magic.current import current_session
from vn_magic.embeddings import Provenance
from vn_magic.exceptions import InputError, ProvenanceError
from vn_magic.frames import EMBEDDING_COLUMN, Frame, matrix_of, provenance_of, source_of
from vn_magic.models import OFFLINE_MODEL, facts_of
from vn_magic.queries import check_place
from vn_magic.request import EmbedOptions, Vectors
from vn_magic.session import Session
from vn_magic.settings import Recipe, TaskType
from vn_magic.texts import checked_texts


class Retrieval:
    """How the documents of a store and the queries to it are embedded, so that they can be compared.

    Who embeds them is the session that is current at each call; nothing of it is kept here, so that nothing secret can
    be in whatever a store writes down.

    Parameters
    ----------
    model, dimension
        None means the session's setting at this moment: later changes do not reach a store that has vectors.
    document_task, query_task
        None means ``RETRIEVAL_DOCUMENT`` and ``RETRIEVAL_QUERY``, for models that have tasks.
    source
        Whose vectors they must be: the gateway's host, or ``offline-lexical``. None takes the first that come.

    Raises
    ------
    InputError
        When the model has no such dimension, or no tasks and one is named; when the source is no host.
    SettingsError
        When a value is impossible by itself.
    ProvenanceError
        When vectors of the two tasks cannot be compared.
    """

    def __init__(
        self,
        *,
        model: str | None = None,
        dimension: int | None = None,
        document_task: TaskType | None = None,
        query_task: TaskType | None = None,
        source: str | None = None,
    ) -> None:
        _check_source(source)
        session = current_session()
        model = session.settings.model if model is None else model
        model = OFFLINE_MODEL if source == OFFLINE_MODEL else model
        if facts_of(model).has_task_type:
            document_task, query_task = document_task or "RETRIEVAL_DOCUMENT", query_task or "RETRIEVAL_QUERY"

        def settled(task: TaskType | None) -> Recipe:
            return session.prepare([], model=model, dimension=dimension, task_type=task).recipe

        recipes = session.guard(lambda: (settled(document_task), settled(query_task)))
        self.model, self.dimension = model, recipes[0].dimension
        self.document_task, self.query_task = document_task, query_task
        self.source = source
        place = source or session.expected_source
        self._provenance(document_task, place).check_comparable(self._provenance(query_task, place))

    def as_json(self) -> dict[str, Any]:
        """Return what another one like this is made from, in plain JSON. The stand-in's vectors bear its name."""
        model = OFFLINE_MODEL if self.source == OFFLINE_MODEL else self.model
        tasks = {"document_task": self.document_task, "query_task": self.query_task}
        return {"source": self.source, "model": model, "dimension": self.dimension, **tasks}

    def embed(self, texts: object, task: TaskType | None) -> NDArray[np.float32]:
        """Embed texts and wait for them, float32 ``(texts, dimension)``, unit length, in the order of the input.

        Raises
        ------
        InputError
            When a text cannot be embedded. Nothing was sent.
        ProvenanceError
            When the vectors would be, or have turned out to be, of another place than the store's.
        VnMagicError
            See `vn_magic.embed`. Finished texts are in the cache.
        """
        session = current_session()
        values = self._checked(texts, task, session)
        return self._taken(session.embed(values, **self._options(values, task, session))) if values else self._nothing

    async def aembed(self, texts: object, task: TaskType | None) -> NDArray[np.float32]:
        """Do `embed` without blocking the caller's event loop; cancelling the task stops the job."""
        session = current_session()
        values = self._checked(texts, task, session)
        options = self._options(values, task, session)
        return self._taken(await session.aembed(values, **options)) if values else self._nothing

    @property
    def _nothing(self) -> NDArray[np.float32]:
        return np.empty((0, self.dimension), dtype=np.float32)

    def _options(self, texts: Sequence[str], task: TaskType | None, session: Session) -> EmbedOptions:
        # A store has no place for a text without a vector, whatever the session does about such rows.
        return {
            "model": self._name_for(texts, task, session),
            "dimension": self.dimension,
            "task_type": task,
            "unit_length": True,
            "on_error": "stop",
        }

    def _name_for(self, texts: Sequence[str], task: TaskType | None, session: Session) -> str:
        """Return the model to ask for. The stand-in answers to any name, a pack to the one it was recorded under."""
        in_use = session.pack
        if in_use is None or not in_use.strict or (self.source or session.expected_source) != OFFLINE_MODEL:
            return self.model
        pack = in_use.pack
        for model in (self.model, *(group.model for group in pack.manifest.groups if group.source == OFFLINE_MODEL)):
            if all(pack.find(text, Recipe(model, self.dimension, task)) for text in texts):
                return model
        return self.model

    def _provenance(self, task: TaskType | None, source: str) -> Provenance:
        model = OFFLINE_MODEL if source == OFFLINE_MODEL else self.model
        return Provenance(source, model, task, self.dimension, unit_length=True)

    def _checked(self, texts: object, task: TaskType | None, session: Session) -> list[str]:
        """Return the texts, when they may be sent."""
        given = source_of(texts).values
        try:
            values, _ = checked_texts(given, "stop")
        except InputError as error:
            what = str(error).partition("\n")[0]
            raise InputError(f"{what}\nNext: leave them out; a store has no place for what has no vector.") from None
        kept = [text for text in values if text is not None]
        if kept and self.source is not None:
            check_place(kept, self._provenance(task, self.source), session)
        return kept

    def _taken(self, vectors: Vectors) -> NDArray[np.float32]:
        """Return the matrix of a result, when it is of the right place; its answers say of which they are."""
        frame = cast("Frame", vectors)
        came_from = provenance_of(frame, EMBEDDING_COLUMN).source
        self.source = self.source or came_from
        if came_from != self.source:
            raise ProvenanceError(
                f"Vectors from {self.source} belong here, but {came_from} has answered: they cannot be compared.\n"
                f"Next: go back there, or begin anew with source={came_from!r}."
            )
        return matrix_of(frame[EMBEDDING_COLUMN])


def _check_source(source: object) -> None:
    """Refuse a URL, and do not quote it: a store would write it down, with the password that may be in it."""
    if source is None or (isinstance(source, str) and source and not {"/", "@"} & set(source)):
        return
    raise InputError(
        "source says whose vectors these must be, and what is given is neither a host nor the stand-in's name.\n"
        f"Next: source='www.vectronode.com' or source={OFFLINE_MODEL!r}, without https:// and path."
    )
