"""Which failures are tried again, and after how long. Pure: it decides, the client acts."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Any

from tenacity import (
    AsyncRetrying,
    RetryCallState,
    retry_if_exception_type,
    stop_after_attempt,
    stop_any,
    stop_before_delay,
    wait_random,
    wait_random_exponential,
)

from vn_magic.exceptions import ConnectionFailedError, TransientError

_DURATION = re.compile(r"^\s*(\d+(?:\.\d+)?)(ms|s)\s*$")
_RETRY_IN_TEXT = re.compile(r"retry in (\d+(?:\.\d+)?)\s*(ms|s)\b", re.IGNORECASE)
_SECONDS = re.compile(r"^\s*[+-]?\d+(?:\.\d+)?\s*$")


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often and how patiently a row is tried.

    Parameters
    ----------
    attempts
        The most attempts for one row.
    connection_attempts
        The most where nothing answers at all: a wrong address should not take half a minute to say so.
    row_timeout
        Seconds of attempts and waits after which no further attempt starts; time spent at the gate, before a request
        may start, is not counted.
    first_backoff, longest_backoff
        Seconds; full jitter draws from zero to the exponential bound between them (AWS Architecture Blog,
        "Exponential Backoff And Jitter", 2015).
    """

    attempts: int = 8
    connection_attempts: int = 4
    row_timeout: float = 300.0
    first_backoff: float = 0.5
    longest_backoff: float = 30.0

    def retrying(
        self, before: Callable[[RetryCallState], Awaitable[None]], before_sleep: Callable[[RetryCallState], None]
    ) -> AsyncRetrying:
        """Return the loop around one row. tenacity's loops carry state, so every row needs its own."""
        return AsyncRetrying(
            before=before,
            retry=retry_if_exception_type(TransientError),
            wait=self.wait,
            stop=self.stop,
            before_sleep=before_sleep,
            reraise=True,
        )

    def wait(self, state: RetryCallState) -> float:
        """Return the seconds before the next attempt: as the service named them, else full jitter."""
        named = error_of(state).retry_after
        if not named:
            return wait_random_exponential(multiplier=self.first_backoff, max=self.longest_backoff)(state)
        # The named wait is a floor. A spread of a tenth keeps a class of thirty from returning as one.
        return named + wait_random(0, 0.1 * named)(state)

    def stop(self, state: RetryCallState) -> bool:
        """Whether to give up: the attempts are used up, or the wait would end past the row's deadline."""
        silent = isinstance(error_of(state), ConnectionFailedError)
        attempts = self.connection_attempts if silent else self.attempts
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
