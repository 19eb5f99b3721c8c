"""An autograder of otter: made and run by its command line."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import nbformat
from nbformat import NotebookNode
from support.environments import Environment
from support.unplugged import Machine

from graders.lesson import QUESTIONS, Question

_TEST = """
from otter.test_files import test_case

OK_FORMAT = False
name = {name!r}
points = {points}


@test_case()
def check(env):
    exec({check!r}, dict(env))
"""
# What `otter run` leaves of the executed notebook is in a pickle of its own types.
_UNPICKLE = """
import dill, nbformat, pathlib
nbformat.write(dill.loads(pathlib.Path("results.pkl").read_bytes()).notebook, "executed.ipynb")
"""


@dataclass(frozen=True)
class Graded:
    """What otter makes of a notebook: points for every question, and the notebook as it was run."""

    grades: Mapping[str, float]
    executed: NotebookNode


@dataclass(frozen=True)
class Autograder:
    """A folder with an autograder, and the machine that grades."""

    folder: Path
    otter: Environment
    machine: Machine

    def make(self, *files: Path) -> None:
        """Make the autograder from the questions' checks and these files."""
        tests = self.folder / "tests"
        tests.mkdir(parents=True)
        for question in QUESTIONS:
            (tests / f"{question.name}.py").write_text(_test(question))
        copies = [Path(shutil.copy(file, self.folder)).name for file in files]  # otter takes no others
        self._run("otter", "generate", "--tests-dir", "tests", *copies, cwd=self.folder)

    def grade(self, student: str, cells: Sequence[str], answers: Mapping[str, str], **environ: str) -> Graded:
        """Grade a notebook of these cells and answers, each checked after it as in what `otter assign` hands out."""
        handed_in = self.folder / student
        handed_in.mkdir()
        checked = [cell for name, answer in answers.items() for cell in (answer, f"grader.check({name!r})")]
        sources = ["import otter\ngrader = otter.Notebook()", *cells, *checked]
        notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in sources])
        nbformat.write(notebook, handed_in / "lesson.ipynb")
        arguments = ("--autograder", "../autograder.zip", "--pickle-results")
        self._run("otter", "run", "lesson.ipynb", *arguments, cwd=handed_in, **environ)
        self._run("python", "-c", _UNPICKLE, cwd=handed_in)
        results = json.loads((handed_in / "results.json").read_text())
        grades = {test["name"]: test["score"] for test in results["tests"] if "score" in test}
        return Graded(grades, nbformat.read(handed_in / "executed.ipynb", as_version=4))

    def _run(self, program: str, *arguments: str, cwd: Path, **environ: str) -> subprocess.CompletedProcess[str]:
        done = self.machine.run(self.otter.python.with_name(program), *arguments, cwd=cwd, **environ)
        assert done.returncode == 0, done.stderr
        return done


def _test(question: Question) -> str:
    return _TEST.format(name=question.name, points=question.points, check=question.check)
