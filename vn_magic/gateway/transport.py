"""Bytes to the gateway and back. The one file that imports httpx."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp
import httpx
from httpx_aiohttp import AiohttpTransport

from vn_magic.credentials import Token
from vn_magic.exceptions import (
    ConnectionFailedError,
    DeadlineError,
    GatewayError,
    SettingsError,
    UnreadableAnswerError,
    UpstreamError,
    WrongAddressError,
)
from vn_magic.gateway.envelopes import quote
from vn_magic.settings import host_of, is_loopback, origin_of

if TYPE_CHECKING:
    from starlette.types import ASGIApp

# 3072 values of 25 characters are 77 kB; a body beyond this is not an answer to one text.
LARGEST_BODY = 2 * 1024 * 1024
# More than the workers of a job, so that a panel job and a cell can run side by side.
CONNECTIONS = 256


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer that was read to its end. Header names are in lower case; headers are scrubbed of the token."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def is_json(self) -> bool:
        """Whether the answer says that it is JSON."""
        return "json" in self.headers.get("content-type", "").lower()


class Transport:
    """Exchanges one request for one reply with one gateway.

    Open and use it inside one event loop: its connections belong to it.

    Parameters
    ----------
    base_url
        As normalised by `settings.normalized_base_url`.
    token
        Sent as a Bearer header to the base URL's origin alone; None sends none.
    timeout
        Seconds for one request from its first byte to its last. A read timeout would not do: it never fires on a
        server that drips.
    app
        An ASGI application to talk to inside the process, instead of the network.
    """

    def __init__(self, base_url: str, token: Token | None, *, timeout: float, app: ASGIApp | None) -> None:
        self._host = host_of(base_url)
        self._token = token
        self._timeout = timeout
        self._http = httpx.AsyncClient(
            base_url=base_url,
            transport=httpx.ASGITransport(app) if app else _network_transport(base_url),
            auth=_BearerAuth(token, origin_of(base_url)) if token else None,
            headers={"Accept": "application/json", "Accept-Encoding": "identity", "Accept-Language": "en"},
            follow_redirects=False,
            trust_env=False,
            timeout=None,  # noqa: S113 - `exchange` bounds the whole request, which no httpx timeout does
        )

    async def close(self) -> None:
        """Close all connections."""
        await self._http.aclose()

    async def exchange(self, method: str, path: str, content: bytes | None = None) -> Reply:
        """Send, and read the whole answer under a cap and a deadline.

        Raises
        ------
        GatewayError
            What httpx, aiohttp and asyncio raise, translated: ConnectionFailedError, UpstreamError, DeadlineError,
            UnreadableAnswerError, WrongAddressError for a certificate that does not hold.
        """
        headers = {"Content-Type": "application/json"} if content is not None else None
        with _translated(self._host, self._timeout, self.scrub):
            async with (
                asyncio.timeout(self._timeout),
                self._http.stream(method, path, content=content, headers=headers) as response,
            ):
                try:
                    body = await _read_bounded(response)
                except UnreadableAnswerError:
                    if response.status_code == 200:
                        raise
                    body = b""  # the status of a failure says enough: a 401 is never tried again
        told = {name.lower(): self.scrub(value) for name, value in response.headers.items()}
        return Reply(response.status_code, told, body)

    def scrub(self, text: str) -> str:
        """Mask the token. A gateway may quote what it refuses, and a broken one whatever it was sent."""
        return self._token.scrub(text) if self._token else text


class _BearerAuth(httpx.Auth):
    """Adds the token to requests for its own origin and to no others."""

    def __init__(self, token: Token, origin: str) -> None:
        self._token = token
        self._origin = httpx.URL(origin)

    def sync_auth_flow(self, request: httpx.Request) -> Any:  # noqa: ANN401 - never called; httpx's signature
        raise NotImplementedError("this client is asynchronous")

    async def async_auth_flow(self, request: httpx.Request) -> Any:  # noqa: ANN401 - httpx's generator
        url = request.url
        if (url.scheme, url.host, url.port) == (self._origin.scheme, self._origin.host, self._origin.port):
            request.headers["Authorization"] = f"Bearer {self._token.reveal()}"
        yield request


def _network_transport(base_url: str) -> AiohttpTransport:
    """Return the transport for one gateway, through the system's proxy for it where there is one.

    httpx does not read the proxy variables once it is given a transport, and aiohttp's own ``trust_env`` would
    put a password from ``~/.netrc`` in the place of the token.
    """
    return AiohttpTransport(
        limits=httpx.Limits(max_connections=CONNECTIONS, keepalive_expiry=60.0), proxy=_proxy_for(base_url)
    )


def _proxy_for(base_url: str) -> httpx.Proxy | None:
    parts = urlsplit(base_url)
    proxies = getproxies()
    host = parts.hostname or ""
    address = proxies.get(parts.scheme) or proxies.get("all")
    # Plain http is allowed to this machine because it stays here; through a proxy the token would travel in the clear.
    if not address or is_loopback(host) or proxy_bypass(host):
        return None
    address = address if "://" in address else f"http://{address}"
    if not address.startswith("http"):
        raise SettingsError(
            f"The proxy for {parts.scheme} is of a kind that cannot be used here ({urlsplit(address).scheme}).\n"
            "Next: set HTTPS_PROXY to an http:// proxy, or list the gateway's host in NO_PROXY."
        )
    return httpx.Proxy(address)


async def _read_bounded(response: httpx.Response) -> bytes:
    """Return the raw body, never more than LARGEST_BODY and never unpacked: identity was asked for."""
    if response.headers.get("content-encoding", "identity").lower() != "identity":
        raise UnreadableAnswerError.because("it is compressed")
    chunks: list[bytes] = []
    size = 0
    async for chunk in response.aiter_raw():
        size += len(chunk)
        if size > LARGEST_BODY:
            raise UnreadableAnswerError.because(f"more than {LARGEST_BODY} bytes")
        chunks.append(chunk)
    return b"".join(chunks)


@contextmanager
def _translated(host: str, timeout: float, scrub: Callable[[str], str]) -> Iterator[None]:
    """Turn what httpx, aiohttp and asyncio raise into this package's errors."""
    try:
        yield
    except TimeoutError:
        raise DeadlineError.because(f"{host}, {timeout:g} s") from None
    except (httpx.HTTPError, httpx.StreamError, httpx.InvalidURL, aiohttp.ClientError, OSError, UnicodeError) as error:
        raise _network_error(error, host, scrub) from None


