"""The gateway's client: attempts, pace, and whom to tell what became of a row."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, Protocol, Self

from vn_magic.credentials import Token
from vn_magic.exceptions import (
    BadAnswerError,
    BatchUnavailableError,
    ConnectionFailedError,
    GatewayError,
    RateLimitedError,
    RejectedTextError,
    RowError,
    StopJobError,
    TransientError,
)
from vn_magic.gateway.concurrency import Concurrency
from vn_magic.gateway.dialect import Dialect, Question
from vn_magic.gateway.effort import Effort
from vn_magic.gateway.ledger import StartLedger, ledger_path
from vn_magic.gateway.pace import Pace, Start
from vn_magic.gateway.probe import Probe, Verdict
from vn_magic.gateway.retry import RetryPolicy, Trial, unix_time
from vn_magic.gateway.transport import Transport
from vn_magic.gateway.wire import Answer
from vn_magic.settings import Recipe, host_of, origin_of

if TYPE_CHECKING:
    from starlette.types import ASGIApp

logger = logging.getLogger("vn_magic")


class Job(Protocol):
    """Whose rows are embedded, on the client's loop."""

    @property
    def has_failed(self) -> bool:
        """Whether nothing more is to be sent."""

    async def still_wanted(self, rows: Collection[int]) -> Collection[int]:
        """Return those of the rows that have not come from elsewhere.

        Asked when a request may start, for that can be long after it was wished.
        """

    def on_send(self, rows: Collection[int], question: Question) -> None:
        """Note that a request for these rows is about to start; what this raises keeps it from being sent."""

    def on_reply(self) -> None:
        """Note that the request has ended, whatever came of it."""

    def on_trouble(self, rows: Collection[int]) -> None:
        """Note that an attempt for these rows failed."""

    def on_wait(self, seconds: float, error: TransientError) -> None:
        """Note that another attempt follows after a wait."""

    def on_answer(self, row: int, answer: Answer) -> None:
        """Take a row's vector."""

    def on_failure(self, row: int, error: GatewayError) -> None:
        """Take why a row has none: a RowError, or a TransientError that is not tried again."""


class _MetLimit(NamedTuple):
    """The latest request that met a limit of the gateway, until one that began later has succeeded."""

    begun: float
    heard: float


