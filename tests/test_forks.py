"""A lock that no fork catches half-way, whenever somebody presses Ctrl-C."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from support.engine import output_of
from support.interrupts import interrupted_at_line

from vn_magic import forks as forks_module
from vn_magic.forks import ForkGuard

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork"),
    pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning"),
]


class Owner:
    """Opens something that must not be open while the process forks."""

    def __init__(self) -> None:
        self.is_open = True
        self.guard = ForkGuard(self.put_down)

    def put_down(self) -> None:
        self.is_open = False


def forked(child: Callable[[], bool]) -> bool:
    """Fork, and return what the child found."""
    number = os.fork()
    if number == 0:
        try:
            os._exit(0 if child() else 1)
        finally:
            os._exit(2)
    return os.waitpid(number, 0)[1] == 0


def is_free(guard: ForkGuard) -> bool:
    """Whether another thread can have the lock, and this one does not keep it afterwards."""

    def take() -> bool:
        taken = guard.acquire(timeout=5)
        if taken:
            guard.release()
        return taken

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(take).result()


def test_what_is_open_is_put_down_before_a_fork_and_the_lock_is_free_after_it_on_both_sides() -> None:
    owner = Owner()
    assert forked(lambda: not owner.is_open and is_free(owner.guard))
    assert not owner.is_open
    assert is_free(owner.guard)


def interrupt_every_line_around_a_fork() -> int:
    """Do what the next test's name says; return how many lines there were."""
    owner, found = Owner(), [False]

    def fork() -> None:
        found[0] = forked(lambda: not owner.is_open and is_free(owner.guard))

    for number in itertools.count():
        owner.is_open, found[0] = True, False
        interrupted = interrupted_at_line(number, forks_module, fork)
        assert found == [True], number
        assert is_free(owner.guard), number
        if not interrupted:
            break
    return number


# In a process of its own: what a guard registers stays for ever, and every one would add its lines.
EVERY_LINE = """
import os, sys
sys.path.insert(0, sys.argv[1])
import test_forks
sys.unraisablehook = lambda _: None  # Python tells of the interrupt and goes on
os.kill = lambda *_: None
print(test_forks.interrupt_every_line_around_a_fork())
"""


def test_an_interrupt_at_any_line_around_a_fork_neither_skips_the_guard_nor_leaves_it_locked() -> None:
    assert int(output_of(EVERY_LINE, str(Path(__file__).parent))) > 20


def test_a_with_statement_enters_and_leaves_without_a_line_at_which_an_interrupt_could_come() -> None:
    guard = ForkGuard()

    def use() -> None:
        with guard:
            pass

    assert not interrupted_at_line(0, forks_module, use)


CTRL_C = """
import linecache, os, signal, sys, threading, time
from vn_magic.forks import ForkGuard

class Owner:
    is_open = True
    def __init__(self):
        self.guard = ForkGuard(self.put_down)
    def put_down(self):
        self.is_open = False

owner, at_work = Owner(), threading.Event()
waiting, heard = os.pipe()

def press(signum, frame):
    pressed.set()
    raise KeyboardInterrupt

pressed = threading.Event()
signal.signal(signal.SIGINT, press)

def line_of_main():
    frame = sys._current_frames()[threading.main_thread().ident]
    return linecache.getline(frame.f_code.co_filename, frame.f_lineno).strip()

def work():
    with owner.guard:
        at_work.set()
        while line_of_main() != "self.acquire()":
            time.sleep(0.01)
        time.sleep(0.1)  # from its line into the wait; a signal that comes sooner is heard once this lets go
        os.kill(os.getpid(), signal.SIGINT)
        pressed.wait(20)

signal.signal(signal.SIGALRM, signal.SIG_DFL)
signal.alarm(30)
threading.Thread(target=work).start()
at_work.wait()
try:
    if os.fork() == 0:
        os.write(heard, b"open" if owner.is_open else b"put down")
        os._exit(0)
    time.sleep(20)
    print("swallowed")
except KeyboardInterrupt:
    print("interrupted")
print(os.read(waiting, 100).decode())
"""


def test_a_real_ctrl_c_while_a_fork_waits_for_work_is_heard_after_it_and_the_fork_is_guarded() -> None:
    assert output_of(CTRL_C) == "interrupted\nput down\n"
