"""One request to the gateway and its whole answer, whatever carries them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import httpx

from vn_magic.credentials import Token
from vn_magic.exceptions import DeadlineError, GatewayError, StopJobError, UnreadableAnswerError
from vn_magic.gateway.wire import largest_body
from vn_magic.settings import host_of

if TYPE_CHECKING:
    from starlette.types import ASGIApp

_Way = tuple[
    httpx.AsyncBaseTransport,
    tuple[type[BaseException], ...],
    Callable[[BaseException, str, Callable[[str], str]], GatewayError],
]

LARGEST_BODY = largest_body(1)
HEADERS = (
    (b"Accept", b"application/json"),
    (b"Accept-Encoding", b"identity"),
    (b"Accept-Language", b"en"),
    (b"User-Agent", f"python-httpx/{httpx.__version__}".encode("ascii")),
)


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer that was read to its end. Header names are in lower case; values come without the token."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    is_json: bool


class _ScrubbedHeaders(Mapping[str, str]):
    """Headers by lower-case name, without the token. Scrubbed as they are read: of most answers none ever is."""

    def __init__(self, headers: Mapping[str, str], scrub: Callable[[str], str]) -> None:
        self._headers = headers
        self._scrub = scrub

    def __getitem__(self, name: str) -> str:
        return self._scrub(self._headers[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self._headers)

    def __len__(self) -> int:
        return len(self._headers)


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
        self._base_url = base_url
        self._host = host_of(base_url)
        self._token = token
        self._timeout = timeout
        # Without httpx.AsyncClient around it: that costs as much again, and redirects, cookies and the environment's
        # proxies and passwords are what must not happen here anyway.
        self._http, self._errors, self._error_of = _way_to(base_url, app)
        self._urls: dict[str, httpx.URL] = {}
        self._is_closed = False

    async def close(self) -> None:
        """Close all connections. Nothing is sent any more."""
        self._is_closed = True
        await self._http.aclose()

    async def exchange(
        self, method: str, path: str, content: bytes | None = None, largest_body: int = LARGEST_BODY
    ) -> Reply:
        """Send to a path below the base URL, and read the whole answer under a cap and a deadline.

        Raises
        ------
        GatewayError
            What the way there and asyncio raise, translated: ConnectionFailedError, UpstreamError, DeadlineError,
            UnreadableAnswerError, WrongAddressError for a certificate that does not hold.
        """
        if self._is_closed:
            raise StopJobError(
                f"The connections to {self._host} were closed (a logout, perhaps) while this was running.\n"
                "Next: log in and run it again; finished rows are kept."
            )
        try:
            async with asyncio.timeout(self._timeout):
                return await self._exchange(self._request(method, path, content), largest_body)
        except TimeoutError:
            raise DeadlineError.because(f"{self._host}, {self._timeout:g} s") from None
        except self._errors as error:
            raise self._error_of(error, self._host, self.scrub) from None

    async def _exchange(self, request: httpx.Request, largest_body: int) -> Reply:
        response = await self._http.handle_async_request(request)
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in response.headers.raw}
        try:
            body = await _read_bounded(response, headers, largest_body)
        except UnreadableAnswerError:
            if response.status_code == 200:
                raise
            body = b""  # the status of a failure says enough: a 401 is never tried again
        finally:
            await response.aclose()
        is_json = "json" in headers.get("content-type", "").lower()
        return Reply(response.status_code, _ScrubbedHeaders(headers, self.scrub), body, is_json)

    def scrub(self, text: str) -> str:
        """Mask the token. A gateway may quote what it refuses, and a broken one whatever it was sent."""
        return self._token.scrub(text) if self._token else text

    def _request(self, method: str, path: str, content: bytes | None) -> httpx.Request:
        """Return a request to the base URL's own origin, the only one that ever sees the token."""
        url = self._urls.get(path)
        if url is None:
            url = self._urls[path] = httpx.URL(self._base_url + path)
        headers = [(b"Host", url.netloc), *HEADERS]
        if self._token is not None:
            headers.append((b"Authorization", f"Bearer {self._token.reveal()}".encode("ascii")))
        if content is None:
            return httpx.Request(method, url, headers=headers)
        headers.append((b"Content-Type", b"application/json"))
        headers.append((b"Content-Length", b"%d" % len(content)))
        # As a stream, so that httpx does not read its own headers again, for a fifth of what a whole exchange costs.
        return httpx.Request(method, url, headers=headers, stream=httpx.ByteStream(content))


def _way_to(base_url: str, app: ASGIApp | None) -> _Way:
    """Return what carries requests, what that may raise, and what it means."""
    if app is None:
        # Imported here: a quarter of a second that nobody should wait for who works offline.
        from vn_magic.gateway.network import ERRORS, NetworkTransport, error_of  # noqa: PLC0415 - see above

        return NetworkTransport(base_url), ERRORS, error_of
    return httpx.ASGITransport(app), (), _never


def _never(error: BaseException, _host: str, _scrub: Callable[[str], str]) -> GatewayError:
    raise TypeError("an application inside the process has no network errors") from error


async def _read_bounded(response: httpx.Response, headers: Mapping[str, str], largest_body: int) -> bytes:
    """Return the raw body, never more than so many bytes and never unpacked: identity was asked for."""
    if headers.get("content-encoding", "identity").lower() != "identity":
        raise UnreadableAnswerError.because("it is compressed")
    chunks: list[bytes] = []
    size = 0
    async for chunk in cast("httpx.AsyncByteStream", response.stream):
        size += len(chunk)
        if size > largest_body:
            raise UnreadableAnswerError.because(f"more than {largest_body} bytes")
        chunks.append(chunk)
    return b"".join(chunks)
