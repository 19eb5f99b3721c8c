"""The session that code finds where none is named: the shell's, else one made from the environment."""

from __future__ import annotations

import sys
import threading

from vn_magic.session import Session

# Under this name IPython's place for extensions, `shell.meta`, holds the session of a shell; it outlives a reload.
SESSION = "vn_magic_session"

# The one exception to "no mutable module globals": code outside IPython has no shell to hold a session.
_default_session: list[Session] = []
_default_lock = threading.Lock()


def current_session() -> Session:
    """Return the session of the IPython shell that has loaded the extension, else one made from the environment."""
    session = session_here()
    if session is not None:
        return session
    with _default_lock:
        if not _default_session:
            _default_session.append(Session())
        return _default_session[0]


def session_here() -> Session | None:
    """Return the current session, None where nobody in this process has asked for one yet."""
    return _session_of_shell() or next(iter(_default_session), None)


def _session_of_shell() -> Session | None:
    # Without importing IPython: where it is not loaded there is no shell to ask.
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    session = shell.meta.get(SESSION) if shell is not None else None
    return session if isinstance(session, Session) else None
