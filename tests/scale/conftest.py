"""Which session code finds where none is named."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from vn_magic import Session


@pytest.fixture
def set_current(monkeypatch: pytest.MonkeyPatch) -> Callable[[Session], Session]:
    """Let a session be the one that is found where none is named."""

    def use(session: Session) -> Session:
        monkeypatch.setattr("vn_magic.current._default_session", [session])
        return session

    return use


@pytest.fixture
def current(offline: Session, set_current: Callable[[Session], Session]) -> Session:
    """The stand-in inside the process, which no worker's environment knows of."""
    return set_current(offline)


@pytest.fixture
def online(session: Session, set_current: Callable[[Session], Session]) -> Session:
    """A session that talks to `gateway`, with a token that was given to it alone."""
    return set_current(session)
