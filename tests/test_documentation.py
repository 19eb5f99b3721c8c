"""What is written for people says what the code does: help, README, the map of the notebooks, docstrings."""

from __future__ import annotations

import argparse
import ast
import inspect
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, get_args

import pytest

import vn_magic
from vn_magic import cli
from vn_magic.accessor import VectorAccessor
from vn_magic.credentials import TOKEN_FILE_VARIABLE, TOKEN_VARIABLES
from vn_magic.handover.langchain import VectorNodeEmbeddings
from vn_magic.notebook.comparing import COMPARE_USAGE
from vn_magic.notebook.doctor import DOCTOR_USAGE
from vn_magic.notebook.drawing import HEATMAP_USAGE, SCATTER_USAGE
from vn_magic.notebook.options import embed_parser
from vn_magic.notebook.packing import OPTIONS as PACK_OPTIONS
from vn_magic.notebook.searching import NEAREST_USAGE
from vn_magic.notebook.vn import SUBCOMMANDS
from vn_magic.request import EmbedOptions
from vn_magic.settings import Settings
from vn_magic.sklearn import Embedder

ROOT = Path(vn_magic.__file__).parents[1]
README = (ROOT / "README.md").read_text("utf-8")
PAGES = sorted(path for path in ROOT.rglob("README.md") if not {".venv", "node_modules"} & set(path.parts))

# The grammar of the magic is settled: stated here once more, so that nobody changes it by the way.
GRAMMAR = """
    [OUT] [-o/--out OUT] [-m/--model MODEL] [-d/--dim N] [-t/--task TASK] [--title T]
    [--split lines|paragraphs|cell|csv|jsonl] [-c/--column COLUMN] [--sep S]
    [--as df|numpy] [--raw] [--on-error stop|keep]
    [--concurrency N] [--rpm N] [--batch-size N] [--max-requests N] [--max-tokens N]
    [--refresh] [--no-cache] [--dry-run] [--vars] [-q/--quiet] [-h/--help]
"""

# Options of the magic and arguments of the Python door: the same, by other names where a line has to be short.
OTHER_NAMES = {
    "dim": "dimension",
    "task": "task_type",
    "as": "result",
    "raw": "unit_length",
    "rpm": "requests_per_minute",
    "no_cache": "cache",
}
# What only a line or a cell has.
OF_A_LINE = {"out", "split", "sep", "vars", "dry_run", "quiet", "help"}


def _grammar() -> dict[tuple[str, ...], str]:
    """Return what the grammar says: the spellings of each option and what stands behind it."""
    options = {}
    for option in re.findall(r"\[([^\]]+)\]", GRAMMAR):
        spelled, _, value = option.partition(" ")
        options[tuple(spelled.split("/"))] = value
    return options


def _parsed(parser: argparse.ArgumentParser) -> dict[tuple[str, ...], str]:
    """Return what a parser takes, in the words of the grammar."""
    options = {}
    for action in parser._actions:
        enumerated = action.choices is not None and action.metavar is None
        value = "|".join(map(str, action.choices or ())) if enumerated else str(action.metavar or "")
        if action.option_strings:
            options[tuple(action.option_strings)] = value
        else:
            options[(str(action.metavar),)] = ""
    return options


def _commands(
    parser: argparse.ArgumentParser, above: str = "vn-magic"
) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """Yield every command of the terminal and its parser."""
    yield above, parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, command in action.choices.items():
                yield from _commands(command, f"{above} {name}")


def _table(header: str) -> list[list[str]]:
    """Return the rows of a README's table, cells without the marks around them."""
    after = README[README.index(header) :].splitlines()[2:]
    rows = []
    for line in after:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]])
    return rows


def test_the_options_of_the_magic_are_those_of_the_settled_grammar() -> None:
    assert _parsed(embed_parser()) == _grammar()


def test_help_names_every_option_of_the_grammar_with_a_word_on_what_it_is_for() -> None:
    said = embed_parser().format_help()
    for spellings in _grammar():
        assert all(spelling in said for spelling in spellings)
    assert all(action.help for action in embed_parser()._actions)


