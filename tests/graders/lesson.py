"""A lesson of a few cells with questions, apart from how a grader wants them marked."""

from __future__ import annotations

from dataclasses import dataclass

PACK = "lesson.vnpack"
LOAD = "%load_ext vn_magic\nimport vn_magic"
REQUIRE_PACK = f"{LOAD}\nvn_magic.require(pack={PACK!r})"
USE_PACK = f"{LOAD}\n%vn pack use {PACK} --strict\nvn_magic.require(pack={PACK!r})"

ANIMALS = """\
%%embed animals -d 128
a cat sat on the mat
a dog ran after the ball
two birds sang in the tree"""
STORIES = """\
%%embed stories -d 256 -t RETRIEVAL_DOCUMENT
The fox said that the grapes were sour.
The tortoise overtook the sleeping hare."""
DIGESTS = """\
from hashlib import sha256
raw = vn_magic.embed(animals["text"], dimension=128, unit_length=False, result="numpy")
for matrix in (animals.vec.matrix, stories.vec.matrix, raw):
    print(sha256(matrix.tobytes()).hexdigest())"""
CELLS = (ANIMALS, STORIES, DIGESTS)


@dataclass(frozen=True)
class Question:
    """A cell to fill in and a cell that checks it.

    Parameters
    ----------
    name
        Also of the grade.
    right
        The answer.
    check
        Passes on it.
    points
        What that is worth.
    """

    name: str
    right: str
    check: str
    points: int


SEARCH = Question(
    "search",
    right='found = stories.vec.nearest("sour grapes", k=1)',
    check='assert found["text"].tolist() == ["The fox said that the grapes were sour."]',
    points=2,
)
OWN = Question(
    "own",
    right='%embed -d 128 -o mine ["a cow on the moon", "a cat sat on the mat"]',
    check="""\
expected = vn_magic.embed(["a cow on the moon", "a cat sat on the mat"], dimension=128)
assert (mine.vec.matrix == expected.vec.matrix).all()""",
    points=3,
)
QUESTIONS = (SEARCH, OWN)

RIGHT = {question.name: question.right for question in QUESTIONS}
WRONG = RIGHT | {"search": "found = stories.tail(1)"}
UNSEEN = RIGHT | {"search": 'found = stories.vec.nearest("a hare that sleeps", k=1)'}
"""Answers to all questions: to each its own source."""

SHOWING = (
    "%%embed\na cat sat on the mat",
    "%%embed -d 128\na cat sat on the mat",
    "%%embed -d 128 shown\na cat sat on the mat",
    '%embed -d 128 "a cat sat on the mat"',
    '%embed -d 128 --as numpy "a cat sat on the mat"',
    '%embed -d 128 --dry-run "a cat sat on the mat"',
    "animals",
    "animals.vec",
    "animals.vec.matrix",
    "animals.vec.similarity()",
    "animals.vec.provenance",
    "animals.vec.project()",
    "animals.vec.scatter()",
    "animals.vec.heatmap()",
    'animals.vec.nearest("a cow on the moon")',
    '%vn nearest animals "a cow on the moon" -k 1',
    "%vn scatter animals",
    "%vn heatmap animals",
    "%vn compare animals --dim 128",
    "%vn status",
    "%vn usage",
    "%vn explain",
    "%vn pack info",
    "%vn cache",
    "%vn doctor",
    "%vn panel",
    "vn_magic.current_session()",
)
"""Cells that show something."""
