"""The table of cases and the README's promises: whatever they name is there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

FAULTS = Path(__file__).parent
TESTS = FAULTS.parent
TABLE = (FAULTS / "README.md").read_text(encoding="utf-8")
HEADING = "## What it promises when things go wrong"
REFERENCE = re.compile(r"`(?:(?P<module>[\w/]+)::)?(?P<name>\w*(?:test_|…)[\w…]*)`")


def names_in(module: str) -> set[str]:
    """Return the names of a module's tests; it is named from here or from the folder of all tests."""
    path = next(path for folder in (FAULTS, TESTS) if (path := folder / f"{module}.py").is_file())
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")}


def references(line: str) -> list[tuple[str, str]]:
    """Return the tests that a line of the table names, each with its module, which the line's first ones give."""
    module = ""
    found = []
    for reference in REFERENCE.finditer(line):
        module = reference["module"] or module
        found.append((module, reference["name"]))
    return found


def pattern_of(name: str) -> re.Pattern[str]:
    """Return what a name stands for; `…` is any part of one."""
    return re.compile(re.escape(name).replace("…", r"\w*"))


def promises(markdown: str) -> list[str]:
    """Return the promises of the README, an item of its list each."""
    section = markdown.split(HEADING)[1].split("\n## ", maxsplit=1)[0]
    return [" ".join(item.split()) for item in section.split("\n- ")[1:]]


def rows() -> list[str]:
    """Return the lines of all tables."""
    lines = [line for line in TABLE.splitlines() if line.startswith("| ")]
    return [line for line in lines if not line.startswith(("| what happens", "| promise"))]


def test_every_case_names_tests_that_are_there() -> None:
    missing = []
    for line in rows():
        named = references(line)
        assert named, f"no test is named: {line}"
        for module, name in named:
            if not any(pattern_of(name).fullmatch(test) for test in names_in(module)):
                missing.append(f"{module}::{name}")
    assert missing == []


def test_every_test_of_faults_stands_in_the_table() -> None:
    named = [(module, pattern_of(name)) for line in rows() for module, name in references(line)]
    unnamed = [
        f"{path.stem}::{test}"
        for path in sorted(FAULTS.glob("test_*.py"))
        if path.stem not in ("test_gateway", "test_table")  # these test the tests
        for test in sorted(names_in(path.stem))
        if not any(module == path.stem and pattern.fullmatch(test) for module, pattern in named)
    ]
    assert unnamed == []


def test_every_promise_of_the_readme_has_a_test() -> None:
    promised = promises((TESTS.parent / "README.md").read_text(encoding="utf-8"))
    assert len(promised) > 10
    table = TABLE.split("## The README's promises")[1].split("\n## ")[0]
    proved = {line.split("|")[1].strip() for line in table.splitlines() if references(line)}
    assert [promise for promise in promised if promise not in proved] == []
    assert proved == set(promised)
