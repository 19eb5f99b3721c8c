"""What a session opens when it is first used: a loop, the cache, and a client for the gateway or the stand-in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from vn_magic.cache import EmbeddingCache, cache_folder
from vn_magic.cache_thread import CacheThread
from vn_magic.credentials import Token, TokenStore
from vn_magic.embedder import Origin
from vn_magic.exceptions import TokenError
from vn_magic.gateway.client import GatewayClient
from vn_magic.gateway.pace import Pace
from vn_magic.gateway.retry import RetryPolicy
from vn_magic.models import OFFLINE_MODEL
from vn_magic.portal import Portal
from vn_magic.settings import Settings, check_transport_is_private, host_of, origin_of

_OFFLINE_BASE_URL = "http://offline"


class Runtime:
    """The open parts of a session. Making one opens nothing.

    Parameters
    ----------
    environ
        Names the cache's folder.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        self.portal = Portal()
        self.cache = CacheThread(EmbeddingCache(cache_folder(environ)))
        self.pace = Pace()
        self._clients: list[GatewayClient] = []
        self._client: GatewayClient | None = None
        self._client_for: _ClientFor | None = None

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
        if self._client is None or self._client_for != wanted:
            # A job that still runs keeps the older client; its connections close with the session.
            self._client, self._client_for = self._open(wanted), wanted
            self._clients.append(self._client)
        return self._client

    def close(self) -> None:
        """Close connections, commit what is left, end both threads."""
        for client in self._clients:
            self.portal.run(client.close())
        self._clients.clear()
        self._client = self._client_for = None
        self.portal.close()
        self.cache.close()

    def _open(self, wanted: _ClientFor) -> GatewayClient:
        app = None
        if wanted.base_url == _OFFLINE_BASE_URL:
            # Imported here: starlette is paid for only by those who use it.
            from vn_magic.offline import create_app  # noqa: PLC0415

            app = create_app()
        return GatewayClient(
            wanted.base_url,
            wanted.token,
            pace=self.pace,
            policy=RetryPolicy(row_timeout=wanted.row_timeout),
            request_timeout=wanted.request_timeout,
            app=app,
        )


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
