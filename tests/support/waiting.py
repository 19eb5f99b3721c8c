"""Waiting for what happens in other threads and processes."""

from __future__ import annotations

import time
from collections.abc import Callable

PATIENCE = 60.0
"""Seconds: longer than a busy machine stands still."""


def until(condition: Callable[[], object], what: str = "it") -> None:
    """Look until a condition holds; fail when it does not within a time that nothing here needs."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not come about within {PATIENCE:.0f} s"
        time.sleep(0.002)
