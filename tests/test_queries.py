"""A question put to rows: asked as the rows were, or not at all. More of it is in test_accessor.py."""

from __future__ import annotations

import pytest
from support.gateways import Served

from vn_magic import Provenance, Session
from vn_magic.exceptions import ProvenanceError
from vn_magic.models import OFFLINE_MODEL
from vn_magic.queries import query_request

GATEWAY = "gemini-embedding-001"


def _rows(
    source: str, *, model: str = GATEWAY, task: str | None = "CLUSTERING", unit_length: bool = True
) -> Provenance:
    return Provenance(source, model, task, 384, unit_length)


def test_a_request_is_of_the_rows_kind_whatever_the_session_has_set(session: Session, gateway: Served) -> None:
    session.configure("dimension", 1536, "test")
    session.configure("model", "another-model", "test")
    session.configure("task_type", "CLASSIFICATION", "test")
    host = gateway.url.removeprefix("http://")
    recipe = query_request("a question", _rows(host, unit_length=False), session).recipe
    assert (recipe.model, recipe.dimension, recipe.task_type, recipe.unit_length) == (GATEWAY, 384, "CLUSTERING", False)
    assert gateway.received == []


@pytest.mark.parametrize(
    ("rows_as", "asked_as"),
    [("RETRIEVAL_DOCUMENT", "RETRIEVAL_QUERY"), ("SEMANTIC_SIMILARITY", "SEMANTIC_SIMILARITY"), (None, None)],
)
def test_documents_are_asked_by_queries_and_other_rows_by_their_like(
    session: Session, gateway: Served, rows_as: str | None, asked_as: str | None
) -> None:
    rows = _rows(gateway.url.removeprefix("http://"), task=rows_as)
    assert query_request("a question", rows, session).recipe.task_type == asked_as


def test_rows_of_another_host_are_refused_before_anything_is_sent(session: Session, gateway: Served) -> None:
    with pytest.raises(ProvenanceError, match=r"These rows are from elsewhere\.example, but the session talks to"):
        query_request("a question", _rows("elsewhere.example"), session)
    assert gateway.received == []


def test_rows_of_a_gateway_are_refused_offline(offline: Session) -> None:
    with pytest.raises(ProvenanceError, match="but the session is offline"):
        query_request("a question", _rows("elsewhere.example"), offline)


def test_offline_rows_are_refused_at_a_gateway_that_cannot_be_the_stand_in(token: str) -> None:
    with (
        Session(base_url="https://gateway.example", token=token) as session,
        pytest.raises(ProvenanceError, match=r"offline \(lexical\) vectors, but the session talks to https://gateway"),
    ):
        query_request("a question", _rows(OFFLINE_MODEL, model=OFFLINE_MODEL), session)


def test_offline_rows_are_asked_offline(offline: Session) -> None:
    request = query_request("a question", _rows(OFFLINE_MODEL, model=OFFLINE_MODEL), offline)
    assert request.source.values == ["a question"]
    assert request.recipe.model == OFFLINE_MODEL
