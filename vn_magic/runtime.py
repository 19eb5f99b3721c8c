"""What a session opens when it is first used: a loop, the cache, and a client for the gateway or the stand-in."""

from __future__ import annotations

import atexit
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vn_magic.cache import EmbeddingCache, cache_folder
from vn_magic.cache_thread import CacheThread
from vn_magic.credentials import Token, TokenStore
from vn_magic.exceptions import TokenError
from vn_magic.lookup import Origin
from vn_magic.models import OFFLINE_MODEL
from vn_magic.portal import Portal
from vn_magic.settings import Settings, check_transport_is_private, host_of, origin_of
from vn_magic.underway import Underway

if TYPE_CHECKING:
    from vn_magic.gateway.client import GatewayClient

_OFFLINE_BASE_URL = "http://offline"


class Runtime:
    """The open parts of a session. Making one opens nothing.

    Parameters
    ----------
    environ
        Names the cache's folder.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        self.portal = Portal(at_end=self._close_clients)
        self.cache = CacheThread(EmbeddingCache(cache_folder(environ)))
        self.underway = Underway()
        self._clients: dict[_ClientFor, GatewayClient] = {}
        self._forgotten: list[GatewayClient] = []
        self._process = os.getpid()

    async def client(self, settings: Settings, tokens: TokenStore, *, needs_token: bool = True) -> GatewayClient:
        """Return the client that the settings call for, opened on the portal's loop.

        Raises
        ------
        TokenError
            When there is no token: never a silent fall-back to offline vectors.
        SettingsError
            When the token would travel in the clear.
        """
        if settings.offline:
            base_url, token = _OFFLINE_BASE_URL, None
        else:
            check_transport_is_private(settings)
            found = tokens.find(origin_of(settings.base_url))
            if found is None and needs_token:
                raise TokenError(_missing_token(settings, tokens))
            base_url, token = settings.base_url, found.token if found else None
        wanted = _ClientFor(base_url, token, settings.request_timeout, settings.row_timeout)
        if wanted not in self._clients:
            self._clients[wanted] = _opened(wanted)
        return self._clients[wanted]

    def forget(self, token: Token, then: Callable[[], None]) -> None:
        """Close every client that holds a token; a job that still runs with one ends. Waits for nothing.

        Parameters
        ----------
        token
            Whose clients are closed.
        then
            Called when they are, in any thread.
        """
        held = [wanted for wanted in self._clients if wanted.token == token]
        self._forgotten.extend(self._clients.pop(each) for each in held)
        if held:
            self.portal.submit(self._close_forgotten()).add_done_callback(lambda _: then())
        else:
            then()

    def close(self) -> None:
        """Close connections, commit what is left, end both threads. In a forked child, leave all to the parent."""
        if self._process == os.getpid():
            self.portal.close()
            self.cache.close()

    def end(self) -> None:
        """Do as `close` and wait at exit only: garbage is collected in any thread, whatever lock it holds just then."""
        atexit.unregister(self.close)
        if self._process == os.getpid():
            for thread in (self.portal.end(), self.cache.end()):
                if thread is not None:
                    atexit.register(thread.join)

    async def _close_clients(self) -> None:
        await self._close_forgotten()
        while self._clients:
            await self._clients.popitem()[1].close()

    async def _close_forgotten(self) -> None:
        while self._forgotten:
            client = self._forgotten[0]
            await client.close()
            # Not before: at the end of a program this may be called off, and is done once more.
            if client in self._forgotten:
                self._forgotten.remove(client)


def _opened(wanted: _ClientFor) -> GatewayClient:
    # Imported here: aiohttp behind it is a third of a second that nobody should wait for who does not send.
    from vn_magic.gateway.client import GatewayClient  # noqa: PLC0415 - see above
    from vn_magic.gateway.retry import RetryPolicy  # noqa: PLC0415 - see above

    app = None
    if wanted.base_url == _OFFLINE_BASE_URL:
        from vn_magic.offline import create_app  # noqa: PLC0415 - starlette, for those who use it

        app = create_app()
    policy = RetryPolicy(row_timeout=wanted.row_timeout)
    return GatewayClient(wanted.base_url, wanted.token, policy=policy, request_timeout=wanted.request_timeout, app=app)


def origin_for(settings: Settings) -> Origin:
    """Return whose vectors the settings ask for."""
    if settings.offline:
        from vn_magic.offline import VERSION  # noqa: PLC0415 - as above

        return Origin(f"{OFFLINE_MODEL}/{VERSION}", OFFLINE_MODEL)
    return Origin(settings.base_url, host_of(settings.base_url))


@dataclass(frozen=True, slots=True)
class _ClientFor:
    """What a client was opened for; another one is needed when any of it changes."""

    base_url: str
    token: Token | None
    request_timeout: float
    row_timeout: float


def _missing_token(settings: Settings, tokens: TokenStore) -> str:
    host = host_of(settings.base_url)
    why = f"There is no token for {host}."
    if tokens.origin is not None:
        why = f"The token of this session belongs to {host_of(tokens.origin)}, and the base URL now names {host}."
    return f"{why}\nNext: `%vn login`, or `%vn offline` to try without one (lexical vectors, labelled so)."
