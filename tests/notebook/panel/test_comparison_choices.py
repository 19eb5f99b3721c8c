"""The cell of a comparison asks for what the panel would compare, whatever columns and models are called."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from IPython.core.interactiveshell import InteractiveShell

from vn_magic.models import TASK_TYPES
from vn_magic.notebook.comparing import COMPARE_OPTIONS
from vn_magic.notebook.drawing import parse
from vn_magic.notebook.panel.choices import Variable
from vn_magic.notebook.panel.comparison_choices import Asked, ComparisonChoices, comparing_cell
from vn_magic.settings import Settings

DEFAULTS = Settings()
PLAIN = ComparisonChoices((DEFAULTS.model,), (DEFAULTS.task_type,), (DEFAULTS.dimension,), None, 10, "")

# Without line breaks and other characters that no line has: such columns are not offered.
names = st.text(st.characters(categories=["L", "N", "P", "S", "Zs"]), max_size=12).filter(str.isprintable)
models = st.lists(names.map(lambda name: name.replace(",", "").strip()).filter(bool), min_size=1, unique=True)
asked = st.builds(
    Asked,
    st.none() | models,
    st.none() | st.lists(st.sampled_from(TASK_TYPES), min_size=1, unique=True),
    st.none() | st.lists(st.integers(128, 3072), min_size=1, unique=True),
    st.none() | names,
    st.integers(1, 1000),
)
texts = st.lists(st.none() | st.text(max_size=30) | st.integers(), min_size=1, max_size=6)


@pytest.fixture(scope="module")
def shell() -> Iterator[InteractiveShell]:
    yield InteractiveShell()
    InteractiveShell.clear_instance()


def _line(statement: ast.stmt) -> str:
    """Return the line that a statement gives to ``%vn``."""
    assert isinstance(statement, ast.Expr)
    assert isinstance(statement.value, ast.Call)
    magic, line = (ast.literal_eval(argument) for argument in statement.value.args)
    assert magic == "vn"
    command, _, rest = str(line).partition(" ")
    assert command == "compare"
    return rest


def _assert_asks_for(options: dict[str, str], wanted: Asked, out: str) -> None:
    def several(name: str) -> list[str] | None:
        return options[name].split(",") if name in options else None

    dimensions = several("dimensions")
    assert several("models") == wanted.models
    assert several("task_types") == wanted.task_types
    assert (None if dimensions is None else list(map(int, dimensions))) == wanted.dimensions
    assert options.get("labels") == wanted.labels
    assert int(options.get("k", "10")) == wanted.k
    assert options.get("out", "") == out


@given(column=st.none() | names, wanted=asked, out=st.sampled_from(["", "table", "größe"]))
def test_a_line_asks_for_the_columns_and_settings_that_were_chosen(
    shell: InteractiveShell, column: str | None, wanted: Asked, out: str
) -> None:
    cell = comparing_cell(Variable("df", column), wanted, out, {})
    [statement] = ast.parse(shell.transform_cell(cell)).body
    expression, options = parse("compare", _line(statement), COMPARE_OPTIONS)
    assert (expression, options.get("column")) == ("df", column)
    _assert_asks_for(options, wanted, out)


@given(rows=texts, wanted=asked)
def test_typed_rows_are_bound_to_a_list_as_they_are(
    shell: InteractiveShell, rows: Sequence[object], wanted: Asked
) -> None:
    assignment, statement = ast.parse(shell.transform_cell(comparing_cell(rows, wanted, "table", {}))).body
    assert isinstance(assignment, ast.Assign)
    assert ast.literal_eval(assignment.value) == rows
    expression, options = parse("compare", _line(statement), COMPARE_OPTIONS)
    assert expression == ast.unparse(assignment.targets[0]) == "texts"
    _assert_asks_for(options, wanted, "table")


def test_the_list_has_a_name_of_its_own_until_it_is_there() -> None:
    def name(out: str = "", **variables: object) -> str:
        return comparing_cell(["a", "b"], PLAIN.asked(DEFAULTS), out, variables).split(" ", 1)[0]

    assert name() == name(texts=["a", "b"]) == "texts"
    for other in (["a"], ["b", "a"], ("a", "b"), np.array(["a", "b"]), [np.zeros(2), "b"], None):
        assert name(texts=other) == name(texts=other, texts_2=["a", "b"]) == "texts_2"
    assert name(texts=1, texts_2=2) == "texts_3"
    assert name("texts") == "texts_2"


def test_a_long_list_takes_a_line_for_each_text() -> None:
    rows = ["a text that is long enough"] * 4
    cell = comparing_cell(rows, PLAIN.asked(DEFAULTS), "", {})
    assert cell.splitlines() == ["texts = [", *[f"    {row!r}," for row in rows], "]", "%vn compare texts"]


def test_what_the_session_has_set_is_asked_for_all_the_same() -> None:
    assert PLAIN.asked(DEFAULTS) == Asked(None, None, None, None, 10)
    settings = DEFAULTS.with_value("dimension", 256, "test").with_value("task_type", "CLUSTERING", "test")
    assert PLAIN.asked(settings) == Asked(None, ("SEMANTIC_SIMILARITY",), (768,), None, 10)
    same = ComparisonChoices((DEFAULTS.model,), ("CLUSTERING",), (256,), None, 10, "")
    assert same.asked(settings) == Asked(None, ("CLUSTERING",), (256,), None, 10)
    nothing = ComparisonChoices((), (), (), None, 10, "")
    assert nothing.asked(settings) == Asked(None, None, None, None, 10)
