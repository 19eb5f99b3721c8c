"""Tokens in files: a notebook that a real kernel has run and that leaks on every way out, and others."""

from __future__ import annotations

import base64
import json
import os
import stat
import sys
from pathlib import Path
from typing import Any

import nbformat
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook
from support.hunt import CANARY, MASK, Hunt

from vn_magic.classroom.scrubber import Scan, known_tokens, scans
from vn_magic.credentials import Token
from vn_magic.exceptions import InputError, TokenError

ODD = "hush&Co/5e1f+0a'7b2c=="
ODD_MASK = "…2c=="
ASCII_MASK = MASK.encode("ascii", "backslashreplace").decode()
"""The mask as it is written into a file that has been all ASCII before."""

LEAKY = [
    f"# The slip that all others come from.\nimport ipywidgets, sys\ntoken = '{CANARY}'",
    "print('Zoë has', token)",
    "print(token, file=sys.stderr)",
    "from IPython.display import HTML, JSON, SVG, Image, display\nHTML(f'<b title=\"{token}\">Zoë</b>')",
    "display(JSON({token: [token, {'deep': token}]}), metadata={'for': token})",
    "SVG(f'<svg xmlns=\"http://www.w3.org/2000/svg\"><text>{token}</text></svg>')",
    (
        "import base64\npicture = base64.b64encode(f'<svg><text>é {token}</text></svg>'.encode()).decode()\n"
        "HTML(f'<img src=\"data:image/svg+xml;base64,{picture}\">')"
    ),
    "ipywidgets.VBox([ipywidgets.Password(value=token), ipywidgets.Image(value=b'\\x89PNG\\xff' + token.encode())])",
    "[token, 'Zoë']",
    "def ask(key):\n    raise ValueError(f'refused: {key}\\n')\nask(token)",
    "x = 1 / 0",
]
PLACES = {
    "cell 2 (In [1]), source line 3",
    "cell 3 (In [2]), output (text)",
    "cell 4 (In [3]), output (text)",
    "cell 5 (In [4]), output (text/html)",
    "cell 6 (In [5]), output (application/json)",
    "cell 6 (In [5]), output (for)",
    "cell 7 (In [6]), output (image/svg+xml)",
    "cell 8 (In [7]), output (text/html)",
    "cell 9 (In [8]), output (text/plain)",  # a widget's repr says it, too
    "cell 10 (In [9]), output (text/plain)",
    "cell 11 (In [10]), output (evalue)",
    "cell 11 (In [10]), output (traceback)",
    "widget state (data)",
    "widget state (value)",
}


@pytest.fixture(scope="module")
def run_notebook() -> nbformat.NotebookNode:
    """What a kernel made of the leaky cells, with the state of their widgets."""
    notebook = new_notebook(cells=[new_markdown_cell("# Leaks, by Zoë 😀"), *map(new_code_cell, LEAKY)])
    NotebookClient(notebook, kernel_name="python3", timeout=120, allow_errors=True).execute()
    assert [number for number, cell in enumerate(notebook.cells) if "error" in str(cell.get("outputs"))] == [10, 11]
    return notebook


@pytest.fixture
def leaky(run_notebook: nbformat.NotebookNode, tmp_path: Path) -> Path:
    """That notebook as a file."""
    path = tmp_path / "leaky.ipynb"
    nbformat.write(run_notebook, path)
    return path


def _scan(path: Path, *tokens: Token) -> Scan:
    [scan] = scans([str(path)], tokens)
    assert scan.trouble == ""
    return scan


