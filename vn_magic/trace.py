"""Trace: what became of each row of a job, and what went over the wire for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from vn_magic.exceptions import BadAnswerError, GatewayError, OutageError, UnreadableAnswerError
from vn_magic.lookup import Origin
from vn_magic.pack import PackInUse
from vn_magic.settings import JobOptions, Recipe

if TYPE_CHECKING:
    from vn_magic.gateway.wire import Answer

# Requests remembered with their bodies: the latest ones, so that a long job stays light.
MOST_EXCHANGES = 1000


class Outcome(IntEnum):
    """Where a row's vector is from."""

    NONE = 0
    NEW = 1
    CACHED = 2
    RECORDED = 3
    FAILED = 4


@dataclass(slots=True, eq=False)
class Exchange:
    """The latest request for a row, and what came back.

    Parameters
    ----------
    path, body
        Below the base URL, and the bytes as they were sent.
    texts
        How many texts the request carried.
    attempts
        How many requests were sent for the row by then.
    status
        The HTTP status; None where no answer came, or none yet.
    request_id
        The gateway's own.
    length
        Values of the vector as received; 0 where there is none.
    tokens
        As the service counted them, of a batch the row's share; None where it does not say.
    """

    path: str
    body: bytes
    texts: int
    attempts: int = 1
    status: int | None = None
    request_id: str | None = None
    length: int = 0
    tokens: int | None = None


class Trace:
    """The rows of one job, for who wants to see what happened.

    Parameters
    ----------
    texts
        A row each; None where a row was refused before it was sent, for a reason in ``refused``.
    recipe, options, origin, pack
        What was asked for, how, of whom, and which pack was in use.

    Attributes
    ----------
    errors
        Row number to reason, for rows that were refused or have failed.
    norms
        float64 ``(rows,)``: the length of each vector, cut to its dimension, before it was normalised; None until all
        rows are there.
    """

    def __init__(
        self,
        texts: Sequence[str | None],
        refused: Mapping[int, str],
        recipe: Recipe,
        options: JobOptions,
        origin: Origin,
        pack: PackInUse | None,
    ) -> None:
        self.texts = texts
        self.recipe = recipe
        self.options = options
        self.origin = origin
        self.pack = pack
        self.errors = dict(refused)
        self.norms: NDArray[np.float64] | None = None
        self._outcomes = bytearray(len(texts))
        self._sent = bytearray(len(texts))
        self._exchanges: dict[int, Exchange] = {}

    def sent(self, row: int, exchange: Exchange) -> None:
        """Note a request for a row, in the place of an earlier one."""
        earlier = self._exchanges.pop(row, None)
        if earlier is not None:
            exchange.attempts = earlier.attempts + 1
        elif len(self._exchanges) >= MOST_EXCHANGES:
            del self._exchanges[next(iter(self._exchanges))]
        self._exchanges[row] = exchange
        self._sent[row] = True

    def answered(self, row: int, answer: Answer) -> None:
        """Note the vector that came for a row."""
        self.came(row, Outcome.NEW)
        if (exchange := self._exchanges.get(row)) is not None:
            exchange.status, exchange.request_id = 200, answer.request_id
            exchange.length, exchange.tokens = len(answer.vector), answer.tokens

    def failed(self, row: int, error: GatewayError) -> None:
        """Note why a row has no vector."""
        self.came(row, Outcome.FAILED)
        self.errors.setdefault(row, str(error))
        if (exchange := self._exchanges.get(row)) is not None:
            exchange.status, exchange.request_id = _answer_behind(error)

    def exchange(self, row: int) -> Exchange | None:
        """Return the latest request for a row, as far as it is remembered."""
        return self._exchanges.get(self.first(row))

    def was_sent(self, row: int) -> bool:
        """Whether there was a request for a row, remembered or not."""
        return bool(self._sent[self.first(row)])

    @property
    def first_remembered(self) -> int | None:
        """The first row whose latest request is remembered."""
        return min(tuple(self._exchanges), default=None)

    def came(self, row: int, outcome: Outcome) -> None:
        """Note where a row's vector is from."""
        self._outcomes[row] = outcome

    def outcome(self, row: int) -> Outcome:
        """Return where a row's vector is from; a repeated text has its first row's."""
        return Outcome.FAILED if row in self.errors else Outcome(self._outcomes[self.first(row)])

    def first(self, row: int) -> int:
        """Return the first row with the same text."""
        text = self.texts[row]
        return row if text is None else self.texts.index(text)

    def count(self, outcome: Outcome) -> int:
        """Return how many rows have this outcome, repeated texts and refused rows left out."""
        return self._outcomes.count(outcome)


def _answer_behind(error: GatewayError) -> tuple[int | None, str | None]:
    """Return status and request id of the answer that an error is about; None where no answer came."""
    cause = error.__cause__
    if isinstance(error, OutageError) and isinstance(cause, GatewayError):
        return _answer_behind(cause)
    # What is found wrong with an answer while it is read: only a 200 is read so far.
    was_read = isinstance(error, BadAnswerError | UnreadableAnswerError)
    return error.status or (200 if was_read else None), error.request_id
