"""When a job has seen enough: failures in a row, without one success between them."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable

from vn_magic.exceptions import (
    BadAnswerError,
    ConnectionFailedError,
    DeadlineError,
    OutageError,
    RateLimitedError,
    TransientError,
    UnreadableAnswerError,
)

# Their waits, doubled from half a second to half a minute, are 75 s together at least: longer than the minute by which
# gateways count their limits.
MOST_IN_A_ROW = 10
# A 429 proves that the gateway lives. A class that shares one account waits its turn, for ten minutes or so.
MOST_LIMITED_IN_A_ROW = 30
# They come at once and may be paid for; some texts may have no other answer.
MOST_BAD_ANSWERS_IN_A_ROW = 100
# With fewer texts it is as well these texts that fail, and not the gateway.
FEWEST_TEXTS = 5

# What says something about the gateway; a text that it rejects says something about the text.
Failure = TransientError | BadAnswerError

_WORDS: dict[type[Failure], str] = {
    BadAnswerError: "an answer without a vector",
    ConnectionFailedError: "no connection",
    DeadlineError: "no answer in time",
    UnreadableAnswerError: "an unreadable answer",
}


class Circuit:
    """The run of failures that a job is in, if any.

    Requests that were under way together are one step of a run, however many they were.

    Parameters
    ----------
    patience
        Seconds after which a run is long enough, however few steps it had: each may be a request that timed out.

    Attributes
    ----------
    run
        The steps after the first: each began when the one before had failed.
    reached
        Whether anything has answered yet, be it a failure.
    """

    def __init__(self, patience: float) -> None:
        self.run = 0
        self.reached = False
        self._patience = patience
        self._began_at = self._last_step_at = 0.0
        self._seen: Counter[str] = Counter()
        self._texts: set[str] = set()

    @property
    def failures(self) -> int:
        """All failures since the last success."""
        return self._seen.total()

    @property
    def concerns_many(self) -> bool:
        """Whether so many texts have failed in this run that it is the gateway, and not they."""
        return len(self._texts) >= FEWEST_TEXTS

    def answered(self) -> None:
        """End the run: the gateway works."""
        self.reached = True
        self.run = 0
        self._seen.clear()
        self._texts.clear()

    def failed(self, error: Failure, begun: float, texts: Iterable[str]) -> None:
        """Note that a request for these texts that began then failed.

        Raises
        ------
        OutageError
            When the run has become too long to go on.
        """
        self.reached |= not isinstance(error, ConnectionFailedError)
        is_first = not self._seen
        self._seen[_WORDS.get(type(error)) or (str(error.status) if error.status else "a broken connection")] += 1
        self._texts.update(texts)
        now = time.monotonic()
        if is_first:
            self._began_at = self._last_step_at = now
        elif begun >= self._last_step_at:
            self.run += 1
            self._last_step_at = now
            if self.concerns_many and self._is_too_long(error):
                raise self._outage(error) from error

    def _is_too_long(self, error: Failure) -> bool:
        if isinstance(error, BadAnswerError):
            return self.failures >= MOST_BAD_ANSWERS_IN_A_ROW
        if isinstance(error, RateLimitedError):
            return self.run >= MOST_LIMITED_IN_A_ROW
        return self.run >= MOST_IN_A_ROW or time.monotonic() > self._began_at + self._patience

    def _outage(self, error: Failure) -> OutageError:
        kinds = ", ".join(f"{kind} × {count}" for kind, count in self._seen.most_common())
        cure = RateLimitedError.cure if isinstance(error, RateLimitedError) else OutageError.cure
        return OutageError(f"{OutageError.meaning} ({kinds})\n{cure}", status=error.status)