def _network_error(error: BaseException, host: str, scrub: Callable[[str], str]) -> GatewayError:
    """Return our error for a foreign one.

    httpx-aiohttp's names mislead in places: a refused connection and a reset by the peer are ConnectTimeout both,
    so the causes are looked at. aiohttp quotes what it could not parse.
    """
    causes = _causes(error)
    for cause in causes:
        certificate = getattr(cause, "certificate_error", cause)
        if isinstance(certificate, ssl.SSLCertVerificationError):
            return WrongAddressError(
                f"{host} cannot prove who it is, so the token was not sent. ({certificate.verify_message})\n"
                "Next: check the base URL, this computer's clock, and any proxy that opens TLS."
            )
    reason = next((text for cause in reversed(causes) if (text := str(cause).strip())), type(error).__name__)
    reason = quote(scrub(reason))
    unreachable = httpx.ConnectError | httpx.ProxyError | httpx.UnsupportedProtocol | aiohttp.ClientConnectorError
    if any(isinstance(cause, unreachable) for cause in causes):
        return ConnectionFailedError.because(f"{host}: {reason}")
    return UpstreamError(f"The connection broke off before the answer came. ({host}: {reason})\n{UpstreamError.cure}")


def _causes(error: BaseException) -> list[BaseException]:
    causes: list[BaseException] = []
    step: BaseException | None = error
    while step is not None and step not in causes:
        causes.append(step)
        step = step.__cause__ or step.__context__
    return causes
