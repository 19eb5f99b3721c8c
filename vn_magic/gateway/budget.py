"""How many retries a job may spend: plenty while most requests succeed, few when they do not."""

from __future__ import annotations

from vn_magic.exceptions import DeadlineError, TransientError

CAPACITY = 500
RETRY_COST = 5
DEADLINE_COST = 10
FIRST_TRY_BONUS = 1


class RetryBudget:
    """A job's quota of retries, with the numbers of the AWS SDKs' standard retry mode.

    A retry costs 5, after a timeout 10; a success gives back what its last retry cost, or 1 when it needed none (AWS
    SDKs and Tools Reference Guide, "Retry behavior"). So a gateway that fails up to every third request is
    worked with for ever, and one that fails more often is not burdened with retries on top.

    Parameters
    ----------
    most_at_once
        How many requests may be under way together. When all of them time out, and once more, that must not use up
        the quota, so it grows with them beyond 500.
    """

    def __init__(self, most_at_once: int) -> None:
        self._capacity = self._left = max(CAPACITY, 2 * DEADLINE_COST * most_at_once)

    def spend(self, error: TransientError) -> int | None:
        """Pay for one more attempt after this error; return its cost, None when the budget does not cover it."""
        cost = DEADLINE_COST if isinstance(error, DeadlineError) else RETRY_COST
        if cost > self._left:
            return None
        self._left -= cost
        return cost

    def give_back(self, cost: int) -> None:
        """Note a success whose last retry had this cost; 0 when there was none."""
        self._left = min(self._capacity, self._left + (cost or FIRST_TRY_BONUS))
