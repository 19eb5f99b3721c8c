"""EmbedPanel: the parts of the panel, put together."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import replace
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ipywidgets as widgets
from IPython.core.getipython import get_ipython
from IPython.display import display

from vn_magic.current import current_session
from vn_magic.embeddings import Embeddings
from vn_magic.exceptions import InputError, VnMagicError
from vn_magic.notebook.cell_view import CellView
from vn_magic.notebook.panel import PANEL
from vn_magic.notebook.panel.choices import Choices, TypedText, Variable, equivalent_cell
from vn_magic.notebook.panel.connect import Connect
from vn_magic.notebook.panel.estimate import Estimate, job_estimate
from vn_magic.notebook.panel.layout import section, side_by_side, tree
from vn_magic.notebook.panel.record import Record
from vn_magic.notebook.panel.result import PanelJob, PanelResult
from vn_magic.notebook.panel.results import Results
from vn_magic.notebook.panel.runner import Runner, Work
from vn_magic.notebook.panel.settings_form import SettingsForm
from vn_magic.notebook.panel.tasks import Message, Tasks
from vn_magic.notebook.panel.text_source import TextSource
from vn_magic.notebook.phrases import final_lines
from vn_magic.pictures import MOST_POINTS, scatter
from vn_magic.progress import ProgressListener

if TYPE_CHECKING:
    from vn_magic.notebook.panel.compare import Compare
    from vn_magic.notebook.panel.compared import Compared

EMBED, COMPARE = "Embed", "Compare"
_STYLE = (Path(__file__).parent / "panel.css").read_text(encoding="utf-8")
_TWIN = """\
The vn_magic panel needs a notebook that shows Jupyter widgets. The same without it, in cells:

%load_ext vn_magic
%vn login        (or, without a token: %vn offline)

