"""Which failures are tried again, and after how long. Pure: it decides, the client acts."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Any, Protocol

from tenacity import (
    AsyncRetrying,
    RetryCallState,
    retry_if_exception_type,
    stop_after_attempt,
    stop_any,
    stop_before_delay,
    wait_random,
)

from vn_magic.exceptions import ConnectionFailedError, RateLimitedError, TransientError

_DURATION = re.compile(r"^\s*([0-9]+(?:\.[0-9]+)?)(ms|s)\s*$")
_RETRY_IN_TEXT = re.compile(r"retry in ([0-9]+(?:\.[0-9]+)?)\s*(ms|s)\b", re.IGNORECASE)
_SECONDS = re.compile(r"^\s*[+-]?[0-9]+(?:\.[0-9]+)?\s*$")


# Beyond any longest backoff; without it a power of two could grow out of the floats.
_MOST_DOUBLINGS = 30


class FailureRun(Protocol):
    """What the policy asks of a job's `vn_magic.gateway.effort.Effort`."""

    @property
    def run(self) -> int:
        """Failures in a row."""

    @property
    def reached(self) -> bool:
        """Whether anything has answered yet."""

    @property
    def gateway_seems_down(self) -> bool:
        """Whether it seems to be the gateway that fails, and not single texts."""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often and how patiently a row is tried.

    Parameters
    ----------
    attempts
        The most attempts for one row.
    limited_attempts
        The most where the last failure was a 429: others may have used up the account's minute, and the next one.
    connection_attempts
        The most where nothing has ever answered: a wrong address should not take half a minute to say so.
    row_timeout
        Seconds of attempts and waits after which no further attempt starts; time spent at the gate, before a request
        may start, is not counted.
    first_backoff, longest_backoff
        Seconds; full jitter draws from zero to the exponential bound between them (AWS Architecture Blog,
        "Exponential Backoff And Jitter", 2015).
    """

    attempts: int = 8
    limited_attempts: int = 40
    connection_attempts: int = 4
    row_timeout: float = 300.0
    first_backoff: float = 0.5
    longest_backoff: float = 30.0

    def retrying(self, job: FailureRun, before_sleep: Callable[[RetryCallState], None]) -> AsyncRetrying:
        """Return the loop around one row. tenacity's loops carry state, so every row needs its own."""
        return AsyncRetrying(
            retry=retry_if_exception_type(TransientError),
            wait=lambda state: self.wait(state, job),
            stop=lambda state: self.stop(state, job),
            before_sleep=before_sleep,
            reraise=True,
        )

    def wait(self, state: RetryCallState, job: FailureRun) -> float:
        """Return the seconds before the next attempt: as the service named them, else full jitter.

        The bound doubles with the row's attempts, or with the job's failures in a row where it is the gateway that
        fails. In such a run half of the wait is certain, so that its length can be relied on.
        """
        named = error_of(state).retry_after
        if not named:
            run = job.run if job.gateway_seems_down or isinstance(error_of(state), RateLimitedError) else 0
            doublings = min(max(state.attempt_number - 1, run), _MOST_DOUBLINGS)
            bound = min(self.longest_backoff, self.first_backoff * 2**doublings)
            return wait_random(bound / 2 if run else 0, bound)(state)
        # The named wait is a floor. A spread of a tenth keeps a class of thirty from returning as one.
        return named + wait_random(0, 0.1 * named)(state)

    def stop(self, state: RetryCallState, job: FailureRun) -> bool:
        """Whether to give up: the attempts are used up, or the wait would end past the row's deadline."""
        error = error_of(state)
        attempts = self.attempts
        if isinstance(error, RateLimitedError):
            attempts = self.limited_attempts
        elif isinstance(error, ConnectionFailedError) and not job.reached:
            attempts = self.connection_attempts
        return stop_any(stop_after_attempt(attempts), stop_before_delay(self.row_timeout))(state)


def error_of(state: RetryCallState) -> TransientError:
    """Return what the last attempt raised. Only transient errors come back for another attempt."""
    error = state.outcome.exception() if state.outcome else None
    if not isinstance(error, TransientError):
        raise TypeError("a wait is asked for after a transient failure only")  # a fault of ours
    return error


def wait_named_by_server(
    headers: Mapping[str, str], details: Iterable[Mapping[str, Any]], message: str, *, now: float
) -> float | None:
    """Return the seconds that the service asks to wait, or None where it does not say.

    Looked for in this order (GATEWAY section 2): ``Retry-After`` as seconds or HTTP date, Google's
    ``details[].retryDelay`` (``45.8s``, ``300ms``), ``retry in 45.57s`` in the message. A time in the past is 0;
    what cannot be read is passed over.
    """
    header = headers.get("retry-after")
    if header is not None:
        seconds = _from_retry_after(header, now)
        if seconds is not None:
            return seconds
    for detail in details:
        found = _DURATION.match(str(detail.get("retryDelay", "")))
        if found:
            return _seconds(found[1], found[2])
    found = _RETRY_IN_TEXT.search(message)
    return _seconds(found[1], found[2]) if found else None


def _from_retry_after(header: str, now: float) -> float | None:
    if _SECONDS.match(header):
        return max(0.0, float(header))
    date = unix_time(header)
    return None if date is None else max(0.0, date - now)


def unix_time(http_date: str) -> float | None:
    """Return the Unix time of an HTTP date, None where it is none. RFC 9110, 5.6.7: all of its forms are in UTC."""
    try:
        date = parsedate_to_datetime(http_date)
        return (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError, TypeError):
        return None


def _seconds(number: str, unit: str) -> float:
    return float(number) / (1000 if unit == "ms" else 1)