def test_the_python_door_has_an_argument_for_every_option_and_none_beside() -> None:
    options = {spellings[-1].removeprefix("--").replace("-", "_") for spellings in _grammar()} - {"OUT"}
    arguments = {OTHER_NAMES.get(option, option) for option in options - OF_A_LINE}
    assert arguments == set(EmbedOptions.__annotations__)
    signature = inspect.signature(vn_magic.embed)
    assert list(signature.parameters) == list(inspect.signature(vn_magic.aembed).parameters)
    assert set(signature.parameters) - {"texts"} == arguments


def test_the_readme_names_every_subcommand_of_vn_and_no_other() -> None:
    table = "\n".join(row[0] + row[1] for row in _table("| | |\n|---|---|\n| `%%embed NAME"))
    named = set(re.findall(r"%vn ([a-z]+)", README))
    assert named <= set(SUBCOMMANDS)
    assert [name for name in SUBCOMMANDS if f"`{name}`" not in table and f"%vn {name}" not in table] == []


def test_the_readme_names_every_command_of_the_terminal_and_no_other() -> None:
    commands = {name.split()[1] for name, _ in _commands(cli._parser()) if " " in name}
    table = " ".join(row[0] for row in _table("| | |\n|---|---|\n| `%%embed NAME") if "vn-magic" in row[0])
    assert set(re.findall(r"[a-z]+", table)) & commands == commands
    assert set(re.findall(r"`vn-magic ([a-z]+)", README)) <= commands


def test_every_option_that_the_readme_shows_exists() -> None:
    actions = [action for _, command in _commands(cli._parser()) for action in command._actions]
    known = {spelling for action in actions for spelling in action.option_strings}
    known |= {spelling for spellings in _grammar() for spelling in spellings}
    known |= set(re.findall(r"--[a-z-]+", COMPARE_USAGE + DOCTOR_USAGE + HEATMAP_USAGE + NEAREST_USAGE + SCATTER_USAGE))
    known |= {spelling for spellings in PACK_OPTIONS.values() for spelling in spellings}
    others = {"--debug", "--cached", "--name-only", "--diff-filter"}  # of ipykernel and git
    assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", README)) - known - others == set()


def test_the_readme_has_a_line_for_every_setting_with_its_default() -> None:
    defaults = Settings()
    said: dict[str, str] = {}
    for names, _option, default in _table("| setting | option | default |"):
        outside_parentheses = re.sub(r"\([^)]*\)", "", names)
        for name in re.findall(r"`([a-z_]+)`", outside_parentheses):
            said[name] = default
    assert sorted(said) == sorted(Settings.names())
    for name, default in said.items():
        value = getattr(defaults, name)
        if isinstance(value, bool):
            assert default == ("on" if value else "off"), name
        elif isinstance(value, float):
            assert f"{value:.0f}" in default.split(", "), name
        elif name == "batch_size":
            assert (default, value) == ("off: one", 1)
        elif value is None:
            assert default == "none" or "from 8 up to 64" in default, name
        else:
            assert default == f"`{value}`" or default == str(value), name


def test_an_option_beside_a_setting_in_the_readme_is_one_of_the_magic() -> None:
    options = {spelling for spellings in _grammar() for spelling in spellings}
    beside = {name for row in _table("| setting | option | default |") for name in re.findall(r"`(--[a-z-]+)`", row[1])}
    assert beside
    assert beside <= options


def test_environment_variables_of_the_readme_are_those_that_the_code_reads() -> None:
    source = "".join(path.read_text("utf-8") for path in (ROOT / "vn_magic").rglob("*.py"))
    named = set(re.findall(r"\$?\b((?:VN_MAGIC|VECTORNODE|VECTOR_ENGINE)_[A-Z_]+)\b", README))
    read = set(re.findall(r'"((?:VN_MAGIC|VECTORNODE|VECTOR_ENGINE)_[A-Z_]+)"', source))
    assert {*TOKEN_VARIABLES, TOKEN_FILE_VARIABLE} <= read
    assert named == read


