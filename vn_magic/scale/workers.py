"""Who waits for a task of Dask: whether anybody does, and how many machines share a rate with it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import CancelledError
from dataclasses import dataclass
from types import CodeType, FrameType
from typing import Any, Self

from vn_magic.session import OFFLINE_NOTICE
from vn_magic.settings import Settings
from vn_magic.wording import counted

# A scheduler at work answers in milliseconds; one that does not is asked again by the task's next run.
_WORKER_WAITS = 30.0
# Somebody sits in front of a status.
_STATUS_WAITS = 2.0


@dataclass(frozen=True, slots=True)
class ClusterTask:
    """The task that this thread runs on a worker of `distributed`.

    Parameters
    ----------
    worker
        A ``distributed.Worker``, which has no types.
    key
        The task's; None in a thread that a task has started.
    """

    worker: Any
    key: Any

    @classmethod
    def here(cls) -> Self | None:
        """Return this thread's task, None where no worker runs it: in dask's own threads and processes."""
        distributed = sys.modules.get("distributed")
        if distributed is None:
            return None
        try:
            worker = distributed.get_worker()
        except ValueError:
            return None
        try:
            return cls(worker, worker.get_current_task())
        except KeyError:
            return cls(worker, None)

    @property
    def name(self) -> str:
        """The worker, as an error names it."""
        return f"Worker {self.worker.address}"

    def machines(self) -> int:
        """Return on how many machines the cluster's workers are, as the scheduler sees them now.

        Raises
        ------
        CancelledError
            When the scheduler does not answer: nobody waits for a result then, or somebody asks for it again.
        """
        from distributed.utils import sync  # noqa: PLC0415 - only where distributed is loaded

        try:
            identity = sync(self.worker.loop, self.worker.scheduler.identity, callback_timeout=_WORKER_WAITS)
        except (OSError, RuntimeError):  # the loop is closed
            raise CancelledError from None
        return _machines(identity)

    def stop_unless_wanted(self) -> None:
        """Raise `CancelledError` where the result is wanted no more: somebody has cancelled it, or the worker ends."""
        if self.worker.status.name in ("closing", "closed"):
            raise CancelledError
        task = self.worker.state.tasks.get(self.key)
        if task is not None and task.state == "cancelled":
            raise CancelledError

    def rescheduled(self) -> Exception:
        """Return what tells the cluster to run this task again, or to drop it if nobody wants it."""
        from distributed import Reschedule  # noqa: PLC0415 - as above

        again: Exception = Reschedule()
        return again


def stop_unless_awaited() -> Callable[[], None]:
    """Return what raises `CancelledError` once dask, computing by itself in this process, awaits no task of now.

    Its threads go on when their computation has failed, or was interrupted: nobody tells them. The thread that has
    called for it is inside dask as long as it waits, and can be seen there.
    """
    waiting = _threads_in_dask()

    def stop() -> None:
        if waiting and waiting.isdisjoint(_threads_in_dask()):
            raise CancelledError

    return stop


def _threads_in_dask() -> frozenset[int]:
    dask = sys.modules.get("dask.local")
    if dask is None:
        return frozenset()
    code = dask.get_async.__code__
    return frozenset(thread for thread, frame in sys._current_frames().items() if _is_inside(code, frame))  # noqa: SLF001 - documented all the same


def _is_inside(code: CodeType, frame: FrameType | None) -> bool:
    while frame is not None and frame.f_code is not code:
        frame = frame.f_back
    return frame is not None


def tell(notices: Sequence[str]) -> None:
    """Show notices where the computation was asked for; on stdout, for they stop nothing.

    That of the stand-in is left out: whoever has made the collection has asked for it.
    """
    distributed = sys.modules.get("distributed")
    show = print if distributed is None else distributed.print  # which does as print does where there is no worker
    for notice in notices:
        if notice != OFFLINE_NOTICE:
            show(notice)


def share_of(rate: int, machines: int) -> int:
    """Return the texts a minute that one of so many machines may send: whole ones, and at least one."""
    return max(1, rate // machines)


def cluster_line(settings: Settings) -> str | None:
    """Return one line about the cluster of the current Dask client and what becomes of the rate; None without one.

    The scheduler is waited for, but not for long: it may be gone.
    """
    distributed = sys.modules.get("distributed")
    if distributed is None:
        return None
    try:
        client = distributed.default_client()
    except ValueError:
        return None
    if client.status != "running":
        return f"Dask: the client is {client.status}"
    if client.asynchronous:
        return f"Dask: an asynchronous client; {_rate_text(settings.requests_per_minute, None)}"
    try:
        identity = client.sync(client.scheduler.identity, callback_timeout=_STATUS_WAITS)
    except (OSError, RuntimeError, AttributeError):  # it was closed meanwhile, or the scheduler does not answer
        return "Dask: the scheduler does not answer"
    machines = _machines(identity)
    workers = counted(len(identity["workers"]), "worker")
    rate = _rate_text(settings.requests_per_minute, machines)
    return f"Dask: {counted(machines, 'machine')}, {workers}; {rate}"


def _machines(identity: Mapping[str, Any]) -> int:
    return len({worker["host"] for worker in identity["workers"].values()}) or 1


def _rate_text(rate: int | None, machines: int | None) -> str:
    if rate is None:
        return "no requests_per_minute"
    if machines is None:
        return f"requests_per_minute {rate} is divided by the number of machines"
    if machines == 1:
        return f"requests_per_minute {rate} holds for all of them together"
    share = share_of(rate, machines)
    more = f", {machines} together: each needs one" if machines > rate else ""
    return f"requests_per_minute {rate} is {share} on each{more}"
