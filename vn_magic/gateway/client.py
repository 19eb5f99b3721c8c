"""The gateway's client. The one file that imports httpx."""

from __future__ import annotations

import asyncio
import logging
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol, Self
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp
import httpx
from httpx_aiohttp import AiohttpTransport

from vn_magic.credentials import Token
from vn_magic.exceptions import (
    ConnectionFailedError,
    DeadlineError,
    DimensionError,
    GatewayError,
    LongWaitError,
    RateLimitedError,
    SettingsError,
    TransientError,
    UnreadableAnswerError,
    UpstreamError,
    WrongAddressError,
)
from vn_magic.gateway.envelopes import Envelope, error_from, quote
from vn_magic.gateway.pace import Pace
from vn_magic.gateway.probe import Probe, Verdict
from vn_magic.gateway.retry import RetryPolicy, error_of, unix_time
from vn_magic.gateway.wire import (
    OFFLINE_LABEL_HEADER,
    Answer,
    DimensionSpelling,
    embed_body,
    embed_path,
    parse_embedding,
)
from vn_magic.models import facts_of
from vn_magic.settings import Recipe, host_of, is_loopback, origin_of

if TYPE_CHECKING:
    from starlette.types import ASGIApp
    from tenacity import RetryCallState

logger = logging.getLogger("vn_magic")

# 3072 values of 25 characters are 77 kB; a body beyond this is not an answer to one text.
LARGEST_BODY = 2 * 1024 * 1024
# More than the workers of a job, so that a panel job and a cell can run side by side.
CONNECTIONS = 256


class AttemptObserver(Protocol):
    """Follows one row's attempts, on the client's loop."""

    def on_send(self) -> None:
        """Note that a request starts."""

    def on_wait(self, seconds: float, error: TransientError) -> None:
        """Note that the last attempt failed and another follows after a wait."""


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