def test_the_readme_names_every_hand_over_and_no_other() -> None:
    rows = [line for line in README.splitlines() if line.startswith("| `df.vec")]
    shown = {name for row in rows for name in re.findall(r"`(?:df\.vec)?\.(\w+)\(", row)}
    assert {name for name in shown if not hasattr(VectorAccessor, name)} == set()
    assert {name for name in vars(VectorAccessor) if name.startswith("to_")} <= shown
    classes = re.findall(r"`vn_magic\.handover\.(\w+)\.(\w+)", README)
    assert {module for module, _ in classes} >= {"langchain", "chroma"}
    for module, name in classes:  # read and not imported: chromadb may not be there
        tree = ast.parse((ROOT / "vn_magic" / "handover" / f"{module}.py").read_text("utf-8"))
        assert name in {node.name for node in tree.body if isinstance(node, ast.ClassDef)}


def test_extras_that_anything_tells_people_to_install_exist() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    sources = [README, *(path.read_text("utf-8") for path in (ROOT / "vn_magic").rglob("*.py"))]
    told = {extra for text in sources for extra in re.findall(r"vn_magic\[([a-z]+)\]", text)}
    assert told
    assert told <= set(project["optional-dependencies"])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_of_a_page_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text("utf-8")):
        path, _, anchor = target.partition("#")
        if ":" in path:
            continue
        found = (page.parent / path) if path else page
        assert found.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.*)$", found.read_text("utf-8"), re.MULTILINE)
            assert anchor in [re.sub(r"[^\w -]", "", each.lower()).replace(" ", "-") for each in headings], target


def test_the_map_of_the_notebooks_has_each_of_them_once_and_in_order() -> None:
    page = (ROOT / "examples" / "README.md").read_text("utf-8")
    linked = re.findall(r"^\| \[\w+\]\(([\w/]+\.ipynb)\)", page, re.MULTILINE)
    there = [path.name for path in sorted((ROOT / "examples").glob("*.ipynb"))]
    lessons = [f"lessons/{path.name}" for path in sorted((ROOT / "examples" / "lessons").glob("*.ipynb"))]
    assert linked == there + lessons
    for drawn in re.findall(r"\b0\d_\w+", page):
        assert f"{drawn}.ipynb" in there


def _public() -> Mapping[str, Any]:
    """Return what people import, with the methods of its classes."""
    found = {}
    classes: dict[str, type] = {
        "df.vec": VectorAccessor,
        "Embedder": Embedder,
        "VectorNodeEmbeddings": VectorNodeEmbeddings,
    }
    for name in vn_magic.__all__:
        value = getattr(vn_magic, name)
        if inspect.isclass(value):
            classes[name] = value
        elif callable(value):
            found[name] = value
    for name, kind in classes.items():
        found[name] = kind
        for attribute, value in vars(kind).items():
            if not attribute.startswith("_") and (callable(value) or isinstance(value, property)):
                found[f"{name}.{attribute}"] = value
    return found


@pytest.mark.parametrize("name", _public())
def test_the_docstring_of_a_public_name_is_its_reference(name: str) -> None:
    assert (inspect.getdoc(_public()[name]) or "").strip()


def _documented(value: Callable[..., Any]) -> list[str]:
    """Return the names under "Parameters" of a numpy docstring."""
    docstring = inspect.getdoc(value) or ""
    section = re.search(r"^Parameters\n-+\n(.*?)(?=^\w[^\n]*\n-+\n|\Z)", docstring, re.DOTALL | re.MULTILINE)
    lines = re.findall(r"^\S.*$", section[1], re.MULTILINE) if section else []
    return [name.strip(" *") for line in lines for name in line.split(" : ")[0].split(",")]


@pytest.mark.parametrize("name", [name for name, value in _public().items() if _documented(value)])
def test_a_docstring_with_parameters_names_all_of_them_in_their_order(name: str) -> None:
    parameters = [each for each in inspect.signature(_public()[name]).parameters if each != "self"]
    assert _documented(_public()[name]) == parameters


def test_choices_in_docstrings_are_those_of_the_types() -> None:
    from vn_magic.settings import OnError, Result  # noqa: PLC0415 - beside what is compared

    said = inspect.getdoc(vn_magic.embed) or ""
    assert all(f"``{choice}``" in said for choice in (*get_args(OnError), *get_args(Result)))
