"""What a running job tells about itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import msgspec


# One is made for every change of every row, and a frozen dataclass takes fifteen times as long to make.
class ProgressEvent(msgspec.Struct, frozen=True):
    """The state of a job at one moment. Counts are distinct rows, unless the name says otherwise.

    Parameters
    ----------
    rows
        All distinct rows of the job.
    done
        Rows whose vector is in place, or that have failed.
    cached, recorded
        Rows of ``done`` that came from the cache, and from a pack.
    failed
        Rows of ``done`` that have no vector.
    requests, retries
        Attempts sent, and how often one that failed was tried again.
    concurrency
        How many requests may be under way at once just now; 0 before any is sent.
    waiting
        Why and how long the workers wait just now, e.g. ``4 s (429)``; empty when they do not.
    seconds
        Since the job began.
    """

    rows: int
    done: int = 0
    cached: int = 0
    recorded: int = 0
    failed: int = 0
    requests: int = 0
    retries: int = 0
    concurrency: int = 0
    waiting: str = ""
    seconds: float = 0.0


class ProgressListener(Protocol):
    """Receives events on the session's loop, which must not be held up, and where nothing may be printed."""

    def __call__(self, event: ProgressEvent, /) -> None:
        """Take note of an event."""


@dataclass(slots=True)
class Totals:
    """What a session has used since it began. Counted by its jobs as they go, so failed ones count too.

    ``recorded`` rows came from a pack. ``tokens`` are what the service counted, or estimated (``tokens_estimated``)
    where it did not. ``tokens_on_the_way`` are estimated, and only where a budget asks for them.
    """

    requests: int = 0
    retries: int = 0
    new: int = 0
    cached: int = 0
    recorded: int = 0
    tokens: int = 0
    tokens_estimated: bool = False
    tokens_on_the_way: int = 0

    @property
    def tokens_taken(self) -> int:
        """What a budget counts: the tokens of answers, and of requests that may still be answered."""
        return self.tokens + self.tokens_on_the_way


@dataclass(frozen=True, slots=True)
class JobSummary:
    """What a finished job did and cost. Counts are rows, unless the name says otherwise.

    ``new`` rows were paid for by this job; ``cached`` rows, and ``recorded`` ones of a pack, were not; ``duplicates``
    share the vector of an earlier row of the same job and are counted with it. ``concurrency`` is the most requests
    that were under way at once. ``tokens`` is what the service counted for the new texts, or an estimate
    (``tokens_estimated``). ``price_per_million`` is what a million of them costs, as far as the user has said.
    """

    rows: int
    new: int
    cached: int
    failed: int
    duplicates: int
    requests: int
    retries: int
    concurrency: int
    tokens: int
    tokens_estimated: bool
    seconds: float
    recorded: int = 0
    price_per_million: float | None = None
    notices: tuple[str, ...] = ()
