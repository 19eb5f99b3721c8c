"""Run and Cancel: one job at a time, which never holds the kernel up."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import ipywidgets as widgets

from vn_magic.notebook.panel.tasks import Message, Tasks
from vn_magic.notebook.phrases import progress_text
from vn_magic.progress import ProgressEvent, ProgressListener

_SECONDS_BETWEEN_UPDATES = 0.2


@dataclass(frozen=True, slots=True, eq=False)
class Work:
    """What Run starts.

    Parameters
    ----------
    run
        Awaited on the session's loop, with whom to tell of progress. Puts what it brings where it belongs, and returns
        the lines that say so.
    kept
        Whether rows that arrive are kept in the cache.
    """

    run: Callable[[ProgressListener], Awaitable[Sequence[str]]]
    kept: bool


class Runner:
    """Starts work on the session's loop and shows how it goes.

    Parameters
    ----------
    tasks
        Starts it, and shows what goes wrong.
    work
        Returns what is to be done as the panel stands, or raises what is wrong with it.
    on_end
        Called when it is over, whatever it has brought.
    """

    def __init__(self, tasks: Tasks, work: Callable[[], Work], on_end: Callable[[], None]) -> None:
        self._tasks = tasks
        self._chosen = work
        self._on_end = on_end
        self._lock = threading.Lock()
        self._running = False
        self._task: asyncio.Task[None] | None = None
        self._latest: ProgressEvent | None = None
        self._left = ""
        self._run = widgets.Button(description="Run", button_style="primary", layout={"width": "110px"})
        self._cancel = widgets.Button(description="Cancel", disabled=True, layout={"width": "110px"})
        self._bar = widgets.FloatProgress(
            min=0.0, max=1.0, tooltip="Progress", layout={"width": "auto", "display": "none", "flex": "1 1 120px"}
        )
        self._line = Message()
        buttons = widgets.HBox([self._run, self._cancel, self._bar], layout={"flex_flow": "row wrap"})
        self.widget = widgets.VBox([buttons, self._line.widget, tasks.message.widget])
        self._run.on_click(tasks.callback(self._start))
        self._cancel.on_click(tasks.callback(self.cancel))

    def cancel(self) -> None:
        """Stop the job that runs, if one does. What has arrived is kept."""
        self._cancel.disabled = True
        if self._running:
            self._tasks.start(self._cancel_job)  # on the loop the job has begun by then, and can be cancelled

    def forget(self) -> None:
        """Say no more of a job that is over."""
        with self._lock:
            if not self._running:
                self._tasks.message.clear()
                self._line.clear()

    def _start(self) -> None:
        """Start a job, unless one runs: a second click may be on its way before the button is closed."""
        with self._lock:
            if self._running:
                return
            self._tasks.message.clear()
            work = self._chosen()
            self._running = True
        self._latest, self._left = None, ""
        try:
            self._show_running(True)  # noqa: FBT003 - the state that is set
            started = self._tasks.start(lambda: self._do(work))
        except BaseException:
            self._end()
            raise
        # Not in the job itself: one that is cancelled before its first step would never come to its end.
        started.add_done_callback(lambda _started: self._end())

    def _end(self) -> None:
        self._show_running(False, self._left)  # noqa: FBT003 - the state that is set
        self._on_end()
        self._running = False  # last: a click in between would begin under this one's ending

    async def _do(self, work: Work) -> None:
        self._task = asyncio.current_task()
        drawing = asyncio.create_task(self._keep_drawing())
        try:
            self._tasks.message.say(await work.run(self._note))
        except asyncio.CancelledError:
            self._left = _stopped(self._latest, "Run goes on from there.", kept=work.kept)
            raise
        except BaseException:
            if self._latest is not None and self._latest.done:
                self._left = _stopped(self._latest, "", kept=work.kept)
            raise
        finally:
            self._task = None
            drawing.cancel()

    async def _cancel_job(self) -> None:
        if self._task is not None:
            self._task.cancel()

    def _note(self, event: ProgressEvent) -> None:
        self._latest = event

    async def _keep_drawing(self) -> None:
        while True:
            if (event := self._latest) is not None:
                self._bar.value = event.done / max(event.rows, 1)
                self._line.tick(progress_text(event))
            await asyncio.sleep(_SECONDS_BETWEEN_UPDATES)

    def _show_running(self, running: bool, left: str = "Starting…") -> None:  # noqa: FBT001 - the state that is set
        self._run.disabled = running
        self._cancel.disabled = not running
        self._bar.layout.display = None if running else "none"
        self._bar.value = 0.0
        self._line.say([left] if left else [])


def _stopped(event: ProgressEvent | None, more: str, *, kept: bool) -> str:
    done = f" at {event.done:,} of {event.rows:,} rows" if event else ""
    left = "What arrived is in the cache." if kept else "Nothing of it was kept."
    return f"Stopped{done}. {left} {more}".rstrip()