def _notebook(path: Path, **parts: Any) -> Path:
    cell = {"cell_type": "code", "execution_count": None, "id": "a", "metadata": {}, "outputs": [], "source": ""}
    cells = parts.pop("cells", [cell | parts.pop("cell", {})])
    notebook = {"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5} | parts
    path.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return path


def test_every_leak_of_a_run_notebook_is_found_and_told_by_its_mask(leaky: Path) -> None:
    scan = _scan(leaky)
    assert {leak.where for leak in scan.leaks} == PLACES
    assert {leak.masked for leak in scan.leaks} == {MASK}
    assert not Hunt().finds(repr(scan) + "".join(map(str, scan.leaks)))


def test_a_token_that_is_there_often_is_told_once_with_its_count(leaky: Path) -> None:
    told = {leak.where: str(leak) for leak in _scan(leaky).leaks}
    assert told["cell 6 (In [5]), output (application/json)"].endswith(f"{MASK}, 3 times")
    assert told["cell 2 (In [1]), source line 3"].endswith(f"source line 3: {MASK}")


def test_a_cleaned_notebook_is_valid_and_holds_the_token_in_its_source_alone(leaky: Path) -> None:
    _scan(leaky).write()
    cleaned = nbformat.read(leaky, as_version=4)
    nbformat.validate(cleaned)
    scan = _scan(leaky)
    assert [str(leak) for leak in scan.leaks] == [f"cell 2 (In [1]), source line 3: {MASK}"]
    assert scan.leaks[0].cure == "rotate the token, then edit the cell"
    assert scan.clean is None
    assert CANARY in cleaned.cells[1].source
    cleaned.cells[1].source = ""
    assert not Hunt().finds(nbformat.writes(cleaned))


def test_all_else_in_a_cleaned_notebook_is_byte_for_byte_what_it_was(leaky: Path) -> None:
    before = leaky.read_bytes()
    _scan(leaky).write()
    expected = before.replace(CANARY.encode(), MASK.encode())
    expected = expected.replace(f"token = '{MASK}'".encode(), f"token = '{CANARY}'".encode())
    svg, image = f"<svg><text>é {CANARY}</text></svg>".encode(), b"\x89PNG\xff" + CANARY.encode()
    for plain, masked in (
        (svg, svg.replace(CANARY.encode(), MASK.encode())),
        (image, image.replace(CANARY.encode(), b"*" * len(CANARY))),
    ):
        assert base64.b64encode(plain) in before
        expected = expected.replace(base64.b64encode(plain), base64.b64encode(masked))
    assert leaky.read_bytes() == expected


def test_a_cleaned_notebook_runs_in_a_kernel_again(leaky: Path) -> None:
    _scan(leaky).write()
    notebook = nbformat.read(leaky, as_version=4)
    NotebookClient(notebook, kernel_name="python3", timeout=120, allow_errors=True).execute()
    assert notebook.cells[2].outputs[0].text == f"Zoë has {CANARY}\n"


@pytest.mark.parametrize(
    ("parts", "where", "removed"),
    [
        ({"cell": {"source": ["a\n", f"b {CANARY}\n"]}}, "cell 1, source line 2", False),
        ({"cell": {"source": f"a\n\nb {CANARY}\n"}}, "cell 1, source line 3", False),
        ({"cell": {"execution_count": 7, "source": CANARY}}, "cell 1 (In [7]), source line 1", False),
        ({"cell": {"metadata": {"tags": [CANARY]}}}, "cell 1, metadata", True),
        ({"cell": {"metadata": {CANARY: 1}}}, "cell 1, metadata", True),
        ({"cell": {"id": CANARY}}, "cell 1, outside of source, outputs and metadata", False),
        ({"cell": {"attachments": {"a.svg": {"image/svg+xml": CANARY}}}}, "cell 1, attachment", True),
        ({"cell": {"outputs": [{"data": {f"x/{CANARY}": "y"}}]}}, "cell 1, output", True),
        ({"cell": {"outputs": [{"data": {f"x/{CANARY}": CANARY}}]}}, f"cell 1, output (x/{MASK})", True),
        ({"metadata": {"papermill": {"parameters": {"key": CANARY}}}}, "notebook metadata", True),
        ({"metadata": {"widgets": {CANARY: []}}}, "widget state", True),
        ({"metadata": {"widgets": {"x": {"state": {"1": {"value": [CANARY]}}}}}}, "widget state (value)", True),
        ({"signature": CANARY}, "outside of cells and metadata", False),
    ],
)  # fmt: skip
def test_a_token_is_found_wherever_it_is_and_masked_where_nobody_has_typed_it(
    tmp_path: Path, parts: dict[str, Any], where: str, removed: bool
) -> None:
    path = _notebook(tmp_path / "n.ipynb", **parts)
    before = path.read_text(encoding="utf-8")
    scan = _scan(path)
    assert (where, removed) in [(leak.where, leak.removable) for leak in scan.leaks]
    scan.write()
    assert path.read_text(encoding="utf-8") == (before.replace(CANARY, ASCII_MASK) if removed else before)


def test_known_tokens_of_any_shape_are_found_and_masked(tmp_path: Path) -> None:
    html = "<b>hush&amp;Co/5e1f+0a&#x27;7b2c==</b>"
    path = _notebook(tmp_path / "n.ipynb", cell={"outputs": [{"data": {"text/html": html}}], "source": ODD})
    assert _scan(path).leaks == ()
    scan = _scan(path, Token(ODD))
    assert [str(leak) for leak in scan.leaks] == [
        f"cell 1, output (text/html): {ODD_MASK}",
        f"cell 1, source line 1: {ODD_MASK}",
    ]
    scan.write()
    cell = json.loads(path.read_text(encoding="utf-8"))["cells"][0]
    assert cell["outputs"][0]["data"]["text/html"] == f"<b>{ODD_MASK}</b>"
    assert cell["source"] == ODD


def test_a_known_token_does_not_show_in_the_name_of_a_place_that_is_cut(tmp_path: Path) -> None:
    secret = "5e1f0a7b2c" * 4
    path = _notebook(tmp_path / "n.ipynb", cell={"outputs": [{"data": {f"application/{secret}": secret}}]})
    scan = _scan(path, Token(secret))
    assert [leak.where for leak in scan.leaks] == ["cell 1, output", "cell 1, output (application/…7b2c)"]
    assert not Hunt().finds(repr(scan))


TOKENS = st.sampled_from([CANARY, ODD, "x", "é\\n", '"', "😀", "\u2028"])
TEXTS = st.lists(TOKENS, max_size=4).map(" ".join)
TREES = st.recursive(
    TEXTS | st.integers() | st.floats(allow_nan=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
)


def _masked(value: Any) -> Any:
    if isinstance(value, str):
        return value.replace(CANARY, MASK).replace(ODD, ODD_MASK)
    if isinstance(value, list):
        return [_masked(item) for item in value]
    if isinstance(value, dict):
        return {_masked(key): _masked(item) for key, item in value.items()}
    return value


@given(tree=TREES, ascii_alone=st.booleans(), indent=st.sampled_from([None, 1, "\t"]))
def test_a_notebook_is_masked_as_if_each_of_its_strings_were_and_written_as_it_was(
    tmp_path_factory: pytest.TempPathFactory, tree: Any, ascii_alone: bool, indent: int | str | None
) -> None:
    path = tmp_path_factory.mktemp("any") / "n.ipynb"
    layout: dict[str, Any] = {"ensure_ascii": ascii_alone, "indent": indent}
    notebook = {"metadata": {"x": tree}, "cells": [{"source": tree, "outputs": [tree]}]}
    path.write_bytes(json.dumps(notebook, **layout).encode())
    scan = _scan(path, Token(ODD))
    scan.write()
    expected = {"metadata": {"x": _masked(tree)}, "cells": [{"source": tree, "outputs": [_masked(tree)]}]}
    # A file in ASCII stays one; in another, the dots of a mask are what they are.
    layout["ensure_ascii"] = json.dumps(notebook, **layout).isascii()
    assert path.read_bytes() == json.dumps(expected, **layout).encode()


def test_nothing_is_written_where_nothing_is_to_be_removed(tmp_path: Path) -> None:
    path = _notebook(tmp_path / "n.ipynb", cell={"source": CANARY})
    os.utime(path, ns=(1, 1))
    path.chmod(0o444)
    scan = _scan(path)
    assert scan.leaks
    scan.write()
    assert path.stat().st_mtime_ns == 1
    assert [each.name for each in tmp_path.iterdir()] == ["n.ipynb"]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such modes")
def test_a_rewritten_file_keeps_its_mode_and_a_link_to_it_stays_a_link(tmp_path: Path) -> None:
    path = _notebook(tmp_path / "n.ipynb", metadata={"x": CANARY})
    path.chmod(0o640)
    link = tmp_path / "link.ipynb"
    link.symlink_to(path)
    _scan(link).write()
    assert link.is_symlink()
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert not Hunt().finds(path.read_bytes())
    assert sorted(each.name for each in tmp_path.iterdir()) == ["link.ipynb", "n.ipynb"]


def test_a_file_that_cannot_be_replaced_stays_whole_and_the_reason_is_told(tmp_path: Path) -> None:
    path = _notebook(tmp_path / "n.ipynb", metadata={"x": CANARY})
    before = path.read_bytes()
    scan = _scan(path)
    (tmp_path / ".n.ipynb.part").mkdir()
    with pytest.raises(InputError, match=r"cannot be rewritten: .*\nNext: "):
        scan.write()
    assert path.read_bytes() == before


def test_nothing_is_left_beside_a_file_that_cannot_be_replaced(tmp_path: Path) -> None:
    path = _notebook(tmp_path / "n.ipynb", metadata={"x": CANARY})
    scan = _scan(path)
    path.unlink()
    path.mkdir()
    with pytest.raises(InputError, match="cannot be rewritten: "):
        scan.write()
    assert [each.name for each in tmp_path.iterdir()] == ["n.ipynb"]


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_line_ends_and_the_end_of_the_file_stay(tmp_path: Path, newline: str) -> None:
    path = _notebook(tmp_path / "n.ipynb", metadata={"x": CANARY})
    text = path.read_text(encoding="utf-8").rstrip("\n").replace("\n", newline) + newline * 2
    path.write_bytes(text.encode())
    _scan(path).write()
    assert path.read_bytes() == text.replace(CANARY, ASCII_MASK).encode()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"[]",
        b"3",
        b'"cells"',
        b'{"worksheets": []}',
        b'{"cells": {}}',
        b'\xef\xbb\xbf{"cells": []}',
        b'{"cells": ["\xff"]}',
        b"[" * 100_000,
        '{"cells": []}'.encode("utf-16"),
        f"<<<<<<< HEAD {CANARY}".encode(),
    ],
)
def test_what_calls_itself_a_notebook_and_is_none_is_not_taken_for_checked(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "broken.IPYNB"
    path.write_bytes(data)
    [scan] = scans([str(path)], [])
    assert scan.trouble == "it is no notebook of format 4 (JSON in UTF-8), so it was not checked"
    assert scan.name == str(path)
    assert scan.clean is None


def test_a_file_that_is_not_there_is_told_by_its_number_for_what_was_typed_may_be_a_secret(tmp_path: Path) -> None:
    found = list(scans(["hush-hush", str(tmp_path), "hush\0hush", "hush" * 100], []))
    assert [scan.name for scan in found] == ["file 1 of 4", str(tmp_path), "file 3 of 4", "file 4 of 4"]
    assert all(scan.trouble.startswith("it cannot be read: ") for scan in found)
    assert "hush" not in "".join(scan.name + scan.trouble for scan in found)


def test_a_token_in_the_name_of_a_file_is_masked(tmp_path: Path) -> None:
    path = _notebook(tmp_path / f"{CANARY}.ipynb")
    assert _scan(path).name == str(tmp_path / f"{MASK}.ipynb")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "latin-1", "utf-16"])
