"""Ctrl-C at a chosen line: the moment that a signal meets once in a thousand runs, met in every one."""

from __future__ import annotations

import itertools
import linecache
import sys
from collections.abc import Callable
from types import FrameType, ModuleType
from typing import Any

TraceFunction = Callable[[FrameType, str, Any], Any] | None


def interrupted_at_line(number: int, module: ModuleType, work: Callable[[], object]) -> bool:
    """Do the work, and raise KeyboardInterrupt as this thread begins its line of this number in the module.

    Returns whether it came that far. Lines count from 0 and every time that one is begun, except those of a ``with``:
    a tracer meets them once more as the block is left, where CPython handles no signal before the lock is let go.
    """
    lines = itertools.count()
    stopped = False

    def trace(frame: FrameType, event: str, _argument: object) -> TraceFunction:
        nonlocal stopped
        if frame.f_code.co_filename != module.__file__:
            return None
        source = linecache.getline(frame.f_code.co_filename, frame.f_lineno).lstrip()
        if event == "line" and not source.startswith("with ") and not stopped and next(lines) == number:
            stopped = True
            raise KeyboardInterrupt
        return trace

    before = sys.gettrace()
    sys.settrace(trace)  # of this thread alone
    try:
        work()
    except KeyboardInterrupt:
        assert stopped
    finally:
        sys.settrace(before)
    return stopped
