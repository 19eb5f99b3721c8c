"""A course of nbgrader: assignments are released and graded by its command line, and its gradebook is read."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode
from support.environments import Environment
from support.unplugged import Machine

from graders.lesson import Question

_CONFIGURATION = """
c = get_config()
c.CourseDirectory.course_id = "course"
# A machine that stands still for a moment has found no fault.
c.Execute.timeout = c.Execute.startup_timeout = c.Execute.iopub_timeout = 120
"""
_ANSWER = "answer-"
_READ_GRADES = """
import collections, json
from nbgrader.api import Gradebook
with Gradebook("sqlite:///gradebook.db") as book:
    grades = collections.defaultdict(dict)
    for assignment in book.assignments:
        for submission in assignment.submissions:
            for notebook in submission.notebooks:
                for grade in notebook.grades:
                    grades[f"{assignment.name}/{submission.student.id}"][grade.name] = grade.auto_score
print(json.dumps(grades))
"""


def plain_cell(source: str) -> NotebookNode:
    """Return a cell that nbgrader leaves alone."""
    return nbformat.v4.new_code_cell(source)


def graded_cell(name: str, source: str, points: int) -> NotebookNode:
    """Return a cell that is worth points unless it fails."""
    return _marked(name, source, grade=True, locked=True, points=points)


def question_cells(question: Question) -> list[NotebookNode]:
    """Return the cell to fill in, with the teacher's answer, and the one that checks it."""
    solution = f"### BEGIN SOLUTION\n{question.right}\n### END SOLUTION"
    return [
        _marked(_ANSWER + question.name, solution, solution=True),
        graded_cell(question.name, question.check, question.points),
    ]


def _marked(name: str, source: str, **marks: Any) -> NotebookNode:
    unmarked = {"grade": False, "solution": False, "locked": False, "task": False}
    mark = {"grade_id": name, "schema_version": 3, **unmarked, **marks}
    return nbformat.v4.new_code_cell(source, metadata={"nbgrader": mark})


@dataclass(frozen=True)
class Course:
    """A folder as nbgrader wants it, and the machine that grades."""

    folder: Path
    nbgrader: Environment
    machine: Machine

    def release(self, assignment: str, cells: Sequence[NotebookNode], *files: Path) -> None:
        """Release an assignment of one notebook and these files."""
        source = self.folder / "source" / assignment
        source.mkdir(parents=True)
        (self.folder / "nbgrader_config.py").write_text(_CONFIGURATION)
        kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
        notebook = nbformat.v4.new_notebook(cells=list(cells), metadata={"kernelspec": kernel})
        nbformat.write(notebook, source / f"{assignment}.ipynb")
        for file in files:
            shutil.copy(file, source)
        self._run("nbgrader", "generate_assignment", assignment)

    def hand_in(self, assignment: str, student: str, answers: Mapping[str, str]) -> None:
        """Hand in what was released, with these answers filled in."""
        released = self.folder / "release" / assignment
        handed_in = self.folder / "submitted" / student / assignment
        shutil.copytree(released, handed_in)
        notebook = nbformat.read(released / f"{assignment}.ipynb", as_version=4)
        to_fill_in = {cell.metadata.get("nbgrader", {}).get("grade_id"): cell for cell in notebook.cells}
        for name, answer in answers.items():
            cell = to_fill_in[_ANSWER + name]
            assert "YOUR CODE HERE" in cell.source
            cell.source = answer
        nbformat.write(notebook, handed_in / f"{assignment}.ipynb")

    def grade(self, assignment: str) -> None:
        """Grade what everybody has handed in."""
        self._run("nbgrader", "autograde", assignment)

    def grades(self, assignment: str, student: str) -> dict[str, float]:
        """Return the points that the gradebook has for every question."""
        return self._gradebook[f"{assignment}/{student}"]

    @cached_property
    def _gradebook(self) -> dict[str, dict[str, float]]:  # read once all is graded
        grades: dict[str, dict[str, float]] = json.loads(self._run("python", "-c", _READ_GRADES).stdout)
        return grades

    def executed(self, assignment: str, student: str) -> NotebookNode:
        """Return the notebook as it was run for grading."""
        return nbformat.read(self.folder / "autograded" / student / assignment / f"{assignment}.ipynb", as_version=4)

    def _run(self, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        done = self.machine.run(self.nbgrader.python.with_name(program), *arguments, cwd=self.folder)
        assert done.returncode == 0, done.stderr
        return done
