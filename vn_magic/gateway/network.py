"""The way to a gateway over a network, and what can go wrong on it. The one file that imports aiohttp."""

from __future__ import annotations

import ssl
from base64 import b64encode
from collections.abc import AsyncIterator, Callable
from typing import Literal, cast
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp
import httpx
from multidict import CIMultiDict
from yarl import URL

from vn_magic.exceptions import ConnectionFailedError, GatewayError, SettingsError, UpstreamError, WrongAddressError
from vn_magic.gateway.envelopes import quote
from vn_magic.settings import is_loopback

# More than the workers of a job, so that a panel job and a cell can run side by side.
CONNECTIONS = 256
KEEP_ALIVE_SECONDS = 60.0
# What a request may raise here besides a timeout; `error_of` says what it means.
ERRORS = (aiohttp.ClientError, OSError, UnicodeError)


class NetworkTransport(httpx.AsyncBaseTransport):
    """httpx's interface over aiohttp's connections; httpx's own pool takes some twenty times their CPU with 64 of them.

    Goes through the system's proxy where there is one, and heeds ``$SSL_CERT_FILE`` and ``$SSL_CERT_DIR``. Nothing else
    is taken from the environment: aiohttp's own ``trust_env`` would put a password from ``~/.netrc`` in the place of
    the token.

    Parameters
    ----------
    base_url
        The one gateway that it leads to.
    """

    def __init__(self, base_url: str) -> None:
        self._certificates: ssl.SSLContext | Literal[False] = _certificates() if base_url.startswith("https") else False
        proxy = _proxy_for(base_url)
        self._proxy = str(proxy.url) if proxy else None
        password = {"Proxy-Authorization": _basic(*proxy.auth)} if proxy and proxy.auth else {}
        # Through a tunnel the proxy has headers of its own; without one it reads the request's.
        is_tunnel = base_url.startswith("https")
        self._tunnel_headers, self._proxy_headers = (password, {}) if is_tunnel else ({}, password)
        self._session: aiohttp.ClientSession | None = None
        self._urls: dict[bytes, URL] = {}

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request; its answer's body is still to be read."""
        if self._session is None:
            self._session = _session(self._certificates)
        path = request.url.raw_path
        url = self._urls.get(path)
        if url is None:  # reading it again for every request would cost as much as sending it
            url = self._urls[path] = URL(str(request.url), encoded=True)
        response = await self._session.request(
            request.method,
            url,
            headers=CIMultiDict(
                ((name.decode("ascii"), value.decode("ascii")) for name, value in request.headers.raw),
                **self._proxy_headers,
            ),
            data=b"".join(cast("httpx.ByteStream", request.stream)) or None,
            allow_redirects=False,
            proxy=self._proxy,
            proxy_headers=self._tunnel_headers,
        )
        return httpx.Response(response.status, headers=response.raw_headers, stream=_Body(response))

    async def aclose(self) -> None:
        """Close all connections."""
        if self._session is not None:
            await self._session.close()


class _Body(httpx.AsyncByteStream):
    """A body as it comes; a connection whose body was not read to its end is not used again."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for chunk in self._response.content.iter_any():
            yield chunk

    async def aclose(self) -> None:
        self._response.release()
        await self._response.wait_for_close()


def _certificates() -> ssl.SSLContext:
    try:
        return httpx.create_ssl_context()
    except OSError as error:  # ssl.SSLError is one
        raise SettingsError(
            f"The certificates that $SSL_CERT_FILE or $SSL_CERT_DIR names cannot be read ({error.strerror or error}).\n"
            "Next: correct the variable, or unset it, and run it again."
        ) from None


def _session(certificates: ssl.SSLContext | Literal[False]) -> aiohttp.ClientSession:
    connector = aiohttp.TCPConnector(limit=CONNECTIONS, keepalive_timeout=KEEP_ALIVE_SECONDS, ssl=certificates)
    return aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=None),  # the whole request has a deadline
        auto_decompress=False,
        skip_auto_headers=("Accept", "Accept-Encoding", "Content-Type", "User-Agent"),
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


def _basic(user: str, password: str) -> str:
    """Return credentials as RFC 7617 writes them."""
    return "Basic " + b64encode(f"{user}:{password}".encode()).decode("ascii")


def error_of(error: BaseException, host: str, scrub: Callable[[str], str]) -> GatewayError:
    """Return our error for one of ERRORS. aiohttp quotes what it could not parse, so the token may be in it."""
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
    unreachable = aiohttp.ClientConnectorError | aiohttp.ClientHttpProxyError | aiohttp.InvalidURL
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