%%embed vectors
one text a line
"""


class EmbedPanel:
    """A panel to embed texts, and to compare settings on them, by clicking; ``%vn panel`` shows one.

    What it does, a cell can do, and the panel shows that cell. Settings, token and cache are those of the session,
    shared with the magics. A job runs beside the kernel: cells can be run meanwhile, and Cancel keeps what is finished.

    A notebook that saves widget state saves what is on the panel at that moment: its settings, the text and the rows
    in view, the picture in view with the texts of its points, and never the token.

    There is one panel at a time: another one takes its place.

    Raises
    ------
    InputError
        When there is no IPython to show it.
    """

    def __init__(self) -> None:
        shell = get_ipython()
        if shell is None:
            raise InputError("The panel lives in a notebook.\nNext: in Python, `vn_magic.embed([...])` does the same.")
        if shell.extension_manager is not None:  # the panel shows cells, and they need the magics
            shell.extension_manager.load_extension("vn_magic")
        self._shell = shell
        earlier = shell.meta.get(PANEL)
        if earlier is not None:
            earlier.close()
        shell.meta[PANEL] = self
        self._session = current_session()
        tasks = Tasks(self._session, Message())
        self._tasks = tasks
        self._seen: tuple[object, ...] = ()
        self._connect = Connect(self._session, self._changed)
        self._text = TextSource(shell.user_ns, self._changed, tasks)
        self._settings = SettingsForm(self._session, shell.user_ns, self._changed, tasks)
        self._compare: Compare | None = None  # made when somebody wants it
        self._estimate = Estimate(self._session, self._count)
        self._runner = Runner(tasks, self._work, self.follow)
        self._results = Results(self._session)
        self._keeping: Future[None] | None = None
        self._cell = CellView()
        self._tab = widgets.RadioButtons(options=[EMBED, COMPARE], orientation="horizontal", layout={"width": "auto"})
        self._tab.add_class("vn-tabs")
        self._settings_section = section("3  Settings", self._settings.widget)
        self._results_section = section("5  Results", self._results.widget)
        style = widgets.HTML(layout={"display": "none"})
        self.widget = widgets.VBox(
            [
                style,
                side_by_side(
                    section("1  Connect", self._connect.widget),
                    section("2  Text", self._text.widget),
                ),
                self._tab,
                self._settings_section,
                section("4  Run", self._estimate.widget, self._runner.widget),
                self._results_section,
                section("The same as a cell", self._cell),
            ]
        )
        self.widget.add_class("vn-panel")
        self._record = Record(self.widget.model_id)
        style.value = f"<style>{_STYLE}{self._record.style}</style>"
        self._show_cell()
        self._tab.observe(tasks.callback(self._turn), "value")
        shell.events.register("post_run_cell", self.follow)

    def close(self) -> None:
        """Take the panel off the page and stop its job. Results stay in their variables, and below the panel."""
        if self.follow in self._shell.events.callbacks["post_run_cell"]:
            self._shell.events.unregister("post_run_cell", self.follow)
        if self._shell.meta.get(PANEL) is self:
            del self._shell.meta[PANEL]
        self._runner.cancel()
        for widget in tree(self.widget):
            widget.close()

    def follow(self, _result: object = None) -> None:
        """Show what the last cell may have changed: variables, settings, the token."""
        self._tasks.callback(self._look_again)(None)

    def _look_again(self) -> None:
        self._connect.follow()
        self._text.refresh()
        self._settings.follow()
        if self._comparing is not None:
            self._comparing.follow()
        self._show_cell()
        seen = (self._session.settings, self._session.totals.new, self._text.state())
        if seen != self._seen:
            self._seen = seen
            self._estimate.renew()

    def _ipython_display_(self) -> None:
        bundle: dict[str, Any] = dict(self.widget._repr_mimebundle_())
        bundle |= {"text/plain": _TWIN, "text/html": f"<pre>{escape(_TWIN)}</pre>"}
        display(bundle, raw=True)
        self._record.open()
        self._estimate.renew()

    @property
    def _comparing(self) -> Compare | None:
        """The part that compares, while people look at it."""
        return self._compare if self._tab.value == COMPARE else None

    def _turn(self) -> None:
        """Show the parts of the tab that is chosen; what the other one has shown is held by no widget."""
        if self._tab.value == COMPARE and self._compare is None:
            self._compare = self._new_compare()
        comparing = self._comparing
        self._results.turn(on_view=comparing is None)
        self._settings.widget.layout.display = "none" if comparing else None
        self._results.widget.layout.display = "none" if comparing else None
        if self._compare is not None:
            self._compare.turn(on_view=comparing is not None)
        self._runner.forget()
        self._changed()

    def _new_compare(self) -> Compare:
        # Imported here: who does not compare does not wait for it.
        from vn_magic.notebook.panel.compare import Compare  # noqa: PLC0415 - see above

        compare = Compare(self._session, self._shell, self._text, self._changed, self._keep_compared, self._tasks)
        self._settings_section.children += (compare.form.widget,)
        self._results_section.children += (compare.view.widget,)
        return compare

    def _chosen(self) -> tuple[TypedText | Variable, Choices]:
        return self._text.source(), self._settings.choices()

    def _job(self) -> PanelJob:
        source, choices = self._chosen()
        request = self._session.prepare(
            self._text.data(source),
            column=source.column if isinstance(source, Variable) else None,
            model=choices.model,
            dimension=choices.dimension,
            task_type=choices.task_type,
            unit_length=choices.unit_length,
            on_error=choices.on_error,
            result=choices.result,
        )
        return PanelJob(request, choices.out, equivalent_cell(source, choices, self._session.settings))

    def _work(self) -> Work:
        if self._comparing is not None:
            return self._comparing.work()
        job = self._job()
        return Work(lambda report: self._embed(job, report), kept=job.request.options.use_cache)

    async def _embed(self, job: PanelJob, report: ProgressListener) -> Sequence[str]:
        embeddings = await self._session.run_job(job.request, report)
        await self._bind(job, embeddings)
        return final_lines(job.name, embeddings)

    async def _count(self) -> str:
        if self._comparing is not None:
            return await self._comparing.estimate()
        return await job_estimate(self._job().request, self._session)

    def _changed(self) -> None:
        if self._comparing is not None:
            self._comparing.follow()
        self._show_cell()
        self._estimate.renew()

    def _show_cell(self) -> None:
        try:
            self._cell.code = self._equivalent_cell() if self._comparing is None else self._comparing.cell()
        except VnMagicError:
            self._cell.code = ""  # what is missing is said beside the field

    def _equivalent_cell(self) -> str:
        source, choices = self._chosen()
        return equivalent_cell(source, choices, self._session.settings)

    async def _bind(self, job: PanelJob, embeddings: Embeddings) -> None:
        """Put a result under its name, as a cell would, and on view."""
        mine = embeddings
        if job.request.result == "numpy":  # the user may write into the array; the panel goes on showing what came
            mine = replace(embeddings, matrix=embeddings.matrix.copy())
        self._shell.push({job.name: await asyncio.to_thread(job.request.shaped, embeddings)})
        result = PanelResult(job.name, mine)
        self._results.show(result)
        self._stop_keeping()
        self._keeping = self._tasks.start(lambda: self._keep(job, result))

    async def _keep(self, job: PanelJob, result: PanelResult) -> None:
        """Keep a result for readers without a kernel: at once, and with its map when that is drawn."""
        self._record.keep(job, result.embeddings, None)
        if len(result.embeddings) <= MOST_POINTS:  # a map of more costs seconds; whoever wants it has its view
            with suppress(InputError):  # nothing to draw, which the view says
                self._record.keep(job, result.embeddings, await result.picture(scatter))

    def _keep_compared(self, result: Compared) -> None:
        """Keep a comparison for readers without a kernel."""
        self._stop_keeping()
        self._record.keep_comparison(result)

    def _stop_keeping(self) -> None:
        """Stop drawing the map of an earlier result: it would take the place of a later one."""
        if self._keeping is not None:
            self._keeping.cancel()
