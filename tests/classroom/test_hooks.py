"""The scrubber in front of a commit: by a hook of git's own, and as pre-commit is told of it."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from support.hunt import CANARY, MASK

import vn_magic

HOOK = """\
#!/bin/sh
git diff --cached --name-only --diff-filter=d -z | xargs -0 -r vn-magic scrub --
"""

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the hook is a script of a shell")


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with the hook, and this environment's `vn-magic` on the path."""
    for name, value in {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}.items():
        monkeypatch.setenv(name, value)
    for role in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{role}_NAME", "Zoë")
        monkeypatch.setenv(f"GIT_{role}_EMAIL", "zoe@example.org")
    commands = tmp_path / "commands"
    commands.mkdir()
    (commands / "vn-magic").write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m vn_magic "$@"\n')
    (commands / "vn-magic").chmod(0o755)
    monkeypatch.setenv("PATH", f"{commands}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(Path(vn_magic.__file__).parents[1]))
    folder = tmp_path / "repository"
    assert _git(tmp_path, "init", "-q", str(folder)).returncode == 0
    hook = folder / ".git" / "hooks" / "pre-commit"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(HOOK)
    hook.chmod(0o755)
    return folder


def _git(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    git = shutil.which("git")
    assert git is not None
    return subprocess.run([git, *arguments], cwd=folder, capture_output=True, text=True, timeout=60, check=False)


def _commit(folder: Path) -> subprocess.CompletedProcess[str]:
    assert _git(folder, "add", "-A").returncode == 0
    return _git(folder, "commit", "-q", "-m", "as it is")


def _notebook(source: str) -> str:
    cell = {"cell_type": "code", "execution_count": None, "metadata": {}, "outputs": [], "source": source}
    return json.dumps({"cells": [cell], "metadata": {}, "nbformat": 4, "nbformat_minor": 4})


def test_a_commit_with_a_token_does_not_come_about_and_one_without_does(repository: Path) -> None:
    lesson, picture = repository / "first lesson.ipynb", repository / "-picture.png"
    lesson.write_text(_notebook(f"key = '{CANARY}'"))
    picture.write_bytes(b"\x89PNG\0\xff")
    refused = _commit(repository)
    assert refused.returncode != 0
    said = refused.stdout + refused.stderr
    assert f"first lesson.ipynb: cell 1, source line 1: {MASK}; rotate the token, then edit the cell" in said
    assert _git(repository, "rev-parse", "-q", "--verify", "HEAD").returncode != 0
    lesson.write_text(_notebook("key = input()"))
    assert _commit(repository).returncode == 0
    lesson.unlink()
    assert _commit(repository).returncode == 0
    assert len(_git(repository, "rev-list", "HEAD").stdout.split()) == 2


def test_pre_commit_is_told_of_a_command_that_there_is(tmp_path: Path) -> None:
    [hook] = yaml.safe_load((Path(vn_magic.__file__).parents[1] / ".pre-commit-hooks.yaml").read_text())
    assert (hook["id"], hook["language"], hook["types"]) == ("vn-magic-scrub", "python", ["jupyter"])
    program, *arguments = shlex.split(hook["entry"])
    assert program == "vn-magic"
    lesson = tmp_path / "lesson.ipynb"
    lesson.write_text(_notebook(CANARY))
    command = [sys.executable, "-m", "vn_magic", *arguments, str(lesson)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout.count(MASK)) == (1, 1)