def test_other_files_are_searched_as_text_and_never_rewritten(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "notes.md"
    path.write_bytes(f"é\nkey: {CANARY}\n\n{CANARY} {CANARY}\n".encode(encoding))
    scan = _scan(path)
    assert [str(leak) for leak in scan.leaks] == [f"line 2: {MASK}", f"line 4: {MASK}, 2 times"]
    assert {leak.cure for leak in scan.leaks} == {"rotate the token, then edit the file"}
    assert scan.clean is None


def test_binary_files_are_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "picture.png"
    path.write_bytes(b"\x89PNG\0" + CANARY.encode())
    assert _scan(path).leaks == ()


def test_every_variable_that_may_hold_a_token_is_looked_into(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("third-of-them\n")
    environ = {
        "VECTORNODE_API_KEY": "first-of-them",
        "VECTOR_ENGINE_API_KEY": " second-of-them ",
        "VECTORNODE_API_KEY_FILE": str(file),
    }
    assert known_tokens(environ) == [Token("first-of-them"), Token("second-of-them"), Token("third-of-them")]
    assert known_tokens({}) == []


@pytest.mark.parametrize("environ", [{"VECTOR_ENGINE_API_KEY": "two words"}, {"VECTORNODE_API_KEY_FILE": "/not/there"}])
def test_what_cannot_be_looked_for_is_not_called_absent(environ: dict[str, str]) -> None:
    with pytest.raises(TokenError, match="Next: "):
        known_tokens(environ)
