"""Sessions that act for one of another process: with its settings, and never with a token of its."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from vn_magic.embeddings import Provenance
from vn_magic.forks import ForkGuard
from vn_magic.models import OFFLINE_MODEL
from vn_magic.session import Session
from vn_magic.settings import JobOptions, Recipe, Settings

_MOST_SESSIONS = 8  # kept by one process

_opening = ForkGuard()


def session_with(settings: tuple[tuple[str, Any], ...]) -> Session:
    """Return this process's one session with these settings, and with the others and the token of its environment.

    Parameters
    ----------
    settings
        Name and value.
    """
    with _opening:  # two threads at once would open two
        return _opened(settings)


@lru_cache(maxsize=_MOST_SESSIONS)
def _opened(settings: tuple[tuple[str, Any], ...]) -> Session:
    session = Session()
    for name, value in settings:
        if value != getattr(session.settings, name):
            session.configure(name, value, "the process that handed over the work")
    return session


def pack_of(session: Session) -> tuple[str, bool] | None:
    """Return the name of the pack in use, and whether it alone answers; None without a pack."""
    in_use = session.pack
    return None if in_use is None else (in_use.pack.name, in_use.strict)


def expected_provenance(session: Session, recipe: Recipe) -> Provenance:
    """Return the provenance of vectors that nobody has signed yet, as far as it is known before anybody is asked."""
    source = session.expected_source
    model = OFFLINE_MODEL if source == OFFLINE_MODEL else recipe.model
    return Provenance(source, model, recipe.task_type, recipe.dimension, recipe.unit_length)


def has_budget(limits: Settings | JobOptions) -> bool:
    """Whether what may be sent is limited, which several processes cannot count together."""
    return limits.max_requests is not None or limits.max_tokens is not None
