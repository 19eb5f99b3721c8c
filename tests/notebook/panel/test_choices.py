"""The cell that the panel shows asks for what the panel would do, whatever was typed and chosen."""

from __future__ import annotations

import ast
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from IPython.core.interactiveshell import InteractiveShell

from vn_magic.exceptions import InputError
from vn_magic.notebook.extension import body_as_typed
from vn_magic.notebook.options import EmbedLine, parse_cell_line, parse_line
from vn_magic.notebook.panel.choices import Choices, TypedText, Variable, equivalent_cell
from vn_magic.notebook.panel.text_source import rows_of
from vn_magic.rows import DEFAULT_COLUMN, Split, split_rows
from vn_magic.settings import Settings, TaskType

DEFAULTS = Settings()
PLAIN = Choices(DEFAULTS.model, DEFAULTS.dimension, DEFAULTS.task_type, True, "stop", "df", "vectors")
# What people have in headers, and what shells, Python and IPython each read in their own way.
ODD_NAMES = (
    "review", "a b", "it's", '"quoted"', "-x", "--dim", "-", "", "=", "a=b", "\\", "a\\", "a\\'b", "?", "a?", "??",
    ";", "a;", "$HOME", "{x}", "{{x}}", "%time", "!ls", "#1", "@", "größe", "日本", "🙂", "`a`", "(", ")", "[0]", "*",
    "'", "\"'\"", "0", "text", "embedding", "a -c b", "df --raw",
)  # fmt: skip
ODD_BODIES = (
    "%%time\nx", "%timeit x\ny", "\n\nx", "x\n\n\n\ny", "  x", "\tx\ty", "{{x}} {x} $x", ">>> 1\n1", "a\n>>> b\n... c",
    "... and so on", "In [3]: a", "   ...: b", "x?", "?x", "!ls", "a\n   \nb", "a;", "\\", "'''", '"""\n"', "é🙂",
    "get_ipython()", "    indented\n  less", "#", "a \n b ", "\u2028a\u2028b", "a\x0cb", "x\n%%embed y\nz",
)  # fmt: skip

names = st.sampled_from(ODD_NAMES) | st.text(st.characters(categories=["L", "N", "P", "S", "Zs"]), max_size=12).filter(
    str.isprintable
)
bodies = (
    st.sampled_from(ODD_BODIES) | st.text(st.characters(exclude_categories=["Cs", "Cc"]) | st.sampled_from("\n\t"))
).filter(str.strip)
splits: st.SearchStrategy[Split] = st.sampled_from(["lines", "paragraphs", "cell", "csv", "jsonl"])
tasks: st.SearchStrategy[TaskType] = st.sampled_from(["SEMANTIC_SIMILARITY", "CLUSTERING", "RETRIEVAL_DOCUMENT"])
identifiers = st.sampled_from(["df", "vectors", "größe", "x1", "reviews_2"])
all_settings = st.builds(
    lambda dimension, task, unit_length, on_error: (
        DEFAULTS.with_value("dimension", dimension, "test")
        .with_value("task_type", task, "test")
        .with_value("unit_length", unit_length, "test")
        .with_value("on_error", on_error, "test")
    ),
    st.integers(128, 3072),
    tasks,
    st.booleans(),
    st.sampled_from(["stop", "keep"]),
)
all_choices = st.builds(
    Choices,
    st.sampled_from(["gemini-embedding-001", "gemini-embedding-2"]) | names,
    st.integers(128, 3072),
    st.none() | tasks,
    st.booleans(),
    st.sampled_from(["stop", "keep"]),
    st.sampled_from(["df", "numpy"]),
    identifiers,
)


@pytest.fixture(scope="module")
def shell() -> Iterator[InteractiveShell]:
    """A shell that reads cells as one with the extension does."""
    shell = InteractiveShell()
    shell.input_transformers_cleanup.insert(0, body_as_typed)
    yield shell
    InteractiveShell.clear_instance()


def _call(shell: InteractiveShell, cell: str) -> tuple[str, str, list[str]]:
    """Return what IPython makes of a cell: the variable, the method that runs the magic, and its arguments."""
    [statement] = ast.parse(shell.transform_cell(cell)).body
    assert isinstance(statement, ast.Assign | ast.Expr)
    name = ast.unparse(statement.targets[0]) if isinstance(statement, ast.Assign) else ""
    assert isinstance(statement.value, ast.Call)
    assert isinstance(statement.value.func, ast.Attribute)
    return name, statement.value.func.attr, [ast.literal_eval(argument) for argument in statement.value.args]


def _assert_asks_for(parsed: EmbedLine, choices: Choices, settings: Settings) -> None:
    options = parsed.options
    assert (options.model or settings.model) == (choices.model or settings.model)
    assert (options.dim or settings.dimension) == choices.dimension
    assert (options.task or settings.task_type) == (choices.task_type or settings.task_type)
    assert options.result == choices.result
    # Where the session has it off, the panel cannot turn it on.
    assert (settings.unit_length and not options.raw) == (settings.unit_length and choices.unit_length)
    assert (options.on_error or settings.on_error) == choices.on_error


