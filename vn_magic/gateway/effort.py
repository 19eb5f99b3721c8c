"""What one job may ask of the gateway: how much at once, how often again, and for how long in vain."""

from __future__ import annotations

from collections.abc import Iterable

from vn_magic.exceptions import DeadlineError, RateLimitedError, TransientError
from vn_magic.gateway.budget import RetryBudget
from vn_magic.gateway.circuit import Circuit, Failure
from vn_magic.gateway.concurrency import Concurrency


class Effort:
    """A job's concurrency, retry budget and circuit, which hear of every attempt.

    Parameters
    ----------
    concurrency
        See `Concurrency`.
    patience
        See `Circuit`.
    """

    def __init__(self, concurrency: int | None, *, patience: float) -> None:
        self.concurrency = Concurrency(concurrency)
        self._circuit = Circuit(patience)
        self._budget = RetryBudget(self.concurrency.most)

    @property
    def run(self) -> int:
        """How long the job has been failing, in steps; see `Circuit`."""
        return self._circuit.run

    @property
    def reached(self) -> bool:
        """Whether anything has answered yet, be it a failure."""
        return self._circuit.reached

    @property
    def gateway_seems_down(self) -> bool:
        """Whether the gateway seems to fail, not single texts: all that was under way has, and the next one too."""
        circuit = self._circuit
        all_failed = circuit.concerns_many and circuit.failures >= self.concurrency.limit
        return circuit.reached and all_failed and circuit.run > 0

    def succeeded(self, begun: float, cost: int) -> None:
        """Note an answer to an attempt that began then and had this cost."""
        self._circuit.answered()
        self._budget.give_back(cost)
        self.concurrency.clean(begun)

    def answered(self) -> None:
        """Note an answer that is no vector and no failure either, as the rejection of a text: the gateway works."""
        self._circuit.answered()

    def failed(self, error: Failure, begun: float, texts: Iterable[str]) -> None:
        """Note a failed attempt for these texts that began then.

        Raises
        ------
        OutageError
            When nothing has succeeded for too long.
        """
        self._circuit.failed(error, begun, texts)
        if isinstance(error, RateLimitedError | DeadlineError) or self.gateway_seems_down:
            self.concurrency.strained(begun)

    def pay_for_retry(self, error: TransientError) -> int:
        """Return the cost of one more attempt.

        Raises
        ------
        TransientError
            The same one, when too many of the job's requests have failed to try again.
        """
        cost = self._budget.spend(error)
        if cost is None:
            raise error.as_last()
        return cost
