"""Jobs against a fault gateway, and whether every row has its own vector."""

from __future__ import annotations

import ssl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from faults.answers import vector_of
from faults.gateway import FaultGateway, Script, fault_gateway
from vn_magic import Embeddings, Session
from vn_magic.exceptions import GatewayError

TOKEN = "sk-canary-5f02c8e1aa"
DIMENSION = 128
# Seconds by which clients count their rate where a test has the fixture `short_window`.
WINDOW = 0.5


@contextmanager
def session_at(base_url: str, *, deadline: float = 30.0) -> Iterator[Session]:
    """Open a session there whose requests may take so many seconds."""
    with Session(base_url=base_url, token=TOKEN) as session:
        session.configure("request_timeout", deadline, "this test")
        session.configure("allow_plain_http", True, "this test")
        yield session


@contextmanager
def talking_to(
    script: Script, *, tls: ssl.SSLContext | None = None, deadline: float = 30.0
) -> Iterator[tuple[Session, FaultGateway]]:
    """Open a session that talks to a fault gateway."""
    with fault_gateway(script, tls=tls) as gateway, session_at(gateway.base_url, deadline=deadline) as session:
        yield session, gateway


def texts_of(count: int) -> list[str]:
    """Return so many texts that differ."""
    return [f"text {number}" for number in range(count)]


def embed(session: Session, texts: Sequence[str], **options: Any) -> NDArray[np.float32]:
    """Embed the texts into a matrix."""
    matrix = session.embed(texts, result="numpy", **{"dimension": DIMENSION, **options})
    assert isinstance(matrix, np.ndarray)
    return matrix


def job(session: Session, texts: Sequence[str], **options: Any) -> Embeddings:
    """Embed the texts, and return all that the job tells."""
    return session.run(session.run_job(session.prepare(texts, **{"dimension": DIMENSION, **options})))


def assert_own_vectors(matrix: NDArray[np.float32], texts: Sequence[str]) -> None:
    """Check that each row is the one vector that belongs to its text."""
    assert matrix.shape[0] == len(texts)
    expected = [vector_of(text, matrix.shape[1]) for text in texts]
    np.testing.assert_allclose(matrix, expected, rtol=0, atol=1e-6)


def most_in_a_window(times: Sequence[float], window: float) -> int:
    """Return how many of these times lie within any window of so many seconds."""
    return max(sum(first <= later < first + window for later in times) for first in times)


def failure(session: Session, kind: type[GatewayError], *texts: str, **options: Any) -> GatewayError:
    """Return the error of exactly this kind in which a job ends."""
    with pytest.raises(kind) as caught:
        embed(session, texts or ["x"], **options)
    assert type(caught.value) is kind
    lines = str(caught.value).splitlines()
    assert len(lines) <= 3
    assert "Next: " in lines[-1]
    assert TOKEN not in str(caught.value)
    return caught.value
