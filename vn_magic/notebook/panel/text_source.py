"""Text: what to embed, typed here or taken from a variable, and what that would cost."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import ipywidgets as widgets

from vn_magic.candidates import text_variables
from vn_magic.exceptions import InputError
from vn_magic.notebook.panel.choices import TypedText, Variable
from vn_magic.rows import DEFAULT_COLUMN, Rows, split_rows

TYPED, VARIABLE = "Type or paste it", "Take a variable"
_WIDE = {"width": "auto"}
_SPLITS = (
    ("one row a line", "lines"),
    ("one row a paragraph", "paragraphs"),
    ("all of it is one row", "cell"),
    ("csv with a header", "csv"),
    ("jsonl, an object a line", "jsonl"),
)
_SEPARATORS = (("comma", ","), ("semicolon", ";"), ("tab", "\t"), ("bar", "|"))


class TextSource:
    """A text field, or a variable of the user's namespace.

    Parameters
    ----------
    variables
        The user's namespace.
    on_change
        Called whenever another text has been chosen.
    """

    def __init__(self, variables: Mapping[str, Any], on_change: Callable[[], None]) -> None:
        self._variables = variables
        self._on_change = on_change
        self._columns: dict[str, list[str] | None] = {}
        self._put_aside = ""
        self._kind = widgets.RadioButtons(options=[TYPED, VARIABLE], orientation="horizontal", layout=_WIDE)
        self._body = widgets.Textarea(
            description="Rows", placeholder="roses are red\nviolets are blue", rows=7, layout=_WIDE
        )
        self._split = widgets.Dropdown(options=_SPLITS, description="Split", layout=_WIDE)
        self._typed_column = widgets.Text(value=DEFAULT_COLUMN, description="Column", layout=_WIDE)
        self._separator = widgets.Dropdown(options=_SEPARATORS, description="Separator", layout=_WIDE)
        self._name = widgets.Dropdown(options=[], description="Variable", layout=_WIDE)
        self._column = widgets.Dropdown(options=[], description="Column", layout=_WIDE)
        self._none = widgets.HTML(
            '<div class="vn-note">No variable holds texts yet. Make one in a cell, e.g. a DataFrame, a Series or a '
            "list of str; it appears here.</div>"
        )
        self._when_typed = widgets.VBox([self._body, self._split, self._typed_column, self._separator])
        self._when_variable = widgets.VBox([self._name, self._column, self._none])
        self.widget = widgets.VBox([self._kind, self._when_typed, self._when_variable])
        self.refresh()
        self._kind.observe(lambda _change: self._put_text_aside(), "value")
        fields = (self._kind, self._body, self._split, self._typed_column, self._separator, self._name, self._column)
        for widget in fields:
            widget.observe(self._changed, "value")

    def refresh(self) -> None:
        """Look at the namespace again: a cell may have bound or deleted something."""
        self._columns = dict(text_variables(self._variables))
        names, column = list(self._columns), self._column.value
        if list(self._name.options) != names:
            chosen = self._name.value
            self._name.options = names  # which chooses the first one for a moment, and that one's column
            self._name.value = chosen if chosen in names else next(iter(names), None)
        self._offer_columns()
        if column in self._column.options:
            self._column.value = column
        self._arrange()

    def source(self) -> TypedText | Variable:
        """Return what has been chosen.

        Raises
        ------
        InputError
            When there is no text yet.
        """
        if self._kind.value == VARIABLE:
            if self._name.value is None:
                raise InputError("No variable with texts is chosen.\nNext: make one in a cell, or type a text instead.")
            return Variable(self._name.value, self._column.value)
        if not self._body.value.strip():
            raise InputError("There is no text yet.\nNext: type or paste one text a line.")
        if self._split.value in ("csv", "jsonl"):
            return TypedText(self._body.value, self._split.value, self._typed_column.value, self._separator.value)
        return TypedText(self._body.value, self._split.value)

    def data(self, source: TypedText | Variable) -> object:
        """Return the texts behind a choice, as `%embed` takes them.

        Raises
        ------
        InputError
            When the text cannot be split, or the variable is gone.
        """
        if isinstance(source, TypedText):
            return rows_of(source)
        if source.name not in self._variables:
            raise InputError(f"There is no variable {source.name!r} any more.\nNext: choose another one.")
        return self._variables[source.name]

    def _changed(self, _change: object) -> None:
        self._offer_columns()
        self._arrange()
        self._on_change()

    def _offer_columns(self) -> None:
        columns = self._columns.get(self._name.value) or []
        if list(self._column.options) != columns:
            chosen = self._column.value
            self._column.options = columns
            self._column.value = chosen if chosen in columns else next(iter(columns), None)

    def _put_text_aside(self) -> None:
        """Take typed text out of the field while that is not shown: a notebook may save what fields hold."""
        if self._kind.value == TYPED:
            self._body.value, self._put_aside = self._put_aside, ""
        else:
            self._body.value, self._put_aside = "", self._body.value

    def _arrange(self) -> None:
        """Show the fields that matter for what is chosen."""
        typed = self._kind.value == TYPED
        _show(self._when_typed, typed)
        _show(self._when_variable, not typed)
        _show(self._typed_column, self._split.value in ("csv", "jsonl"))
        _show(self._separator, self._split.value == "csv")
        _show(self._name, bool(self._columns))
        _show(self._none, not self._columns)
        _show(self._column, bool(self._column.options))


def rows_of(typed: TypedText) -> Rows:
    """Split a typed text as ``%%embed`` would.

    Raises
    ------
    InputError
        See `split_rows`.
    """
    return split_rows(typed.body, typed.split, column=typed.column, separator=typed.separator)


def _show(widget: widgets.Widget, shown: bool) -> None:  # noqa: FBT001 - the state that is set
    widget.layout.display = None if shown else "none"
