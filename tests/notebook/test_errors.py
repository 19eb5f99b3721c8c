"""Each error of the gateway stops Run All, names the cure in three lines, and fails every way to run a notebook."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from support.gateways import served
from support.kernels import kernel

from vn_magic.offline import create_app

CELL = "%%embed df\nhello\n"


def _run(environ: dict[str, str], cell: str = CELL) -> list[str]:
    with kernel(environ={**os.environ, **environ}) as client:
        client.run("%load_ext vn_magic")
        reply = client.run(cell)
        assert reply.status == "error"
        assert reply.stderr == ""
        assert client.run("'df' in globals()").result == {"text/plain": "False"}
        return reply.error


@pytest.mark.parametrize(
    ("play", "error", "cure"),
    [
        ("no-balance", "BalanceError", "top up"),
        ("daily-limit", "DailyLimitError", "tomorrow"),
        ("model-not-allowed", "AccessDeniedError", "another model"),
        ("no-channel", "ModelUnavailableError", "--model"),
    ],
)
def test_an_error_of_the_gateway_names_its_cure(token: str, play: str, error: str, cure: str) -> None:
    with served(create_app(token=token, play=play)) as server:
        lines = _run({"VN_MAGIC_BASE_URL": server.url, "VECTORNODE_API_KEY": token})
        assert len(server.received) == 1
    assert lines[0].startswith(f"{error}: ")
    assert len(lines) <= 3
    assert cure in lines[-1]


def test_a_wrong_token_is_refused_once_and_not_shown(token: str) -> None:
    with served(create_app(token="sk-another-one-1234")) as server:
        lines = _run({"VN_MAGIC_BASE_URL": server.url, "VECTORNODE_API_KEY": token})
        assert len(server.received) == 1
    assert lines[0].startswith("TokenRefusedError: ")
    assert "%vn login" in lines[-1]
    assert token not in "\n".join(lines)


def test_a_missing_token_names_both_cures() -> None:
    lines = _run({"VN_MAGIC_BASE_URL": "http://127.0.0.1:9"})
    assert lines == [
        "TokenError: There is no token for 127.0.0.1:9.",
        "Next: `%vn login`, or `%vn offline` to try without one (lexical vectors, labelled so).",
    ]


def test_an_unknown_model_is_told_by_name_of_the_option(token: str) -> None:
    with served(create_app(token=token)) as server:
        lines = _run({"VN_MAGIC_BASE_URL": server.url, "VECTORNODE_API_KEY": token}, "%%embed df -m nobody\nhello\n")
    assert lines[0].startswith("ModelUnavailableError: ")


@pytest.fixture
def failing_notebook(tmp_path: Path) -> Path:
    notebook = nbformat.v4.new_notebook(
        cells=[
            nbformat.v4.new_code_cell("%load_ext vn_magic"),
            nbformat.v4.new_code_cell(CELL),
            nbformat.v4.new_code_cell("open('reached', 'w').close()"),
        ],
        metadata={"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}},
    )
    path = tmp_path / "failing.ipynb"
    nbformat.write(notebook, path)
    return path


@pytest.mark.parametrize(
    "command",
    [
        ["-m", "jupyter", "execute", "failing.ipynb"],
        ["-m", "nbconvert", "--to", "notebook", "--execute", "failing.ipynb", "--output", "out.ipynb"],
        ["-m", "papermill", "failing.ipynb", "out.ipynb"],
        ["-m", "pytest", "-p", "no:cacheprovider", "--nbmake", "failing.ipynb"],
    ],
    ids=["jupyter-execute", "nbconvert", "papermill", "nbmake"],
)
def test_every_way_to_run_a_notebook_fails_with_it(failing_notebook: Path, command: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, *command],
        cwd=failing_notebook.parent,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode != 0
    assert "There is no token" in done.stdout + done.stderr
    assert not (failing_notebook.parent / "reached").exists()
