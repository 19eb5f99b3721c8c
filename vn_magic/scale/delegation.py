"""What a worker process must know to embed as the process does that hands it work. Never a token."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Self

from vn_magic.credentials import TOKEN_FILE_VARIABLE, TOKEN_VARIABLES
from vn_magic.current import current_session
from vn_magic.exceptions import InputError, RequirementError, TokenError
from vn_magic.scale.sessions import pack_of, session_with
from vn_magic.session import Session
from vn_magic.settings import Settings, host_of

_BUDGETS = ("max_requests", "max_tokens")


@dataclass(frozen=True, slots=True)
class Delegation:
    """The settings of a session as plain values, and whose they are.

    A worker's own session knows its environment and nothing else: neither `%vn offline` nor `%config`. It would embed
    elsewhere, and nobody would see it.

    Parameters
    ----------
    family, process
        Who hands over. Only processes of the same family act for it: whoever loads the same from a file is somebody
        else, with a session and a token of his own.
    settings
        Name and value, of all settings. Several processes cannot count one budget, so under one they send nothing.
    pack
        Name of the pack in use, and whether it alone answers.
    unmet
        What a notebook required in vain.
    """

    family: str
    process: int
    settings: tuple[tuple[str, Any], ...]
    pack: tuple[str, bool] | None
    unmet: str

    @classmethod
    def of(cls, session: Session) -> Self:
        """Return what a worker of this process needs to know of a session."""
        values = {name: getattr(session.settings, name) for name in Settings.names()}
        values.update({name: 0 for name in _BUDGETS if values[name] is not None})
        return cls(_family(), os.getpid(), tuple(values.items()), pack_of(session), session.unmet)

    @property
    def is_of_family(self) -> bool:
        """Whether this process is the one that has made it, or a worker that it has started."""
        return self.family == _family()

    @property
    def is_from_here(self) -> bool:
        """Whether this very process has made it."""
        return self.is_of_family and self.process == os.getpid()

    def session(self) -> Session:
        """Return a session of this process that does as the one that has handed over would do.

        Raises
        ------
        RequirementError
            When a requirement does not hold there.
        InputError
            When a pack answers there and not here, or the other way round.
        TokenError
            When there is no token in this process's environment: that of a login stays where it was given.
        """
        here = current_session()
        session = session_with(self.settings) if self.differences(here, Settings.names()) else here
        if self.unmet:
            raise RequirementError(self.unmet)
        if self.pack != pack_of(session):
            raise InputError(
                "A worker process does not use the pack of the session that it works for, nor another one in its "
                "place.\nNext: name the pack in $VN_MAGIC_PACK before Python starts, or use one process: n_jobs=1."
            )
        if not (session.asks_nobody or session.settings.offline) and session.find_token() is None:
            raise TokenError(
                f"A worker process has no token for {host_of(session.settings.base_url)}: that of a login never leaves "
                f"its own process.\nNext: set {TOKEN_VARIABLES[0]} or {TOKEN_FILE_VARIABLE} before the workers "
                "start, or use one process: n_jobs=1."
            )
        return session

    def differences(self, session: Session, names: Sequence[str]) -> list[str]:
        """Return which of these settings a session has otherwise, in words."""
        told = [(name, value, getattr(session.settings, name)) for name, value in self.settings if name in names]
        return [f"{name} {there!r} there and {here!r} here" for name, there, here in told if there != here]

    def disagreements(self, session: Session, recipe: Sequence[str]) -> list[str]:
        """Return in words what keeps a session from making the same vectors.

        Parameters
        ----------
        session
            Of a stranger.
        recipe
            The settings that say what to ask for; those that say whom to ask come in addition.
        """
        base_url = [] if session.settings.offline else ["base_url"]
        told = self.differences(session, [*recipe, "offline", *base_url])
        packs = [pack[0] if pack else "no pack" for pack in (self.pack, pack_of(session))]
        return told if self.pack == pack_of(session) else [*told, f"{packs[0]} there and {packs[1]} here"]


def _family() -> str:
    """Return what only this process, those that it has started, and its ancestors can say: a hash of their secret.

    A process number would not do: in containers half of them are number 1.
    """
    return sha256(bytes(multiprocessing.current_process().authkey)).hexdigest()
