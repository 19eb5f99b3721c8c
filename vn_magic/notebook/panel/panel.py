"""EmbedPanel: the parts of the panel, put together."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from html import escape
from pathlib import Path
from typing import Any

import ipywidgets as widgets
from IPython.core.getipython import get_ipython
from IPython.display import display

from vn_magic.api import current_session
from vn_magic.embeddings import Embeddings
from vn_magic.exceptions import InputError, VnMagicError
from vn_magic.notebook.cell_view import CellView
from vn_magic.notebook.panel.choices import Choices, TypedText, Variable, equivalent_cell
from vn_magic.notebook.panel.connect import Connect
from vn_magic.notebook.panel.estimate import Estimate
from vn_magic.notebook.panel.record import Record
from vn_magic.notebook.panel.results import Results
from vn_magic.notebook.panel.runner import PanelJob, Runner
from vn_magic.notebook.panel.settings_form import SettingsForm
from vn_magic.notebook.panel.text_source import TextSource
from vn_magic.pictures import scatter

_STYLE = (Path(__file__).parent / "panel.css").read_text(encoding="utf-8")
_COLUMNS = "repeat(auto-fit, minmax(min(100%, 280px), 1fr))"
_TWIN = """\
The vn_magic panel needs a notebook that shows Jupyter widgets. The same without it, in cells:

%load_ext vn_magic
%vn login        (or, without a token: %vn offline)

%%embed vectors
one text a line
"""


class EmbedPanel:
    """A panel to embed texts by clicking; ``%vn panel`` shows one.

    What it does, a cell can do, and the panel shows that cell. Settings, token and cache are those of the session,
    shared with the magics. A job runs beside the kernel: cells can be run meanwhile, and Cancel keeps what is finished.

    A notebook that saves widget state saves what is on the panel at that moment: its settings, the text and the rows
    in view, the picture in view with the texts of its points, and never the token.

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
        self._session = current_session()
        self._connect = Connect(self._session)
        self._text = TextSource(shell.user_ns, self._changed)
        self._settings = SettingsForm(self._session, shell.user_ns, self._changed)
        self._estimate = Estimate(self._session, lambda: self._job().request)
        self._runner = Runner(self._session, self._job, self._bind)
        self._results = Results(self._session)
        self._cell = CellView()
        style = widgets.HTML(layout={"display": "none"})
        self.widget = widgets.VBox(
            [
                style,
                widgets.GridBox(
                    [
                        _section("1  Connect", self._connect.widget),
                        _section("2  Text", self._text.widget, self._estimate.widget),
                        _section("3  Settings", self._settings.widget),
                    ],
                    layout={"grid_template_columns": _COLUMNS, "grid_gap": "8px 28px", "width": "100%"},
                ),
                _section("4  Run", self._runner.widget),
                _section("5  Results", self._results.widget),
                _section("The same as a cell", self._cell),
            ]
        )
        self.widget.add_class("vn-panel")
        self._record = Record(self.widget.model_id)
        style.value = f"<style>{_STYLE}{self._record.style}</style>"
        self._show_cell()
        shell.events.register("post_run_cell", self.follow)

    def follow(self, _result: object = None) -> None:
        """Show what the last cell may have changed: variables, settings, the token."""
        self._runner.tasks.callback(self._look_again)(None)

    def _look_again(self) -> None:
        self._connect.follow()
        self._text.refresh()
        self._settings.follow()
        self._changed()

    def _ipython_display_(self) -> None:
        bundle: dict[str, Any] = dict(self.widget._repr_mimebundle_())
        bundle |= {"text/plain": _TWIN, "text/html": f"<pre>{escape(_TWIN)}</pre>"}
        display(bundle, raw=True)
        self._record.open()
        self._estimate.renew()

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
            result=choices.result,
        )
        return PanelJob(request, choices.out, equivalent_cell(source, choices, self._session.settings))

    def _changed(self) -> None:
        self._show_cell()
        self._estimate.renew()

    def _show_cell(self) -> None:
        try:
            source, choices = self._chosen()
        except VnMagicError:
            self._cell.code = ""  # what is missing is said beside the field
        else:
            self._cell.code = equivalent_cell(source, choices, self._session.settings)

    async def _bind(self, job: PanelJob, embeddings: Embeddings) -> None:
        """Put a result under its name, as a cell would, and on view."""
        mine = embeddings
        if job.request.result == "numpy":  # the user may write into the array; the panel goes on showing what came
            mine = replace(embeddings, matrix=embeddings.matrix.copy())
        self._shell.push({job.name: await asyncio.to_thread(job.request.shaped, embeddings)})
        self._results.show(mine)
        self.follow()
        self._runner.tasks.start(lambda: self._keep(job, mine))

    async def _keep(self, job: PanelJob, embeddings: Embeddings) -> None:
        try:
            draw = asyncio.to_thread(scatter, embeddings.matrix, embeddings.texts, provenance=embeddings.provenance)
            picture = await draw
        except InputError:  # too few rows for a map, which its view says
            picture = None
        self._record.keep(job, embeddings, picture)


def _section(title: str, *parts: widgets.Widget) -> widgets.VBox:
    heading = widgets.HTML(f'<div class="vn-heading" role="heading" aria-level="3">{escape(title)}</div>')
    return widgets.VBox([heading, *parts], layout={"min_width": "0", "width": "auto"})
