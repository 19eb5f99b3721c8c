"""What a free request can tell of a gateway and a token."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Verdict(Enum):
    """What the gateway says of a token."""

    ACCEPTED = "accepted"
    REFUSED = "refused"
    UNKNOWN = "cannot be checked here"


@dataclass(frozen=True, slots=True)
class Probe:
    """What a free request told.

    ``clock_offset`` is this computer's clock less the gateway's, in seconds; None where it sends no date.
    """

    verdict: Verdict
    clock_offset: float | None
