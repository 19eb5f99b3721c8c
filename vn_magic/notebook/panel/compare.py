"""Compare: the texts under several settings, as ``%vn compare`` has them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from IPython.core.interactiveshell import InteractiveShell

from vn_magic.classroom.comparison import run_comparison
from vn_magic.classroom.settings_grid import SettingsGrid, settings_grid
from vn_magic.exceptions import InputError
from vn_magic.notebook.forecast import plan_text
from vn_magic.notebook.panel.choices import TypedText, Variable
from vn_magic.notebook.panel.compared import Compared, compared
from vn_magic.notebook.panel.comparison_choices import comparing_cell
from vn_magic.notebook.panel.comparison_form import ComparisonForm
from vn_magic.notebook.panel.comparison_view import ComparisonView
from vn_magic.notebook.panel.runner import Work
from vn_magic.notebook.panel.tasks import Tasks
from vn_magic.notebook.panel.text_source import TextSource, rows_of
from vn_magic.progress import ProgressListener
from vn_magic.rows import Rows
from vn_magic.session import Session
from vn_magic.wording import counted


@dataclass(frozen=True, slots=True, eq=False)
class ComparisonJob:
    """What to compare, the variable for the table, if any, and the cell that would do the same."""

    grid: SettingsGrid
    out: str
    cell: str


class Compare:
    """The part of the panel that compares: a form, and a view of what came of it.

    Parameters
    ----------
    session
        Embeds.
    shell
        Whose namespace has the texts, and gets the table.
    text
        What has been chosen to embed.
    on_change
        Called whenever something else is to be compared.
    on_result
        Called on the session's loop with what a comparison has brought.
    tasks
        Runs what widgets call.
    """

    def __init__(
        self,
        session: Session,
        shell: InteractiveShell,
        text: TextSource,
        on_change: Callable[[], None],
        on_result: Callable[[Compared], None],
        tasks: Tasks,
    ) -> None:
        self._session = session
        self._shell = shell
        self._text = text
        self._on_result = on_result
        self.form = ComparisonForm(session, shell.user_ns, on_change, tasks)
        self.view = ComparisonView()
        self.follow()

    def follow(self) -> None:
        """Show what a cell, or another choice, may have changed."""
        source: TypedText | Variable | None = None
        with suppress(InputError):  # nothing is chosen yet, which is said elsewhere
            source = self._text.source()
        self.form.follow(source)

    def turn(self, *, on_view: bool) -> None:
        """Show form and view, or hide them, and hold nothing of the result then."""
        self.view.turn(on_view=on_view)
        for part in (self.form, self.view):
            part.widget.layout.display = None if on_view else "none"

    def cell(self) -> str:
        """Return the cell that does the same.

        Raises
        ------
        InputError
            When there is no text, or the table cannot have its name.
        """
        source, choices = self._text.source(), self.form.choices()
        told = source if isinstance(source, Variable) else list(rows_of(source).values)
        return comparing_cell(told, choices.asked(self._session.settings), choices.out, self._shell.user_ns)

    async def estimate(self) -> str:
        """Return what a comparison would send and cost."""
        session, grid = self._session, self._job().grid
        requests = [grid.requests[job.carrier] for job in grid.jobs()]
        plans = [await session.plan_job(request) for request in requests]
        (first, texts), request = plans[0], requests[0]
        all_jobs = replace(
            first,
            cached=sum(plan.cached for plan, _ in plans),
            recorded=sum(plan.recorded for plan, _ in plans),
            missing=[row for plan, _ in plans for row in plan.missing],
        )
        said = await asyncio.to_thread(plan_text, all_jobs, texts, request, session.settings, session.totals)
        settings = counted(len(grid.requests), "setting")
        return f"{settings} from {counted(len(plans), 'vector')} a row · {said}"

    def work(self) -> Work:
        """Return what Run has to do.

        Raises
        ------
        InputError, SettingsError
            When something cannot be compared as it was chosen.
        """
        job = self._job()
        return Work(lambda report: self._run(job, report), kept=not self._session.asks_nobody)

    def _job(self) -> ComparisonJob:
        source, choices = self._text.source(), self.form.choices()
        asked = choices.asked(self._session.settings)
        data = self._text.data(source)
        grid = settings_grid(
            list(data.values) if isinstance(data, Rows) else data,
            self._session,
            column=source.column if isinstance(source, Variable) else None,
            models=asked.models,
            task_types=asked.task_types,
            dimensions=asked.dimensions,
            labels=asked.labels,
            k=asked.k,
        )
        return ComparisonJob(grid, choices.out, self.cell())

    async def _run(self, job: ComparisonJob, report: ProgressListener) -> Sequence[str]:
        table = await run_comparison(job.grid, self._session, report)
        result = await asyncio.to_thread(compared, job.out, table, job.cell)
        if job.out:
            self._shell.push({job.out: table})
        self.view.show(result)
        self._on_result(result)
        return [result.head, f"{counted(int(table['requests'].sum()), 'request')} · {table['seconds'].sum():.2f} s"]
