"""Connect: whom the session talks to, and as whom."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from html import escape

import ipywidgets as widgets

from vn_magic.credentials import Token
from vn_magic.exceptions import InputError, PackError, TokenError
from vn_magic.gateway.probe import Verdict
from vn_magic.notebook.account import take_token, token_line
from vn_magic.notebook.packing import pack_line
from vn_magic.notebook.panel.tasks import Message, Tasks
from vn_magic.notebook.token_field import TokenField
from vn_magic.session import OFFLINE_NOTICE, Session
from vn_magic.settings import Settings, host_of, origin_of

SOURCE = "panel"


class Connect:
    """Token, base URL and the offline switch: the session's own, whoever else changes them.

    Parameters
    ----------
    session
        Holds the token; nothing here does.
    on_change
        Called when the session talks to another place.
    """

    def __init__(self, session: Session, on_change: Callable[[], None]) -> None:
        self._session = session
        self._on_change = on_change
        self._checking: Future[None] | None = None
        self._message = Message()
        self._tasks = Tasks(session, self._message)
        self._status = widgets.HTML()
        self._offline = widgets.Checkbox(
            description="Offline stand-in (lexical, not semantic; needs no token)",
            indent=False,
            layout={"width": "auto"},
        )
        self._base_url = widgets.Text(description="Base URL", continuous_update=False, layout={"width": "auto"})
        self._token = TokenField(self._take)
        self._check = widgets.Button(description="Check", tooltip="Ask the gateway once, for free")
        self._forget = widgets.Button(description="Forget token")
        self._online = widgets.VBox([self._base_url, self._token, widgets.HBox([self._check, self._forget])])
        self.widget = widgets.VBox([self._offline, self._online, self._status, self._message.widget])
        self.follow()
        self._offline.observe(self._tasks.callback(self._switch), "value")
        self._base_url.observe(self._tasks.callback(self._move), "value")
        self._check.on_click(self._tasks.callback(self._ask))
        self._forget.on_click(self._tasks.callback(self._log_out))

    def follow(self) -> None:
        """Show what the session has, which other doors may have changed."""
        settings = self._session.settings
        self._offline.value = settings.offline
        self._base_url.value = settings.base_url
        self._token.origin = origin_of(settings.base_url)
        self._online.layout.display = "none" if settings.offline else None
        self._status.value = f'<div class="vn-note" role="status">{escape(self._whom())}</div>'

    def _whom(self) -> str:
        settings = self._session.settings
        try:
            if self._session.asks_nobody:
                return f"The pack {pack_line(self._session)}."
            if settings.offline:
                return OFFLINE_NOTICE
            return f"{host_of(settings.base_url)} · token: {token_line(self._session, cure='enter it above')}"
        except (TokenError, PackError) as error:
            return str(error)

    def _switch(self) -> None:
        self._message.clear()
        if self._offline.value != self._session.settings.offline:
            self._session.configure("offline", self._offline.value, SOURCE)
            self._on_change()
        self.follow()

    def _move(self) -> None:
        self._message.clear()
        try:
            if self._base_url.value != self._session.settings.base_url:
                self._stop_checking()
                self._session.configure("base_url", self._base_url.value, SOURCE)
                self._on_change()
        finally:
            self.follow()

    def _take(self, text: str, origin: str) -> None:
        self._tasks.callback(lambda: self._check_and_hold(text, origin))(None)

    def _check_and_hold(self, text: str, origin: str) -> None:
        settings = self._session.settings
        if origin != origin_of(settings.base_url):
            raise InputError(
                "The base URL has changed since the token was entered.\nNext: enter it again for this one."
            )
        token = Token(text)
        self._stop_checking()
        self._message.say(["Checking the token…"])
        self._checking = self._tasks.start(lambda: self._hold(token, settings))

    def _stop_checking(self) -> None:
        """Let go of a token that is being checked: another one, or none, is wanted by now."""
        if self._checking is not None:
            self._checking.cancel()

    async def _hold(self, token: Token, settings: Settings) -> None:
        self._message.say(await take_token(token, self._session, settings, SOURCE))
        self.follow()

    def _ask(self) -> None:
        self._message.say(["Asking…"])
        self._tasks.start(self._asked)

    async def _asked(self) -> None:
        host = host_of(self._session.settings.base_url)
        answer = await self._session.probe()
        verdicts = {
            Verdict.ACCEPTED: f"{host} answers and accepts the token.",
            Verdict.REFUSED: f"{host} answers, but refuses the token. Enter a fresh one above.",
        }
        self._message.say(
            [verdicts.get(answer.verdict, f"{host} answers; the token cannot be checked without a text.")]
        )

    def _log_out(self) -> None:
        self._stop_checking()
        self._tasks.start(self._forget_token)  # on the loop, after what has just been stopped there

    async def _forget_token(self) -> None:
        self._session.log_out()
        left = self._session.find_token()
        still = f" {left.source} still holds {left.token.masked}." if left else ""
        self._message.say([f"The session's token is forgotten.{still}"])
        self.follow()
