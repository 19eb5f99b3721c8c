"""Which failures are tried again, and after how long. Pure: it decides, the client acts."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Any, Protocol

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


@dataclass(slots=True)
class Trial:
    """Texts that are sent together, and what has been tried for them so far.

    Attributes
    ----------
    texts
        By row.
    attempts
        How many there were.
    seconds
        Their time and that of the waits between them; time spent at the gate, before a request may start, is not
        counted.
    cost
        What the last retry took from the job's budget.
    """

    texts: Mapping[int, str]
    attempts: int = 0
    seconds: float = 0.0
    cost: int = 0

    def halves(self) -> list[Trial]:
        """Return two trials that go on with the same texts; none where it is one text."""
        texts = list(self.texts.items())
        middle = len(texts) // 2
        if not middle:
            return []
        # What the last retry cost was paid once.
        return [replace(self, texts=dict(texts[:middle])), replace(self, texts=dict(texts[middle:]), cost=0)]

    def singly(self) -> list[Trial]:
        """Return a new trial for each text."""
        return [Trial({row: text}) for row, text in self.texts.items()]

    def after(self, error: TransientError) -> list[Trial]:
        """Return what is tried next: halves, where one of the texts may be why it failed."""
        if isinstance(error, RateLimitedError | ConnectionFailedError):
            return [self]
        return self.halves() or [self]


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
        Seconds of attempts and waits after which no further attempt starts.
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

    def wait(self, error: TransientError, trial: Trial, job: FailureRun, *, draw: float) -> float:
        """Return the seconds before the next attempt: as the service named them, else full jitter.

        ``draw``, a random number from 0 to 1, says where in its range the wait lies.
        The bound doubles with the row's attempts, or with the job's failures in a row where it is the gateway that
        fails. In such a run half of the wait is certain, so that its length can be relied on.
        """
        named = error.retry_after
        if not named:
            run = job.run if job.gateway_seems_down or isinstance(error, RateLimitedError) else 0
            doublings = min(max(trial.attempts - 1, run), _MOST_DOUBLINGS)
            bound = min(self.longest_backoff, self.first_backoff * 2.0**doublings)
            least = bound / 2 if run else 0.0
            return least + draw * (bound - least)
        # The named wait is a floor. A spread of a tenth keeps a class of thirty from returning as one.
        return named * (1 + 0.1 * draw)

    def gives_up(self, error: TransientError, trial: Trial, wait: float, job: FailureRun) -> bool:
        """Whether no further attempt is made: they are used up, or the wait would end past the row's deadline."""
        attempts = self.attempts
        if isinstance(error, RateLimitedError):
            attempts = self.limited_attempts
        elif isinstance(error, ConnectionFailedError) and not job.reached:
            attempts = self.connection_attempts
        return trial.attempts >= attempts or trial.seconds + wait >= self.row_timeout


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
