"""Settings: model, task, dimension, unit length, and the result's type and name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from html import escape
from types import MappingProxyType
from typing import Any

import ipywidgets as widgets

from vn_magic.candidates import kind_of
from vn_magic.exceptions import InputError
from vn_magic.models import KNOWN_MODELS, OFFLINE_MODEL, TASK_TYPES, facts_of
from vn_magic.notebook.names import check_output_name
from vn_magic.notebook.panel.choices import Choices
from vn_magic.session import Session

# Those that Google's page on gemini-embedding-001 recommends.
RECOMMENDED_DIMENSIONS = (768, 1536, 3072)
_SMALLEST, _LARGEST = 128, 3072
_WIDE = {"width": "auto"}
_PURPOSES = MappingProxyType(
    {
        "SEMANTIC_SIMILARITY": "how alike texts are",
        "CLASSIFICATION": "to sort texts into known classes",
        "CLUSTERING": "to find groups of texts",
        "RETRIEVAL_DOCUMENT": "texts that will be searched",
        "RETRIEVAL_QUERY": "what people search for",
        "QUESTION_ANSWERING": "questions to find answers for",
        "FACT_VERIFICATION": "statements to find evidence for",
        "CODE_RETRIEVAL_QUERY": "questions to find code for",
    }
)


class SettingsForm:
    """What to ask for, and what the result is called.

    Parameters
    ----------
    session
        Gives the first values. Unit length is changed there, because a cell's line can only turn it off.
    variables
        The user's namespace, to say when a name would replace something.
    on_change
        Called whenever a value has been changed.
    """

    def __init__(self, session: Session, variables: Mapping[str, Any], on_change: Callable[[], None]) -> None:
        self._session = session
        self._variables = variables
        self._on_change = on_change
        settings = session.settings
        models = [name for name in KNOWN_MODELS if name != OFFLINE_MODEL]
        tasks = [(f"{task}: {_PURPOSES[task]}", task) for task in TASK_TYPES]
        results = [("DataFrame with text and embedding", "df"), ("numpy array, float32", "numpy")]
        self._model = widgets.Combobox(
            value=settings.model, options=models, description="Model", continuous_update=False, layout=_WIDE
        )
        self._task = widgets.Dropdown(options=tasks, value=settings.task_type, description="Task", layout=_WIDE)
        self._dimension = widgets.BoundedIntText(
            value=settings.dimension,
            min=_SMALLEST,
            max=_LARGEST,
            description="Dimension",
            tooltip=f"Values in a vector, {_SMALLEST} to {_LARGEST}",
            layout={"width": "160px"},
        )
        self._recommended = [
            widgets.Button(
                description=str(size), tooltip=f"{size} values, a recommended size", layout={"width": "auto"}
            )
            for size in RECOMMENDED_DIMENSIONS
        ]
        self._unit_length = widgets.Checkbox(
            value=settings.unit_length,
            description="Unit length (leave on to compare vectors)",
            indent=False,
            layout=_WIDE,
        )
        self._result = widgets.Dropdown(options=results, description="Result", layout=_WIDE)
        self._out = widgets.Text(value="vectors", description="Name", layout=_WIDE)
        self._remark = widgets.HTML()
        self.widget = widgets.VBox(
            [
                self._model,
                self._task,
                widgets.HBox([self._dimension, *self._recommended], layout={"flex_flow": "row wrap"}),
                self._unit_length,
                self._result,
                self._out,
                self._remark,
            ]
        )
        self.follow()
        for button in self._recommended:
            button.on_click(self._choose_dimension)
        self._unit_length.observe(self._set_unit_length, "value")
        watched = (self._model, self._task, self._dimension, self._unit_length, self._result, self._out)
        for widget in watched:
            widget.observe(self._changed, "value")

    def follow(self) -> None:
        """Show what the session and the namespace have, which may have changed."""
        self._unit_length.value = self._session.settings.unit_length
        self._task.disabled = not facts_of(self._model.value).has_task_type
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
        return Choices(self._model.value.strip(), self._dimension.value, task, self._result.value, name)

    def _changed(self, _change: object) -> None:
        self.follow()
        self._on_change()

    def _choose_dimension(self, button: widgets.Button) -> None:
        self._dimension.value = int(button.description)

    def _set_unit_length(self, _change: object) -> None:
        if self._unit_length.value != self._session.settings.unit_length:
            self._session.configure("unit_length", self._unit_length.value, "panel")
