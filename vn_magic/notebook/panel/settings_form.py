"""Settings: model, task, dimension, unit length, and the result's type and name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from html import escape
from types import MappingProxyType
from typing import Any

import ipywidgets as widgets

from vn_magic.candidates import kind_of
from vn_magic.exceptions import InputError
from vn_magic.models import KNOWN_MODELS, OFFLINE_MODEL, TASK_TYPES, facts_of
from vn_magic.notebook.names import check_output_name
from vn_magic.notebook.panel.choices import Choices
from vn_magic.notebook.panel.layout import side_by_side
from vn_magic.notebook.panel.tasks import Tasks
from vn_magic.session import Session

# Those that Google's page on gemini-embedding-001 recommends.
RECOMMENDED_DIMENSIONS = (768, 1536, 3072)
_SMALLEST, _LARGEST = 128, 3072
_WIDE = {"width": "auto"}
_UNIT_LENGTH = "Unit length (leave on to compare)"
_RAW_SESSION = "Unit length (off for the session: %config VnMagic.unit_length)"
PURPOSES = MappingProxyType(
    {
        "SEMANTIC_SIMILARITY": "seeing how alike texts are",
        "CLASSIFICATION": "sorting texts into known classes",
        "CLUSTERING": "finding groups of texts",
        "RETRIEVAL_DOCUMENT": "texts that will be searched",
        "RETRIEVAL_QUERY": "what people search for",
        "QUESTION_ANSWERING": "questions that documents answer",
        "FACT_VERIFICATION": "statements that documents back",
        "CODE_RETRIEVAL_QUERY": "questions that code answers",
    }
)


class SettingsForm:
    """What to ask for, and what the result is called.

    Parameters
    ----------
    session
        Gives the first values. Where it has unit length off, that cannot be turned on here: a cell's line cannot.
    variables
        The user's namespace, to say when a name would replace something.
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
        settings = session.settings
        models = [name for name in KNOWN_MODELS if name != OFFLINE_MODEL]
        failures = [("stop at the first row that fails", "stop"), ("go on, and mark rows that fail", "keep")]
        results = [("DataFrame, text and vector", "df"), ("numpy array, float32", "numpy")]
        self._model = widgets.Combobox(
            value=settings.model, options=models, description="Model", continuous_update=False, layout=_WIDE
        )
        self._task = widgets.Dropdown(options=TASK_TYPES, value=settings.task_type, description="Task", layout=_WIDE)
        self._purpose = widgets.HTML()
        self._dimension = widgets.BoundedIntText(
            value=settings.dimension,
            min=_SMALLEST,
            max=_LARGEST,
            description="Dimension",
            tooltip=f"Values in a vector, {_SMALLEST} to {_LARGEST}",
            layout={"width": "142px"},
        )
        self._recommended = [
            widgets.Button(
                description=str(size), tooltip=f"{size} values, a recommended size", layout={"width": "auto"}
            )
            for size in RECOMMENDED_DIMENSIONS
        ]
        self._unit_length = widgets.Checkbox(
            value=settings.unit_length,
            description=_UNIT_LENGTH,
            indent=False,
            layout=_WIDE,
        )
        self._on_error = widgets.Dropdown(
            options=failures, value=settings.on_error, description="Failures", layout=_WIDE
        )
        self._result = widgets.Dropdown(options=results, description="Result", layout=_WIDE)
        self._out = widgets.Text(value="vectors", description="Name", layout=_WIDE)
        self._remark = widgets.HTML()
        sizes = widgets.HBox([self._dimension, *self._recommended], layout={"flex_flow": "row wrap"})
        sizes.add_class("vn-sizes")
        self.widget = side_by_side(
            widgets.VBox([self._model, self._task, self._purpose]),
            widgets.VBox([sizes, self._unit_length, self._on_error]),
            widgets.VBox([self._result, self._out, self._remark]),
        )
        self.follow()
        for size, button in zip(RECOMMENDED_DIMENSIONS, self._recommended, strict=True):
            button.on_click(tasks.callback(partial(setattr, self._dimension, "value", size)))
        for widget in (
            self._model,
            self._task,
            self._dimension,
            self._unit_length,
            self._on_error,
            self._result,
            self._out,
        ):
            widget.observe(tasks.callback(self._changed), "value")

    def follow(self) -> None:
        """Show what the session and the namespace have, which may have changed."""
        self._unit_length.disabled = not self._session.settings.unit_length
        self._unit_length.description = _RAW_SESSION if self._unit_length.disabled else _UNIT_LENGTH
        if self._unit_length.disabled:
            self._unit_length.value = False
        self._task.disabled = not facts_of(self._model.value).has_task_type
        purpose = "this model has no tasks" if self._task.disabled else f"for {PURPOSES[self._task.value]}"
        self._purpose.value = f'<div class="vn-note vn-indented">{purpose}</div>'
        kind, remark = "vn-note", ""
        name = self._out.value.strip()
        try:
            check_output_name(name)
        except InputError as error:
            kind, remark = "vn-error", str(error)
        else:
            if name in self._variables:
                remark = f"{name} exists ({kind_of(self._variables[name])}) and will be replaced."
            else:
                remark = f"The result will be the new variable {name}."
        self._remark.value = f'<div class="{kind}" role="status">{escape(remark)}</div>'

    def choices(self) -> Choices:
        """Return what has been chosen.

        Raises
        ------
        InputError
            When the result cannot have that name.
        """
        name = self._out.value.strip()
        check_output_name(name)
        task = None if self._task.disabled else self._task.value
        return Choices(
            self._model.value.strip(),
            self._dimension.value,
            task,
            self._unit_length.value,
            self._on_error.value,
            self._result.value,
            name,
        )

    def _changed(self) -> None:
        self.follow()
        self._on_change()
