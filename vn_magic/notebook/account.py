"""``%vn login``, ``logout``, ``status``, ``offline``: who is asking, and whom."""

from __future__ import annotations

import getpass
import sys
from collections.abc import Sequence

from IPython.core.error import StdinNotImplementedError
from IPython.core.interactiveshell import InteractiveShell

from vn_magic.credentials import TOKEN_FILE_VARIABLE, TOKEN_VARIABLES, Token
from vn_magic.exceptions import GatewayError, TokenError, TokenRefusedError
from vn_magic.gateway.probe import Verdict
from vn_magic.notebook.card import show_lines
from vn_magic.notebook.packing import pack_line
from vn_magic.notebook.phrases import size_text, usage_text
from vn_magic.scale.workers import cluster_line
from vn_magic.session import OFFLINE_NOTICE, Session
from vn_magic.settings import Settings, check_transport_is_private, host_of, origin_of


def login(_words: Sequence[str], session: Session, shell: InteractiveShell) -> None:
    """Ask for the token by a hidden prompt, hold it in the session, and check it once for free.

    Raises
    ------
    TokenError
        When there is nobody to ask, or what was given is no token.
    TokenRefusedError
        When the gateway refuses it; an earlier one stays.
    """
    settings = session.settings
    check_transport_is_private(settings)
    token = Token(_asked(f"Token for {host_of(settings.base_url)} (hidden): ", shell))
    show_lines(session.run(take_token(token, session, settings, "%vn login")))


async def take_token(token: Token, session: Session, settings: Settings, source: str) -> list[str]:
    """Hold a token in the session after one free check, and return lines that say what came of it.

    Parameters
    ----------
    token, session
        What is held, and by whom.
    settings
        Those under which the token was asked for: it belongs to their base URL, whatever happens meanwhile.
    source
        Where the token came from.

    Raises
    ------
    SettingsError
        When the token would travel in the clear.
    TokenRefusedError
        When the gateway refuses it; an earlier one stays.
    """
    check_transport_is_private(settings)
    who = f"{token.masked} for {host_of(settings.base_url)}"
    lines = [f"{who}: kept, not checked: the session is offline. `%vn offline off` uses it."]
    if not settings.offline:
        try:
            verdict = (await session.probe(token, settings=settings)).verdict
        except GatewayError as error:
            lines = [f"{who}: kept, but it could not be checked.", *str(error).splitlines()]
        else:
            if verdict is Verdict.REFUSED:
                raise TokenRefusedError(f"{who}: {TokenRefusedError.meaning} It is not kept.\n{TokenRefusedError.cure}")
            checked = "accepted" if verdict is Verdict.ACCEPTED else "cannot be checked here; the first text will tell"
            lines = [f"{who}: {checked}."]
    session.tokens.log_in(token, source, origin_of(settings.base_url))
    return lines


def logout(_words: Sequence[str], session: Session, _shell: InteractiveShell) -> None:
    """Forget the session's token, and say when the environment still has one."""
    session.log_out()
    left = session.find_token()
    still = f" {left.source} still holds {left.token.masked}; unset it outside the notebook." if left else ""
    show_lines([f"The session's token is forgotten.{still}"])


def status(_words: Sequence[str], session: Session, _shell: InteractiveShell) -> None:
    """Show whom the session talks to, as whom, with which settings, and what it has used."""
    settings, totals = session.settings, session.totals
    info = session.runtime.cache.info()
    place = "offline stand-in (lexical, not semantic)" if settings.offline else settings.base_url
    rows = [(name, str(getattr(settings, name)), settings.source_of(name)) for name in Settings.names()]
    width, value_width = max(len(row[0]) for row in rows), max(len(row[1]) for row in rows)
    lines = [
        f"vn_magic   {place}",
        f"token: {token_line(session)}",
        f"pack: {pack_line(session)}",
        f"cache: {info.path or 'in memory only'}, {info.rows:,} rows, {size_text(info.size)}",
        f"session: {usage_text(totals, settings.price_per_million, free=settings.offline)}",
        *filter(None, [cluster_line(settings)]),
        *(f"{name:<{width}}  {value:<{value_width}}  {source}" for name, value, source in rows),
    ]
    print("\n".join(lines))  # noqa: T201 - a table in one width is read best as plain text


def offline(words: Sequence[str], session: Session, _shell: InteractiveShell) -> None:
    """Switch to the stand-in, or back to the gateway, and say what that means."""
    switch = words[0] if words else "on"
    session.configure("offline", switch == "on", "%vn offline")
    if session.settings.offline:
        session.untold([OFFLINE_NOTICE])  # said here, so the next card need not
        show_lines(["The session is offline.", OFFLINE_NOTICE, "`%vn offline off` goes back to the gateway."])
    else:
        show_lines([f"The session talks to {session.settings.base_url}.", f"token: {token_line(session)}"])
    if session.asks_nobody:
        show_lines([f"For now the pack {pack_line(session)}.", "`%vn pack off` ends that."])


def token_line(session: Session, cure: str = "`%vn login` asks for one") -> str:
    """Return which token the session would send, masked, and where it is from; or how to give it one."""
    found = session.find_token()
    if found is not None:
        return f"{found.token.masked} from {found.source}"
    if session.tokens.origin is not None:
        return f"none for this base URL (the session's belongs to {session.tokens.origin})"
    return f"none; {cure}"


def _asked(prompt: str, shell: InteractiveShell) -> str:
    nobody = TokenError(
        "Nobody can be asked for a token here: there is no prompt.\n"
        f"Next: set {TOKEN_VARIABLES[0]} (or {TOKEN_FILE_VARIABLE}, the path of a file) before the kernel starts."
    )
    if getattr(shell, "kernel", None) is None and not sys.stdin.isatty():
        raise nobody  # getpass would read the token with an echo, and warn on stderr
    try:
        return getpass.getpass(prompt)
    except (StdinNotImplementedError, EOFError):
        raise nobody from None
