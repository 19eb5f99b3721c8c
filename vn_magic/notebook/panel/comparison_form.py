"""The settings of a comparison: dimensions, tasks, models, labels, neighbours, and the table's name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from html import escape
from typing import Any

import ipywidgets as widgets

from vn_magic.candidates import kind_of, label_columns
from vn_magic.exceptions import InputError
from vn_magic.models import TASK_TYPES, facts_of
from vn_magic.notebook.names import check_output_name
from vn_magic.notebook.panel.choices import TypedText, Variable
from vn_magic.notebook.panel.comparison_choices import USUAL_K, ComparisonChoices
from vn_magic.notebook.panel.layout import side_by_side
from vn_magic.notebook.panel.settings_form import PURPOSES
from vn_magic.notebook.panel.several import Several
from vn_magic.notebook.panel.tasks import Tasks
from vn_magic.session import Session

_WIDE = {"width": "auto"}
_OFFERED_DIMENSIONS = (3072, 1536, 768, 512, 256, 128)
# Ticked at first, with the session's own: shorter vectors cost nothing more where the model allows.
_SHORT_DIMENSIONS = (256, 128)
_MOST_NEIGHBOURS = 1000
_NONE = ("none", "")


class ComparisonForm:
    """What to compare, and what the table is called.

    The longest dimension comes first, for the first line is what the others are compared with.

    Parameters
    ----------
    session
        Gives the first values.
    variables
        The user's namespace: where label columns are, and to say when a name would replace something.
    on_change
        Called whenever a value has been changed.
    tasks
        Runs what widgets call.
    """

    def __init__(
        self, session: Session, variables: Mapping[str, Any], on_change: Callable[[], None], tasks: Tasks
    ) -> None:
        self._session = session
        self._variables = variables
        self._on_change = on_change
        self._following = False
        settings = session.settings
        sizes = sorted({*_OFFERED_DIMENSIONS, settings.dimension}, reverse=True)
        self._dimensions = Several(
            "Dimensions",
            {str(size): f"{size} values in a vector" for size in sizes},
            {str(size) for size in (settings.dimension, *_SHORT_DIMENSIONS)},
            self._changed,
            tasks,
        )
        self._task_types = Several(
            "Tasks", {task: PURPOSES[task] for task in TASK_TYPES}, {settings.task_type}, self._changed, tasks
        )
        self._models = widgets.Text(
            value=settings.model,
            description="Models",
            tooltip="One or several, with commas",
            placeholder=settings.model,
            continuous_update=False,
            layout=_WIDE,
        )
        self._labels = widgets.Dropdown(options=[_NONE], value="", description="Labels", layout=_WIDE)
        self._no_labels = widgets.HTML(
            '<div class="vn-note vn-indented">for texts of a frame: one of its other columns</div>'
        )
        self._k = widgets.BoundedIntText(
            value=USUAL_K,
            min=1,
            max=_MOST_NEIGHBOURS,
            description="Neighbours",
            tooltip="How many rows nearest to a row are looked at (k)",
            layout={"width": "160px"},
        )
        self._out = widgets.Text(description="Name", placeholder="optional", layout=_WIDE)
        self._remark = widgets.HTML()
        self.widget = side_by_side(
            self._dimensions.widget,
            self._task_types.widget,
            widgets.VBox([self._models, self._labels, self._no_labels, self._k, self._out, self._remark]),
        )
        for widget in (self._models, self._labels, self._k, self._out):
            widget.observe(tasks.callback(self._changed), "value")

    def follow(self, source: TypedText | Variable | None) -> None:
        """Show what the session, the namespace and the chosen text have, which may have changed."""
        self._following = True  # a field whose options change has nothing chosen for a moment
        try:
            self._offer_labels(source)
        finally:
            self._following = False
        settings = self._session.settings
        tasks = any(facts_of(model).has_task_type for model in self._named_models() or [settings.model])
        session_task = f"None ticked: the session's, {settings.task_type}."
        self._task_types.offer(offered=tasks, otherwise=session_task if tasks else "These models have no tasks.")
        self._dimensions.offer(offered=True, otherwise=f"None ticked: the session's, {settings.dimension}.")
        self._remark.value = _remark(self._out.value.strip(), self._variables)

    def choices(self) -> ComparisonChoices:
        """Return what has been chosen.

        Raises
        ------
        InputError
            When the table cannot have that name.
        """
        out = self._out.value.strip()
        if out:
            check_output_name(out)
        return ComparisonChoices(
            self._named_models(),
            self._task_types.chosen,
            tuple(map(int, self._dimensions.chosen)),
            self._labels.value or None,
            self._k.value,
            out,
        )

    def _named_models(self) -> tuple[str, ...]:
        return tuple(filter(None, (name.strip() for name in self._models.value.split(","))))

    def _offer_labels(self, source: TypedText | Variable | None) -> None:
        """Offer the other columns of the frame whose texts are chosen; what was chosen stays if it is there."""
        columns = []
        if isinstance(source, Variable) and source.column is not None and source.name in self._variables:
            columns = [name for name in label_columns(self._variables[source.name]) if name not in ("", source.column)]
        chosen = self._labels.value
        if [name for _, name in self._labels.options[1:]] != columns:
            self._labels.options = [_NONE, *((name, name) for name in columns)]
        self._labels.value = chosen if chosen in columns else ""
        self._labels.disabled = not columns
        self._no_labels.layout.display = "none" if columns else None

    def _changed(self) -> None:
        if not self._following:
            self._on_change()


def _remark(name: str, variables: Mapping[str, Any]) -> str:
    """Return what becomes of the table, as HTML."""
    kind, said = "vn-note", "The table is shown, and bound to no variable."
    if name:
        try:
            check_output_name(name)
        except InputError as error:
            kind, said = "vn-error", str(error)
        else:
            there = f"{name} exists ({kind_of(variables[name])}) and will be replaced." if name in variables else ""
            said = there or f"The table will be the new variable {name}."
    return f'<div class="{kind}" role="status">{escape(said)}</div>'
