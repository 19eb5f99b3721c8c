"""Whether something on screen lives: how often it changes, the longest time that it does not, what drawing costs."""

from __future__ import annotations

import functools
import itertools
import threading
import time
from collections.abc import Sequence
from typing import Any

import psutil


class Meter:
    """Adds up the CPU of a method of a class, in whatever thread it runs, and that of the thread that sends messages.

    Parameters
    ----------
    owner, name
        The method, which is wrapped for good: a process measures one thing.
    """

    def __init__(self, owner: type, name: str) -> None:
        self._seconds = 0.0
        self._sender = next(thread.native_id for thread in threading.enumerate() if thread.name == "IOPub")
        self._sent_before = self._sending()
        plain = getattr(owner, name)

        @functools.wraps(plain)
        def metered(*args: Any, **kwargs: Any) -> Any:
            start = time.thread_time()
            try:
                return plain(*args, **kwargs)
            finally:
                self._seconds += time.thread_time() - start

        setattr(owner, name, metered)

    def seconds(self) -> float:
        """Return the CPU so far, in seconds."""
        return self._seconds + self._sending() - self._sent_before

    def _sending(self) -> float:
        threads = {thread.id: thread for thread in psutil.Process().threads()}
        sender = threads[self._sender]
        return float(sender.user_time + sender.system_time)


def liveness(updates: Sequence[dict[str, Any]], start: float, end: float) -> dict[str, float]:
    """Return updates a second and the longest gap between two, in seconds."""
    times = [message["header"]["date"].timestamp() for message in updates]
    gaps = [later - sooner for sooner, later in itertools.pairwise([start, *times, end])]
    return {"updates": len(times), "updates_a_second": len(times) / (end - start), "longest_gap": max(gaps)}
