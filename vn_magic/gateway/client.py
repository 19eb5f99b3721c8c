"""The gateway's client: attempts, pace, and what an answer means."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Protocol, Self

from vn_magic.credentials import Token
from vn_magic.exceptions import (
    DimensionError,
    GatewayError,
    LongWaitError,
    RateLimitedError,
    TransientError,
    WrongAddressError,
)
from vn_magic.gateway.envelopes import Envelope, error_from, quote
from vn_magic.gateway.pace import Pace
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
from vn_magic.settings import Recipe, host_of

if TYPE_CHECKING:
    from starlette.types import ASGIApp
    from tenacity import RetryCallState

logger = logging.getLogger("vn_magic")


class AttemptObserver(Protocol):
    """Follows one row's attempts, on the client's loop."""

    def on_send(self) -> None:
        """Note that a request starts."""

    def on_wait(self, seconds: float, error: TransientError) -> None:
        """Note that the last attempt failed and another follows after a wait."""


class GatewayClient:
    """Sends one text a request to one gateway with one token.

    Open and use it inside one event loop.

    Parameters
    ----------
    base_url, token, request_timeout, app
        See `Transport`. Without a token only a probe makes sense.
    policy
        How often a row is tried.

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
        self.pace = Pace()
        self._policy = policy
        self._spelling = DimensionSpelling.DOCUMENTED
        self._transport = Transport(base_url, token, timeout=request_timeout, app=app)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close all connections."""
        await self._transport.close()

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
            if isinstance(error, RateLimitedError):
                self.pace.cool_down(wait)  # the limit is the account's: all workers wait together
            logger.debug("attempt %d: %s, next in %.2f s", state.attempt_number, type(error).__name__, wait)
            observer.on_wait(wait, error)

        answer: Answer = await self._policy.retrying(before, before_sleep)(self._attempt, text, recipe, observer)
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
        text = self._transport.scrub(reply.body.decode("utf-8", "replace"))
        error = error_from(reply.status, reply.headers, text.encode(), now=time.time())
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
            self.notices.append(
                f"The gateway ignored output_dimensionality and sent {length} values: their first "
                f"{recipe.dimension} are the vector. From now on outputDimensionality is used; nothing is sent twice."
            )


def _clock_offset(date: str | None) -> float | None:
    told = unix_time(date or "")
    return None if told is None else time.time() - told
