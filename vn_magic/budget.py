"""What may be sent at most: by a session, and by one job."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from vn_magic.exceptions import BudgetError
from vn_magic.settings import JobOptions, Settings

Unit = Literal["requests", "tokens"]


class Limit(NamedTuple):
    """One of a budget's limits, and what of it is used. Prints as ``the session's budget of 100 requests (40 used)``.

    Tokens are marked ≈: those of a text are estimated until the service has counted them.
    """

    whose: str
    unit: Unit
    most: int
    used: int

    @property
    def left(self) -> int:
        """What may still be sent."""
        return max(0, self.most - self.used)

    def allows(self, more: int) -> bool:
        """Whether so much more may be sent; to send nothing is always allowed."""
        return not more or self.used + more <= self.most

    def amount(self, number: int) -> str:
        """Return a number of what is counted, marked where it is estimated."""
        return f"{'≈' if self.unit == 'tokens' and number else ''}{number:,}"

    def __str__(self) -> str:
        unit = self.unit[:-1] if self.most == 1 else self.unit
        used = f" ({self.amount(self.used)} used)" if self.used else ""
        return f"the {self.whose}'s budget of {self.most:,} {unit}{used}"


@dataclass(frozen=True, slots=True)
class Budget:
    """The most requests and tokens; None for no limit.

    Parameters
    ----------
    whose
        What the budget is for, as an error says it: ``session``, ``job``.
    max_requests
        Requests, retries included.
    max_tokens
        Input tokens: as the service counts them, else estimated.
    cure
        How it is raised; ``{unit}`` stands for ``requests`` or ``tokens``.
    """

    whose: str
    max_requests: int | None = None
    max_tokens: int | None = None
    cure: str = ""

    def limits(self, used_requests: int, used_tokens: int) -> Sequence[Limit]:
        """Return the limits that there are, with what of them is used."""
        limits: tuple[tuple[Unit, int | None, int], ...] = (
            ("requests", self.max_requests, used_requests),
            ("tokens", self.max_tokens, used_tokens),
        )
        return [Limit(self.whose, unit, most, used) for unit, most, used in limits if most is not None]

    def exceeded(self, *, requests: int, tokens: int, used_requests: int, used_tokens: int) -> Limit | None:
        """Return the limit that does not allow what is about to be sent."""
        wanted = {"requests": requests, "tokens": tokens}
        limits = self.limits(used_requests, used_tokens)
        return next((limit for limit in limits if not limit.allows(wanted[limit.unit])), None)

    def check(self, *, requests: int, tokens: int, used_requests: int, used_tokens: int, sent: str) -> None:
        """Refuse what would go beyond the budget.

        Parameters
        ----------
        requests, tokens
            What is about to be sent.
        used_requests, used_tokens
            What was sent before.
        sent
            What became of the job so far, in a sentence.

        Raises
        ------
        BudgetError
            Naming both numbers and where the limit is set.
        """
        limit = self.exceeded(requests=requests, tokens=tokens, used_requests=used_requests, used_tokens=used_tokens)
        if limit is not None:
            told, wanted = str(limit), requests if limit.unit == "requests" else tokens
            raise BudgetError(
                f"{told[0].upper()}{told[1:]} does not allow {limit.amount(wanted)}{' more' if limit.used else ''}. "
                f"{sent}\nNext: send less, or raise the budget: {self.cure.format(unit=limit.unit)}."
            )


def session_budget(settings: Settings) -> Budget:
    """Return the most that a session may send from its beginning to its end."""
    return Budget("session", settings.max_requests, settings.max_tokens, "`%config VnMagic.max_{unit} = N`")


def job_budget(options: JobOptions) -> Budget:
    """Return the most that one job may send, whatever its session may."""
    cure = "`--max-{unit} N`, in Python `max_{unit}=N`"
    return Budget("job", options.max_requests, options.max_tokens, cure)