class GatewayClient:
    """Sends texts to one gateway with one token, one a request unless batches are asked for.

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
        self._ledger = StartLedger(None if app else ledger_path(), origin_of(base_url))
        self.pace = Pace(self._ledger, timeout=request_timeout, window=window)
        self._policy = policy
        self._met_limit: _MetLimit | None = None
        self._transport = Transport(base_url, token, timeout=request_timeout, app=app)
        self._dialect = Dialect(host_of(base_url), self._transport.scrub, longest_wait=policy.row_timeout)

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
        return (*self._dialect.notices, *self._ledger.notices)

    def effort(self, concurrency: int | None) -> Effort:
        """Return what a new job may ask of this gateway; see `Effort`."""
        return Effort(concurrency, patience=self._policy.row_timeout)

    @property
    def knows_of_batches(self) -> bool:
        """Whether the gateway has shown that it embeds several texts in one request, or that it does not."""
        return self._dialect.has_batches is not None

    def batch_size(self, wanted: int) -> int:
        """Return how many texts a request may carry just now where so many are wanted."""
        size = self._dialect.batch_size(wanted)
        return min(size, self.pace.limit or size)  # a batch beyond the rate would wait for ever

    async def embed(self, texts: Mapping[int, str], recipe: Recipe, job: Job, effort: Effort) -> None:
        """Get the vectors of some rows with one request, after as many attempts as the policy allows.

        A request with several texts that fails is tried again in halves: a text that makes it fail is alone in the
        end, and the others get their vectors.

        Parameters
        ----------
        texts
            By row; sent exactly as they are.
        recipe
            What to ask for. An answer may be longer than ``recipe.dimension`` where the gateway ignores the
            wish and prefixes are vectors; it is never shorter.
        job
            Told of every attempt, every wait, and what became of every row.
        effort
            The job's; it hears of every attempt and bounds them all together.

        Raises
        ------
        StopJobError
            When every further row would fail in the same way. Nothing more is sent for the rows that are left.
        """
        trials = [Trial(texts)]
        is_first_batch = len(texts) > 1 and not self.knows_of_batches
        refused: BatchUnavailableError | None = None
        while trials and not job.has_failed:
            trial = trials.pop()
            if len(trial.texts) > self.batch_size(len(trial.texts)):  # fewer than when they were put together
                trials.extend(reversed(trial.halves()))
                continue
            again, error = await self._outcome(trial, recipe, job, effort)
            trials.extend(reversed(again))
            if isinstance(error, BatchUnavailableError):
                refused = error
            elif again and is_first_batch and isinstance(error, RowError):
                refused = BatchUnavailableError.because("it rejects them", status=error.status)
            elif error is not None and not again:
                refused, is_first_batch = None, False  # it may be these texts, or their model
                for row in trial.texts:
                    job.on_failure(row, error)
        if refused is not None and not trials:  # although each of its texts was taken alone
            self._dialect.do_without_batches(refused)

    async def _outcome(
        self, trial: Trial, recipe: Recipe, job: Job, effort: Effort
    ) -> tuple[list[Trial], GatewayError | None]:
        """Make one attempt; return what is to be tried next, and why, where it failed for the last time."""
        try:
            failures = await self._attempt(trial, recipe, job, effort)
        except BatchUnavailableError as error:
            if error.status == 200:  # paid for, perhaps: nobody's should be again
                self._dialect.do_without_batches(error)
            return trial.singly(), error
        except RowError as error:
            # Rejected, not failed: its texts have all their attempts before them.
            return [replace(half, attempts=0) for half in trial.halves()], error
        except TransientError as error:
            last = await self._last_error(error, trial, job, effort)
            if last is None:
                return trial.after(error), None
            # A limit, a network that is away and a job without retries are nobody's own.
            is_own = last is error and not isinstance(error, RateLimitedError | ConnectionFailedError)
            return trial.halves() if is_own else [], last
        if failures is None:
            return [trial], None
        for row, failure in failures.items():
            job.on_failure(row, failure)
        return [], None

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
            raise self._dialect.error(reply)
        return Probe(Verdict.ACCEPTED, offset)

    async def _attempt(
        self, trial: Trial, recipe: Recipe, job: Job, effort: Effort
    ) -> Mapping[int, GatewayError] | None:
        """Send the texts that are still wanted, and hand their vectors over; return why others have none.

        Returns None where places became fewer while this one waited: it has to queue again.
        """
        async with effort.concurrency:
            start = await self.pace.start(len(trial.texts), unless=partial(self._is_crowded, effort.concurrency))
            if start is None:
                return None
            trial.attempts += 1
            try:
                return await self._started(start, trial, recipe, job, effort)
            finally:
                await self.pace.end(start)

    def _is_crowded(self, concurrency: Concurrency) -> bool:
        if self._met_limit is not None:
            concurrency.strained(self._met_limit.begun)  # perhaps by a request of another job
        return concurrency.is_crowded

    async def _started(
        self, start: Start, trial: Trial, recipe: Recipe, job: Job, effort: Effort
    ) -> Mapping[int, GatewayError]:
        # Before the look-up: what happens during it is news that this attempt cannot heed any more.
        begun = time.monotonic()
        wanted = await job.still_wanted(trial.texts.keys())
        if len(wanted) < len(trial.texts):
            trial.texts = {row: trial.texts[row] for row in wanted}
        if not trial.texts:
            start.sent = False
            return {}
        try:
            outcomes = await self._exchange(start, trial.texts, recipe, job)
        except GatewayError as error:
            self._note_failure(error, begun, trial.texts, job, effort)
            raise
        finally:
            trial.seconds += time.monotonic() - begun
        return self._hand_over(outcomes, trial, begun, job, effort)

    def _note_failure(
        self, error: GatewayError, begun: float, texts: Mapping[int, str], job: Job, effort: Effort
    ) -> None:
        if isinstance(error, RateLimitedError):
            # Whether it is tried again or not: the limit is the account's.
            self._met_limit = _MetLimit(begun, time.monotonic())
            self.pace.cool_down(error.retry_after or 0.0)
        if isinstance(error, TransientError | BadAnswerError):
            job.on_trouble(texts.keys())
            effort.failed(error, begun, texts.values())
        elif isinstance(error, RejectedTextError | BatchUnavailableError):
            effort.answered()

    def _hand_over(
        self, outcomes: Sequence[Answer | GatewayError], trial: Trial, begun: float, job: Job, effort: Effort
    ) -> Mapping[int, GatewayError]:
        failures: dict[int, GatewayError] = {}
        for row, outcome in zip(trial.texts, outcomes, strict=True):
            if isinstance(outcome, Answer):
                job.on_answer(row, outcome)
            else:
                failures[row] = outcome
        if len(failures) < len(outcomes):
            effort.succeeded(begun, trial.cost)
            if self._met_limit is not None and begun > self._met_limit.heard:
                self._met_limit = None
        # After the vectors, which are paid for: one of these may end the job.
        for row, failure in failures.items():
            self._note_failure(failure, begun, {row: trial.texts[row]}, job, effort)
            if isinstance(failure, StopJobError):
                raise failure
        return failures

    async def _last_error(self, error: TransientError, trial: Trial, job: Job, effort: Effort) -> TransientError | None:
        """Wait before the next attempt; return the error with which the trial ends where there is none."""
        wait = self._policy.wait(error, trial, effort, draw=random.random())  # noqa: S311 - a spread, no secret
        if self._policy.gives_up(error, trial, wait, effort):
            return error
        try:
            trial.cost = effort.pay_for_retry(error)
        except TransientError as last:
            return last
        if isinstance(error, RateLimitedError) or effort.gateway_seems_down:
            self.pace.cool_down(wait)  # the trouble is not these rows': all workers wait together
        logger.debug("attempt %d: %s, next in %.2f s", trial.attempts, type(error).__name__, wait)
        job.on_wait(wait, error)
        await asyncio.sleep(wait)
        trial.seconds += wait
        return None

    async def _exchange(
        self, start: Start, texts: Mapping[int, str], recipe: Recipe, job: Job
    ) -> Sequence[Answer | GatewayError]:
        question = self._dialect.question(list(texts.values()), recipe)
        try:
            job.on_send(texts.keys(), question)
        except GatewayError:
            start.sent = False
            raise
        try:
            reply = await self._transport.exchange("POST", question.path, question.body, question.largest_answer)
        finally:
            job.on_reply()
        return self._dialect.outcomes(question, reply)


def _clock_offset(date: str | None) -> float | None:
    told = unix_time(date or "")
    return None if told is None else time.time() - told
