"""The gateway's client: attempts, pace, and what an answer means."""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, NamedTuple, Protocol, Self

from vn_magic.credentials import Token
from vn_magic.exceptions import (
    BadAnswerError,
    DimensionError,
    GatewayError,
    LongWaitError,
    RateLimitedError,
    RejectedTextError,
    TransientError,
    WrongAddressError,
)
from vn_magic.gateway.concurrency import Concurrency
from vn_magic.gateway.effort import Effort
from vn_magic.gateway.envelopes import Envelope, error_from, quote
from vn_magic.gateway.ledger import StartLedger, ledger_path
from vn_magic.gateway.pace import Pace, Start
from vn_magic.gateway.probe import Probe, Verdict
from vn_magic.gateway.retry import RetryPolicy, error_of, unix_time
from vn_magic.gateway.transport import Reply, Transport
from vn_magic.gateway.wire import (
    OFFLINE_LABEL_HEADER,
    Answer,
    DimensionSpelling,
    embed_body,
    embed_path,
    parse_embedding,
)
from vn_magic.models import facts_of
from vn_magic.settings import Recipe, host_of, origin_of

if TYPE_CHECKING:
    from starlette.types import ASGIApp
    from tenacity import RetryCallState

logger = logging.getLogger("vn_magic")


HasCome = Callable[[], Awaitable[bool]]


class AttemptObserver(Protocol):
    """Follows one row's attempts, on the client's loop."""

    def on_send(self) -> None:
        """Note that a request starts."""

    def on_wait(self, seconds: float, error: TransientError) -> None:
        """Note that the last attempt failed and another follows after a wait."""


class _MetLimit(NamedTuple):
    """The latest request that met a limit of the gateway, until one that began later has succeeded."""

    begun: float
    heard: float


