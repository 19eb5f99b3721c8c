"""Run and Cancel: one job at a time, which never holds the kernel up."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import ipywidgets as widgets

from vn_magic.embeddings import Embeddings
from vn_magic.notebook.panel.tasks import Message, Tasks
from vn_magic.notebook.phrases import final_lines, progress_text
from vn_magic.progress import ProgressEvent
from vn_magic.request import Request
from vn_magic.session import Session

_SECONDS_BETWEEN_UPDATES = 0.2


@dataclass(frozen=True, slots=True, eq=False)
class PanelJob:
    """What Run starts: a request, the name of its result, and the cell that would do the same."""

    request: Request
    name: str
    cell: str


class Runner:
    """Starts jobs on the session's loop and shows how they go.

    Parameters
    ----------
    session
        Runs the job.
    tasks
        Starts it, and shows what goes wrong.
    job
        Returns what is to be done as the panel stands, or raises what is wrong with it.
    on_done
        Awaited on the loop with what a job has brought.
    on_end
        Called when a job is over, whatever it has brought.
    """

    def __init__(
        self,
        session: Session,
        tasks: Tasks,
        job: Callable[[], PanelJob],
        on_done: Callable[[PanelJob, Embeddings], Awaitable[None]],
        on_end: Callable[[], None],
    ) -> None:
        self._session = session
        self._tasks = tasks
        self._chosen = job
        self._on_done = on_done
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

    def _start(self) -> None:
        """Start a job, unless one runs: a second click may be on its way before the button is closed."""
        with self._lock:
            if self._running:
                return
            self._tasks.message.clear()
            job = self._chosen()
            self._running = True
        self._latest, self._left = None, ""
        try:
            self._show_running(True)  # noqa: FBT003 - the state that is set
            started = self._tasks.start(lambda: self._embed(job))
        except BaseException:
            self._end()
            raise
        # Not in the job itself: one that is cancelled before its first step would never come to its end.
        started.add_done_callback(lambda _started: self._end())

    def _end(self) -> None:
        self._show_running(False, self._left)  # noqa: FBT003 - the state that is set
        self._on_end()
        self._running = False  # last: a click in between would begin under this one's ending

    async def _embed(self, job: PanelJob) -> None:
        self._task = asyncio.current_task()
        drawing = asyncio.create_task(self._keep_drawing())
        try:
            embeddings = await self._session.run_job(job.request, self._note)
            await self._on_done(job, embeddings)
            self._tasks.message.say(final_lines(job.name, embeddings))
        except asyncio.CancelledError:
            self._left = _stopped(self._latest, job.request, "Run goes on from there.")
            raise
        except BaseException:
            if self._latest is not None and self._latest.done:
                self._left = _stopped(self._latest, job.request, "")
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


def _stopped(event: ProgressEvent | None, request: Request, more: str) -> str:
    done = f" at {event.done:,} of {event.rows:,} rows" if event else ""
    kept = "What arrived is in the cache." if request.options.use_cache else "Nothing of it was kept."
    return f"Stopped{done}. {kept} {more}".rstrip()
