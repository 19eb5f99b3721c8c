"""Numbers with their words, for every floor that tells people something."""

from __future__ import annotations


def counted(number: int, one: str, many: str = "") -> str:
    """Return ``1 request``, ``1,024 requests``."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"
