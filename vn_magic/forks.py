"""What must not be copied by a fork: it is put down before, and taken up again by the parent and the child."""

from __future__ import annotations

import _thread
import os
import signal
import weakref
from collections.abc import Callable
from contextlib import suppress


class ForkGuard(_thread.RLock):  # type: ignore[misc]  # final in the stubs alone
    """A reentrant lock around work that no fork of the process may catch half-way.

    SQLite keeps account of its file locks for the whole process. A fork copies the account and not the locks: a child
    would wait for ever for a lock that nobody holds, or go without one (sqlite.org/howtocorrupt.html, section 2.6).
    Any lock that another thread holds is copied as held, and a child has no other thread.

    It is a lock and does not have one: a ``with`` then enters and leaves without a line at which Ctrl-C could come.

    Parameters
    ----------
    put_down
        A method that is called before every fork, while nobody is at work.
    """

    def __init__(self, put_down: Callable[[], None] | None = None) -> None:
        super().__init__()
        self._put_down = weakref.WeakMethod(put_down) if put_down is not None else None
        self._interrupted = False
        if hasattr(os, "register_at_fork"):
            guard = weakref.ref(self)  # what is registered stays for ever
            # Twice: Python swallows the Ctrl-C that ends one of them half-way, and the other does what is left.
            for _ in range(2):
                os.register_at_fork(
                    before=lambda: _call(guard, ForkGuard._before),
                    after_in_parent=lambda: _call(guard, ForkGuard._after_in_parent),
                    after_in_child=lambda: _call(guard, ForkGuard._after),
                )

    def _before(self) -> None:
        while True:
            try:
                self.acquire()
                break
            except KeyboardInterrupt:  # whoever is at work may be so for seconds; a fork cannot be called off
                self._interrupted = True
        if self._put_down is not None and (put_down := self._put_down()) is not None:
            put_down()

    def _after(self) -> bool:
        """Let go, however often it was acquired; return whether somebody pressed Ctrl-C meanwhile."""
        with suppress(RuntimeError):  # nothing is left, or another thread has made this guard meanwhile
            while True:
                self.release()
        interrupted, self._interrupted = self._interrupted, False
        return interrupted

    def _after_in_parent(self) -> None:
        if self._after():
            # From a thread: raised here, it would be swallowed. A real signal, for it has to wake whoever sleeps.
            _thread.start_new_thread(os.kill, (os.getpid(), signal.SIGINT))


def _call(guard: weakref.ref[ForkGuard], step: Callable[[ForkGuard], object]) -> None:
    if (living := guard()) is not None:
        step(living)
