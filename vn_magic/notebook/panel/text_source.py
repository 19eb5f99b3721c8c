"""Text: what to embed, typed here or taken from a variable, and what that would cost."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sized
from typing import Any

import ipywidgets as widgets

from vn_magic.candidates import text_variables
from vn_magic.exceptions import InputError
from vn_magic.notebook.panel.choices import TypedText, Variable
from vn_magic.notebook.panel.tasks import Tasks
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
# What a field says while nothing is chosen.
_NOTHING = ("choose …", "")
_SEPARATORS = (("comma", ","), ("semicolon", ";"), ("tab", "\t"), ("bar", "|"))


class TextSource:
    """A text field, or a variable of the user's namespace.

    Parameters
    ----------
    variables
        The user's namespace.
    on_change
        Called whenever another text has been chosen.
    tasks
        Runs what widgets call.
    """

    def __init__(self, variables: Mapping[str, Any], on_change: Callable[[], None], tasks: Tasks) -> None:
        self._variables = variables
        self._on_change = on_change
        self._columns: dict[str, list[str] | None] = {}
        self._put_aside = ""
        self._refreshing = False
        self._kind = widgets.RadioButtons(options=[TYPED, VARIABLE], orientation="horizontal", layout=_WIDE)
        self._body = widgets.Textarea(
            description="Rows", placeholder="roses are red\nviolets are blue", rows=7, layout=_WIDE
        )
        self._split = widgets.Dropdown(options=_SPLITS, description="Split", layout=_WIDE)
        self._typed_column = widgets.Text(value=DEFAULT_COLUMN, description="Column", layout=_WIDE)
        self._separator = widgets.Dropdown(options=_SEPARATORS, description="Separator", layout=_WIDE)
        self._name = widgets.Dropdown(options=[_NOTHING], description="Variable", layout=_WIDE)
        self._column = widgets.Dropdown(options=[_NOTHING], description="Column", layout=_WIDE)
        self._none = widgets.HTML(
            '<div class="vn-note">No variable holds texts yet. Make one in a cell, e.g. a DataFrame, a Series or a '
            "list of str; it appears here.</div>"
        )
        self._when_typed = widgets.VBox([self._body, self._split, self._typed_column, self._separator])
        self._when_variable = widgets.VBox([self._name, self._column, self._none])
        self.widget = widgets.VBox([self._kind, self._when_typed, self._when_variable])
        self.refresh()
        self._kind.observe(tasks.callback(self._put_text_aside), "value")
        self._name.observe(tasks.callback(self._offer_columns), "value")
        fields = (self._kind, self._body, self._split, self._typed_column, self._separator, self._name, self._column)
        for widget in fields:
            widget.observe(tasks.callback(self._changed), "value")

    def refresh(self) -> None:
        """Look at the namespace again: a cell may have bound or deleted something.

        What was chosen stays chosen. Where it is gone nothing is, or texts would be sent that nobody has chosen.
        """
        before, chosen = self._columns, self._name.value
        self._refreshing = True  # a field whose options change has nothing chosen for a moment
        try:
            self._columns = dict(text_variables(self._variables))
            _offer(self._name, list(self._columns), choose_first=not before)
            columns = self._columns.get(self._name.value) or []
            _offer(self._column, columns, choose_first=self._name.value != chosen)
            self._arrange()
        finally:
            self._refreshing = False

    def state(self) -> tuple[object, ...]:
        """Return what tells whether other texts are behind the choice than before, as far as that is cheap to tell."""
        value = self._variables.get(self._name.value)
        return (
            self._kind.value,
            self._name.value,
            self._column.value,
            id(value),
            len(value) if isinstance(value, Sized) else 0,
        )

    def source(self) -> TypedText | Variable:
        """Return what has been chosen.

        Raises
        ------
        InputError
            When there is no text yet.
        """
        if self._kind.value == VARIABLE:
            if not self._name.value:
                raise InputError("No variable with texts is chosen.\nNext: choose one, or type a text instead.")
            is_frame = self._columns.get(self._name.value) is not None
            if is_frame and not self._column.value:
                raise InputError(f"No column of {self._name.value} is chosen.\nNext: choose the one with the texts.")
            return Variable(self._name.value, self._column.value if is_frame else None)
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

    def _changed(self) -> None:
        if self._refreshing:
            return
        self._arrange()
        self._on_change()

    def _offer_columns(self) -> None:
        if self._refreshing:
            return
        _offer(self._column, self._columns.get(self._name.value) or [], choose_first=True)

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
        _show(self._column, bool(self._columns.get(self._name.value)))


def rows_of(typed: TypedText) -> Rows:
    """Split a typed text as ``%%embed`` would.

    Raises
    ------
    InputError
        See `split_rows`.
    """
    return split_rows(typed.body, typed.split, column=typed.column, separator=typed.separator)


def _offer(field: widgets.Dropdown, names: list[str], *, choose_first: bool) -> None:
    """Put names into a field; the chosen one stays if it is among them, else nothing is chosen, or the first one."""
    chosen = field.value
    if [name for _, name in field.options[1:]] != names:
        field.options = [_NOTHING, *((name, name) for name in names)]  # which chooses nothing
    if chosen in names:
        field.value = chosen
    elif choose_first and names:
        field.value = names[0]


def _show(widget: widgets.Widget, shown: bool) -> None:  # noqa: FBT001 - the state that is set
    widget.layout.display = None if shown else "none"