class GatewayClient:
    """Sends one text a request to one gateway with one token.

    Open and use it inside one event loop: its connections belong to it.

    Parameters
    ----------
    base_url
        As normalised by `settings.normalized_base_url`.
    token
        Sent as a Bearer header to the base URL's origin alone; None sends none, which is enough for a probe.
    policy
        How often a row is tried.
    request_timeout
        Seconds for one request from its first byte to its last. A read timeout would not do: it never
        fires on a server that drips.
    app
        An ASGI application to talk to inside the process, instead of the network.

    Attributes
    ----------
    pace
        The gate that all requests of this client share.
    notices
        Sentences that the user should see once.
    """

    def __init__(
        self,
        base_url: str,
        token: Token | None,
        *,
        policy: RetryPolicy,
        request_timeout: float,
        app: ASGIApp | None = None,
    ) -> None:
        self.base_url = base_url
        self.notices: list[str] = []
        self._token = token
        self.pace = Pace()
        self._policy = policy
        self._request_timeout = request_timeout
        self._spelling = DimensionSpelling.DOCUMENTED
        self._http = httpx.AsyncClient(
            base_url=base_url,
            transport=httpx.ASGITransport(app) if app else _network_transport(base_url),
            auth=_BearerAuth(token, origin_of(base_url)) if token else None,
            headers={"Accept": "application/json", "Accept-Encoding": "identity", "Accept-Language": "en"},
            follow_redirects=False,
            trust_env=False,
            timeout=None,  # noqa: S113 - `_deadline` bounds the whole request, which no httpx timeout does
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close all connections."""
        await self._http.aclose()

    async def embed(self, text: str, recipe: Recipe, observer: AttemptObserver) -> Answer:
        """Return the vector of one text, after as many attempts as the policy allows.

        Parameters
        ----------
        text
            Sent exactly as it is.
        recipe
            What to ask for. The answer may be longer than ``recipe.dimension`` where the gateway ignores the
            wish and prefixes are vectors; it is never shorter.
        observer
            Told of every attempt and every wait.

        Raises
        ------
        GatewayError
            StopJobError, RowError, or the last TransientError when attempts or time are used up.
        """

        async def before(state: RetryCallState) -> None:
            arrived = time.monotonic()
            await self.pace.admit()
            state.start_time += time.monotonic() - arrived

        def before_sleep(state: RetryCallState) -> None:
            error, wait = error_of(state), state.upcoming_sleep
            if error.status == 429:
                self.pace.cool_down(wait)  # the limit is the account's: all workers wait together
            logger.debug("attempt %d: %s, next in %.2f s", state.attempt_number, type(error).__name__, wait)
            observer.on_wait(wait, error)

        answer: Answer = await self._policy.retrying(before, before_sleep)(self._attempt, text, recipe, observer)
        return answer

    async def probe(self) -> Probe:
        """Ask the free list of models whether the token works. Any other answer raises its error."""
        response, body = await self._exchange("GET", "/v1/models")
        offset = _clock_offset(response.headers.get("date"))
        if response.status_code == 401:
            return Probe(Verdict.REFUSED, offset)
        # Gateways without this list answer 404, or the front page that they show for every stray path.
        if response.status_code == 404 or (response.status_code == 200 and not _is_json(response)):
            return Probe(Verdict.UNKNOWN, offset)
        if response.status_code != 200:
            raise self._error(response, body)
        return Probe(Verdict.ACCEPTED, offset)

    async def _attempt(self, text: str, recipe: Recipe, observer: AttemptObserver) -> Answer:
        spelling = self._spelling
        content = embed_body(text, recipe, spelling)
        observer.on_send()
        response, body = await self._exchange("POST", embed_path(recipe.model), content)
        if response.status_code != 200:
            raise self._error(response, body)
        if not _is_json(response):
            kind = quote(self._scrubbed(response.headers.get("content-type", "nothing")))
            raise WrongAddressError.because(f"HTTP 200, but {kind} instead of JSON", status=200)
        if Envelope.read(body) is not None:
            raise self._error(response, body)
        values, tokens = parse_embedding(body)
        self._check_dimension(len(values), recipe, spelling)
        label = response.headers.get(OFFLINE_LABEL_HEADER)
        return Answer(values, label or host_of(self.base_url), tokens)

    async def _exchange(self, method: str, path: str, content: bytes | None = None) -> tuple[httpx.Response, bytes]:
        """Send, and read the whole answer under a cap and a deadline. Foreign errors are translated here."""
        headers = {"Content-Type": "application/json"} if content is not None else None
        with _translated(host_of(self.base_url), self._request_timeout, self._scrubbed):
            async with (
                asyncio.timeout(self._request_timeout),
                self._http.stream(method, path, content=content, headers=headers) as response,
            ):
                try:
                    return response, await _read_bounded(response)
                except UnreadableAnswerError:
                    if response.status_code == 200:
                        raise
                    return response, b""  # the status of a failure says enough: a 401 is never tried again

    def _error(self, response: httpx.Response, body: bytes) -> GatewayError:
        headers = {name: self._scrubbed(value) for name, value in response.headers.items()}
        text = self._scrubbed(body.decode("utf-8", "replace"))
        error = error_from(response.status_code, headers, text.encode(), now=time.time())
        wait = error.retry_after or 0.0
        if isinstance(error, RateLimitedError) and wait >= self._policy.row_timeout:
            told = LongWaitError.because(f"{wait:,.0f} s", status=error.status)
            told.code, told.request_id, told.retry_after = error.code, error.request_id, wait
            return told
        return error

    def _scrubbed(self, text: str) -> str:
        # A gateway may quote the token that it refuses, and a broken one whatever it was sent.
        return self._token.scrub(text) if self._token else text

    def _check_dimension(self, length: int, recipe: Recipe, spelling: DimensionSpelling) -> None:
        if length == recipe.dimension:
            return
        first = spelling is self._spelling is DimensionSpelling.DOCUMENTED
        if length > recipe.dimension and first:
            self._spelling = DimensionSpelling.CAMEL_CASE
        told = f"asked {recipe.dimension}, got {length} from {recipe.model}"
        if length < recipe.dimension or not facts_of(recipe.model).prefixes_are_vectors:
            raise DimensionError.because(told, status=200)
        if not recipe.unit_length:
            # Whether the gateway would have normalised the shorter vector is not known: no prefix is "as received".
            raise DimensionError(
                f"{DimensionError.meaning} ({told}), and --raw cannot cut it.\n"
                "Next: run it again (the dimension's other spelling is used from now on), or leave out --raw.",
                status=200,
            )
        if first:
            self.notices.append(
                f"The gateway ignored output_dimensionality and sent {length} values: their first "
                f"{recipe.dimension} are the vector. From now on outputDimensionality is used; nothing is sent twice."
            )


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


def _clock_offset(date: str | None) -> float | None:
    told = unix_time(date or "")
    return None if told is None else time.time() - told


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


def _is_json(response: httpx.Response) -> bool:
    return "json" in response.headers.get("content-type", "").lower()


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