class GatewayClient:
    """Sends one text a request to one gateway with one token.

    Open and use it inside one event loop.

    Parameters
    ----------
    base_url, token, request_timeout, app
        See `Transport`. Without a token only a probe makes sense.
    policy
        How often a row is tried.
    window
        See `Pace`.

    Attributes
    ----------
    pace
        The gate that all requests of this client share.
    """

    def __init__(
        self,
        base_url: str,
        token: Token | None,
        *,
        policy: RetryPolicy,
        request_timeout: float,
        app: ASGIApp | None = None,
        window: float = 60.0,
    ) -> None:
        self.base_url = base_url
        self._notices: list[str] = []
        self._ledger = StartLedger(None if app else ledger_path(), origin_of(base_url))
        self.pace = Pace(self._ledger, timeout=request_timeout, window=window)
        self._policy = policy
        self._met_limit: _MetLimit | None = None
        self._spelling = DimensionSpelling.DOCUMENTED
        self._transport = Transport(base_url, token, timeout=request_timeout, app=app)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close all connections."""
        await self._transport.close()
        self._ledger.close()

    @property
    def notices(self) -> tuple[str, ...]:
        """Sentences that the user should see once."""
        return (*self._notices, *self._ledger.notices)

    def effort(self, concurrency: int | None) -> Effort:
        """Return what a new job may ask of this gateway; see `Effort`."""
        return Effort(concurrency, patience=self._policy.row_timeout)

    async def embed(
        self, text: str, recipe: Recipe, observer: AttemptObserver, effort: Effort, has_come: HasCome
    ) -> Answer | None:
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
        effort
            The job's; it hears of every attempt and bounds them all together.
        has_come
            Asked when an attempt may start, for that can be long after it was wished. If it says that the vector has
            come from elsewhere, nothing more is sent, and None is returned.

        Raises
        ------
        GatewayError
            StopJobError, RowError, or the last TransientError when attempts, time or the job's retries are used up.
        """
        cost = 0
        answer: Answer | None = None

        def before_sleep(state: RetryCallState) -> None:
            nonlocal cost
            error, wait = error_of(state), state.upcoming_sleep
            cost = effort.pay_for_retry(error)
            if isinstance(error, RateLimitedError) or effort.gateway_seems_down:
                self.pace.cool_down(wait)  # the trouble is not this row's: all workers wait together
            logger.debug("attempt %d: %s, next in %.2f s", state.attempt_number, type(error).__name__, wait)
            observer.on_wait(wait, error)

        async for attempt in self._policy.retrying(effort, before_sleep):
            with attempt:
                arrived = time.monotonic()
                async with self._started(effort.concurrency) as start:
                    # Before the look-up: what happens during it is news that this attempt cannot heed any more.
                    begun = time.monotonic()
                    attempt.retry_state.start_time += begun - arrived
                    if await has_come():
                        start.sent = False
                        return None
                    try:
                        answer = await self._attempt(text, recipe, observer)
                    except RejectedTextError:
                        effort.rejected()
                        raise
                    except (TransientError, BadAnswerError) as error:
                        if isinstance(error, RateLimitedError):
                            # Whether this row is tried again or not: the limit is the account's.
                            self._met_limit = _MetLimit(begun, time.monotonic())
                            self.pace.cool_down(error.retry_after or 0.0)
                        effort.failed(error, begun, text)
                        raise
                    effort.succeeded(begun, cost)
                    if self._met_limit is not None and begun > self._met_limit.heard:
                        self._met_limit = None
        return answer

    async def probe(self) -> Probe:
        """Ask the free list of models whether the token works. Any other answer raises its error."""
        reply = await self._transport.exchange("GET", "/v1/models")
        offset = _clock_offset(reply.headers.get("date"))
        if reply.status == 401:
            return Probe(Verdict.REFUSED, offset)
        # Gateways without this list answer 404, or the front page that they show for every stray path.
        if reply.status == 404 or (reply.status == 200 and not reply.is_json):
            return Probe(Verdict.UNKNOWN, offset)
        if reply.status != 200:
            raise self._error(reply)
        return Probe(Verdict.ACCEPTED, offset)

    @asynccontextmanager
    async def _started(self, concurrency: Concurrency) -> AsyncIterator[Start]:
        """Enter with a place and a start; queue again for both where places became fewer while this one waited."""

        def is_crowded() -> bool:
            if self._met_limit is not None:
                concurrency.strained(self._met_limit.begun)  # perhaps by a request of another job
            return concurrency.is_crowded

        while True:
            async with concurrency, self.pace.start(unless=is_crowded) as start:
                if start is not None:
                    yield start
                    return

    async def _attempt(self, text: str, recipe: Recipe, observer: AttemptObserver) -> Answer:
        spelling = self._spelling
        content = embed_body(text, recipe, spelling)
        observer.on_send()
        reply = await self._transport.exchange("POST", embed_path(recipe.model), content)
        if reply.status != 200:
            raise self._error(reply)
        if not reply.is_json:
            kind = quote(reply.headers.get("content-type", "nothing"))
            raise WrongAddressError.because(f"HTTP 200, but {kind} instead of JSON", status=200)
        if Envelope.read(reply.body) is not None:
            raise self._error(reply)
        values, tokens = parse_embedding(reply.body)
        self._check_dimension(len(values), recipe, spelling)
        return Answer(values, reply.headers.get(OFFLINE_LABEL_HEADER) or host_of(self.base_url), tokens)

    def _error(self, reply: Reply) -> GatewayError:
        error = error_from(reply.status, reply.headers, reply.body, now=time.time(), scrub=self._transport.scrub)
        wait = error.retry_after or 0.0
        if isinstance(error, RateLimitedError) and wait >= self._policy.row_timeout:
            told = LongWaitError.because(f"{wait:,.0f} s", status=error.status)
            told.code, told.request_id, told.retry_after = error.code, error.request_id, wait
            return told
        return error

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
            self._notices.append(
                f"The gateway ignored output_dimensionality and sent {length} values: their first "
                f"{recipe.dimension} are the vector. From now on outputDimensionality is used; nothing is sent twice."
            )


def _clock_offset(date: str | None) -> float | None:
    told = unix_time(date or "")
    return None if told is None else time.time() - told