@given(variable=identifiers, column=st.none() | names, choices=all_choices, settings=all_settings)
def test_a_line_asks_for_the_variable_and_column_that_were_chosen(
    shell: InteractiveShell, variable: str, column: str | None, choices: Choices, settings: Settings
) -> None:
    name, method, (magic, line) = _call(shell, equivalent_cell(Variable(variable, column), choices, settings))
    assert (name, method, magic) == (choices.out, "run_line_magic", "embed")
    parsed = parse_line(line)
    assert (parsed.expression, parsed.options.column, parsed.out) == (variable, column, None)
    _assert_asks_for(parsed, choices, settings)


@given(
    body=bodies,
    split=splits,
    column=names,
    separator=st.sampled_from([",", ";", "\t", "|"]),
    choices=all_choices,
    settings=all_settings,
)
def test_a_cell_asks_for_the_text_and_the_splitting_that_were_chosen(
    shell: InteractiveShell,
    body: str,
    split: Split,
    column: str,
    separator: str,
    choices: Choices,
    settings: Settings,
) -> None:
    # As the panel makes it: column and separator are chosen where they mean something.
    typed = TypedText(body, split)
    if split in ("csv", "jsonl"):
        typed = TypedText(body, split, column, separator)
    name, method, (magic, line, arrived) = _call(shell, equivalent_cell(typed, choices, settings))
    assert (name, method, magic) == ("", "run_cell_magic", "embed")
    parsed = parse_cell_line(line)
    options = parsed.options
    assert parsed.out == choices.out
    assert (options.split or "lines") == split
    assert (DEFAULT_COLUMN if options.column is None else options.column) == typed.column
    assert (options.sep is None) or split == "csv"
    if split == "csv":
        assert (options.sep or ",") == separator
    _assert_asks_for(parsed, choices, settings)
    assert arrived.removesuffix("\n") == body.removesuffix("\n")


@pytest.mark.parametrize("split", ["lines", "paragraphs", "cell"])
@pytest.mark.parametrize("body", ODD_BODIES)
def test_a_cell_gives_the_rows_that_the_panel_gives(shell: InteractiveShell, body: str, split: Split) -> None:
    typed = TypedText(body, split)
    _, _, (_, _, arrived) = _call(shell, equivalent_cell(typed, PLAIN, DEFAULTS))
    assert split_rows(arrived, split) == rows_of(typed)


@pytest.mark.parametrize("column", ODD_NAMES)
def test_a_csv_column_of_an_odd_name_gives_the_same_rows(shell: InteractiveShell, column: str) -> None:
    header = '"' + column.replace('"', '""') + '"'
    typed = TypedText(f"{header}\tother\nroses\t1\nviolets\t2", "csv", column, "\t")
    _, _, (_, line, arrived) = _call(shell, equivalent_cell(typed, PLAIN, DEFAULTS))
    options = parse_cell_line(line).options
    named = DEFAULT_COLUMN if options.column is None else options.column
    assert split_rows(arrived, options.split, column=named, separator=options.sep) == rows_of(typed)
    if column != "other":
        assert rows_of(typed).values == ["roses", "violets"]


def test_what_is_the_default_here_and_everywhere_is_not_on_the_line() -> None:
    assert equivalent_cell(Variable("df", "review"), PLAIN, DEFAULTS) == "vectors = %embed -c review df"
    assert equivalent_cell(TypedText("a\nb"), PLAIN, DEFAULTS) == "%%embed vectors\na\nb"


def test_what_differs_from_the_session_is_on_the_line() -> None:
    choices = Choices("gemini-embedding-001", 256, "CLUSTERING", False, "keep", "numpy", "x")
    assert equivalent_cell(Variable("texts"), choices, DEFAULTS) == (
        "x = %embed --dim 256 --task CLUSTERING --on-error keep --as numpy --raw texts"
    )


def test_what_the_session_has_set_is_on_the_line_for_a_session_that_has_not() -> None:
    settings = DEFAULTS.with_value("dimension", 256, "test").with_value("on_error", "keep", "test")
    same = Choices("gemini-embedding-001", 256, "SEMANTIC_SIMILARITY", True, "keep", "df", "x")
    other = Choices("gemini-embedding-001", 768, "SEMANTIC_SIMILARITY", True, "stop", "df", "x")
    assert equivalent_cell(Variable("texts"), same, settings) == "x = %embed --dim 256 --on-error keep texts"
    assert equivalent_cell(Variable("texts"), other, settings) == "x = %embed --dim 768 --on-error stop texts"


def test_a_text_that_cannot_be_split_fails_in_the_cell_as_in_the_panel(shell: InteractiveShell) -> None:
    typed = TypedText("a,b\n1", "csv", "a")
    _, _, (_, _, arrived) = _call(shell, equivalent_cell(typed, PLAIN, DEFAULTS))
    with pytest.raises(InputError) as panel:
        rows_of(typed)
    with pytest.raises(InputError) as cell:
        split_rows(arrived, "csv", column="a")
    assert str(cell.value) == str(panel.value)
