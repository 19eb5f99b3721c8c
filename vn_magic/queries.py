"""A question put to rows: the query's own vector, of a kind that can be compared with theirs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from vn_magic.embeddings import Provenance
from vn_magic.exceptions import ProvenanceError
from vn_magic.models import OFFLINE_MODEL
from vn_magic.request import Request
from vn_magic.session import Session
from vn_magic.settings import Recipe, host_of


def query_request(query: str, rows: Provenance, session: Session) -> Request:
    """Return the request for a query's vector: the rows' own model and size, not the session's settings.

    The task is ``RETRIEVAL_QUERY`` where the rows are ``RETRIEVAL_DOCUMENT``, else the rows' own.

    Raises
    ------
    ProvenanceError
        When the session would embed the query at another place than the rows.
    """
    task = "RETRIEVAL_QUERY" if rows.task_type == "RETRIEVAL_DOCUMENT" else rows.task_type
    asked = replace(rows, task_type=task)
    check_place([query], asked, session)
    # A question without a vector is an error, whatever the session does about rows without one.
    return replace(session.prepare([query], result="numpy", on_error="stop"), recipe=_recipe_of(asked))


def embedded_query(query: str, rows: Provenance, session: Session) -> NDArray[np.float32]:
    """Embed a query and wait for it; see `query_request`. float32 ``(dimension,)``.

    Raises
    ------
    ProvenanceError
        Also when the answer turns out to come from elsewhere than the rows.
    """
    request = query_request(query, rows, session)
    embeddings = session.guard(lambda: session.run_request(request))
    rows.check_comparable(embeddings.provenance)
    vector: NDArray[np.float32] = embeddings.matrix[0]
    return vector


def check_place(texts: Sequence[str], rows: Provenance, session: Session) -> None:
    """Refuse before a request is paid for, where it is clear already that texts could not stand beside such rows.

    Raises
    ------
    ProvenanceError
        When the session would embed the texts at another place than the rows.
    """
    if _answers_from_pack(texts, _recipe_of(rows), session):
        return
    rows_offline, session_offline = rows.model == OFFLINE_MODEL, session.settings.offline
    base_url = session.settings.base_url
    if session_offline and not rows_offline:
        raise ProvenanceError(
            f"These rows are from {rows.source}, but the session is offline: its vectors cannot be compared.\n"
            "Next: `%vn offline off`, then run it again."
        )
    if rows_offline and not session_offline and base_url.startswith("https:"):
        raise ProvenanceError(
            f"These rows are offline (lexical) vectors, but the session talks to {base_url}.\n"
            "Next: `%vn offline on` for this, or embed the rows at the gateway."
        )
    if not rows_offline and rows.source != host_of(base_url):
        raise ProvenanceError(
            f"These rows are from {rows.source}, but the session talks to {base_url}.\n"
            "Next: set the base URL that the rows are from, or embed the rows at this one."
        )


def _recipe_of(rows: Provenance) -> Recipe:
    return Recipe(rows.model, rows.dimension, rows.task_type, unit_length=rows.unit_length)


def _answers_from_pack(texts: Sequence[str], recipe: Recipe, session: Session) -> bool:
    in_use = session.pack
    return session.asks_nobody or (
        in_use is not None and all(in_use.pack.find(text, recipe) is not None for text in texts)
    )
