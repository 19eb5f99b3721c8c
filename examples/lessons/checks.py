"""Checks of the exercises in the three lessons.

Each works out the right answer from the vectors that are there, so it is right with any pack. An exercise that nobody
has answered says so and lets the notebook go on; a wrong answer stops it with a sentence that helps.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import wraps
from numbers import Real
from types import EllipsisType
from typing import Any

import numpy as np
import pandas as pd

RIGHT, SKIPPED, UNANSWERED, WRONG = "right", "skipped", "not answered yet", "not right yet"

# Which row says the same as which in lesson 1, in the eyes of the people who wrote them.
SAME_STORY = {0: 3, 4: 6, 7: 8, 9: 11, 12: 14, 19: 21}
# The questions of lesson 2, and the notes of lesson 3, that share no word with what they belong to.
OTHER_WORDS = (9, 10, 11)
LONELY = (11, 23, 35, 47)
CLOSE_PAIRS = 100

Points = np.ndarray[Any, np.dtype[Any]]
_names: list[str] = []
_standings: dict[str, str] = {}


class WrongAnswerError(AssertionError):
    """An answer that is not right yet. A notebook shows the sentence alone, not the lines of this file."""

    def _render_traceback_(self) -> list[str]:
        return [str(self)]


class _UnansweredError(Exception):
    """Three dots, where an answer was looked for."""


def passed(name: str) -> bool:
    """Tell whether an exercise needs no more work, for graders: ``assert checks.passed("1A")``.

    Nobody loses a point to a missing pack: what was skipped has passed.
    """
    return _standings.get(name) in (RIGHT, SKIPPED)


def overview(lesson: int) -> None:
    """Print how the exercises of a lesson stand."""
    for name in sorted(_names):
        if name.startswith(str(lesson)):
            print(f"{name}: {_standings.get(name, UNANSWERED)}")


def _exercise(*, meaning: bool = False) -> Callable[[Callable[..., str]], Callable[..., None]]:
    """Make a check of a function that raises `WrongAnswerError`, or returns what there is to say of a right answer.

    ``meaning`` says that words alone cannot answer it: it is skipped where the first frame's vectors are lexical.
    """

    def made(check: Callable[..., str]) -> Callable[..., None]:
        name = check.__name__.removeprefix("check_").upper()
        _names.append(name)

        @wraps(check)
        def checked(answer: object, frame: pd.DataFrame, *more: object) -> None:
            if meaning and is_lexical(frame):
                _standings[name] = SKIPPED
                print(f"{name}: skipped. This one is about meaning, and the stand-in's vectors know only words.")
                print("Your teacher's pack, recorded from a real model, has what it needs.")
                return
            _standings[name] = UNANSWERED
            try:
                told = check(_given(answer), frame, *more)
            except _UnansweredError:
                print(f"{name}: not answered yet. Replace the three dots above, and run both cells again.")
            except WrongAnswerError as error:
                _standings[name] = WRONG
                raise WrongAnswerError(f"{name}: not yet. {error}") from None
            else:
                _standings[name] = RIGHT
                print(f"{name}: right! {told}")

        return checked

    return made


def is_lexical(frame: pd.DataFrame) -> bool:
    """Tell whether vectors come from the stand-in, which sees words and spellings, not meaning."""
    return bool(frame.vec.provenance.source == "offline-lexical")


# Lesson 1


@_exercise()
def check_1a(answer: object, sentences: pd.DataFrame) -> str:
    """Count the numbers in one vector."""
    rows, numbers = sentences.vec.matrix.shape
    given = _whole(answer, "a whole number")
    if given == rows:
        raise WrongAnswerError("That is how many sentences there are. How many numbers has one of them?")
    if given != numbers:
        raise WrongAnswerError("`.shape` has two numbers, first the rows, then the numbers in a row.")
    return "Every sentence got the same amount of numbers, the short ones and the long ones."


@_exercise()
def check_1b(cosine: object, sentences: pd.DataFrame) -> str:
    """Write the cosine similarity."""
    first, second = sentences.vec.matrix[:2].astype(float)
    cases = [
        ("[3, 4] and [6, 8] point the same way, so they", [3, 4], [6, 8]),
        ("[2, 0] and [0, 5] stand at a right angle, so they", [2, 0], [0, 5]),
        ("[1, 2] and [-2, -4] point in opposite directions, so they", [1, 2], [-2, -4]),
        ("[1, 0] and [1, 1] have half a right angle between them, so they", [1, 0], [1, 1]),
        ("Two vectors of the table, one of them made three times as long,", 3 * first, second),
    ]
    for told, left, right in cases:
        a, b = np.array(left, dtype=float), np.array(right, dtype=float)
        expected = float(a @ b) / float(np.linalg.norm(a) * np.linalg.norm(b))
        given = _number(_called(cosine, a, b), "what your function returns is one number")
        if abs(given - expected) > 1e-4:
            raise WrongAnswerError(
                f"{told} should get {expected:.2f}, and your function says {given:.2f}. Did you divide by both lengths?"
            )
    return "A long arrow and a short one count as alike when they point the same way."


@_exercise()
def check_1c(answer: object, sentences: pd.DataFrame) -> str:
    """Find the row nearest to row 0."""
    given = _row(answer, sentences)
    scores = sentences.vec.similarity().to_numpy()[0]
    if given == 0:
        raise WrongAnswerError("That is the sentence itself, nothing is more like it. Who comes next?")
    others = np.delete(scores, 0)
    if _less(scores[given], others.max()):
        raise WrongAnswerError(f"Row {given} has a similarity of {scores[given]:.2f}, and some other row has more.")
    return f"{sentences.text[given]!r} has a similarity of {scores[given]:.2f}."


@_exercise()
def check_1d(answer: object, sentences: pd.DataFrame) -> str:
    """Find the two rows that are most alike."""
    pair = _pair(answer, sentences)
    scores = sentences.vec.similarity().to_numpy()
    if _less(scores[pair], scores[~np.eye(len(scores), dtype=bool)].max()):
        raise WrongAnswerError(f"These two have a similarity of {scores[pair]:.2f}, and some pair has more.")
    one, other = (sentences.text[row] for row in pair)
    return f"{one!r} and {other!r}: {scores[pair]:.2f}. And do they tell the same story?"


@_exercise()
def check_1e(answer: object, sentences: pd.DataFrame) -> str:
    """Measure whether row 13 or row 14 is nearer to row 12."""
    given = _row(answer, sentences)
    if given not in (13, 14):
        raise WrongAnswerError("The answer is one of the two row numbers, 13 or 14.")
    scores = sentences.vec.similarity().to_numpy()[12]
    other = 27 - given
    if _less(scores[given], scores[other]):
        raise WrongAnswerError("Measure it: what are `scores.loc[12, 13]` and `scores.loc[12, 14]`?")
    measured = f"{scores[given]:.2f} against {scores[other]:.2f}."
    if is_lexical(sentences):
        return f"{measured} 'rainy days' stands in both. That love and hate are opposites, the stand-in does not know."
    return f"{measured} Would you have said so, too?"


@_exercise(meaning=True)
def check_1f(answer: object, sentences: pd.DataFrame) -> str:
    """Find which of the second rows is nearest to each of the first."""
    given = _rows(answer, sentences, len(SAME_STORY))
    scores = sentences.vec.similarity().to_numpy()
    candidates = list(SAME_STORY.values())
    for row, chosen in zip(SAME_STORY, given, strict=True):
        if chosen not in candidates:
            raise WrongAnswerError(f"Row {chosen} is not among the rows to choose from: {candidates}.")
        if _less(scores[row, chosen], scores[row, candidates].max()):
            raise WrongAnswerError(f"For row {row} another one of {candidates} is nearer than row {chosen}.")
    agreed = sum(row == chosen for row, chosen in zip(candidates, given, strict=True))
    return f"In {agreed} of {len(given)} cases the nearest is what the authors of the sentences had in mind."


# Lesson 2


@_exercise()
def check_2a(answer: object, handbook: pd.DataFrame, questions: pd.DataFrame) -> str:
    """Find the row nearest to the first question."""
    given = _row(answer, handbook)
    scores = _scores(questions, handbook)[0]
    if _less(scores[given], scores.max()):
        raise WrongAnswerError("The best row stands at the top of the table; its number is at the very left.")
    return f"The handbook says: {handbook.text[given]!r}"


@_exercise()
def check_2b(hits: object, handbook: pd.DataFrame, questions: pd.DataFrame) -> str:
    """Write how many questions have their row among the k nearest."""
    ranks = _ranks(handbook, questions)
    for k in (1, 3, len(handbook)):
        given = _whole(_called(hits, k), "what `hits(k)` returns is a whole number")
        expected = int((ranks <= k).sum())
        if given != expected:
            size = "many" if given > expected else "few"
            raise WrongAnswerError(f"For k={k} your function counts too {size} questions.")
    found = [f"{int((ranks <= k).sum())} among the first {k}" for k in (1, 3, 10)]
    return f"Of {len(questions)} questions the right row is " + ", ".join(found) + "."


@_exercise()
def check_2c(answer: object, handbook: pd.DataFrame, questions: pd.DataFrame) -> str:
    """Find a question whose best row is not the right one."""
    wrong = np.flatnonzero(_ranks(handbook, questions) > 1)
    if _is_none(answer, exists=len(wrong) > 0, what="a question whose best row is not the right one"):
        return "With these vectors every question finds its row first."
    given = _row(answer, questions)
    if given not in wrong:
        raise WrongAnswerError(f"Question {given} finds the right row first. Look for another one.")
    best = int(_scores(questions, handbook)[given].argmax())
    told = f"It finds {handbook.text[best]!r}"
    shared = _shared_words(questions.question[given], handbook.text[best])
    return f"{told} The two share: {', '.join(shared)}." if shared else told


@_exercise()
def check_2d(answer: object, handbook: pd.DataFrame, questions: pd.DataFrame, strangers: pd.DataFrame) -> str:
    """Count the questions that the limit turns away."""
    limit = _scores(strangers, handbook).max()
    expected = int((_scores(questions, handbook).max(axis=1) <= limit).sum())
    given = _whole(answer, "a whole number")
    if given != expected:
        raise WrongAnswerError("Count the questions whose best similarity is not above the limit.")
    if expected == 0:
        return "No question of the handbook is turned away, and no stranger gets in."
    return "So there is no limit that keeps the strangers out and lets all the others in."


@_exercise()
def check_2e(answer: object, questions: pd.DataFrame, twin: Points) -> str:
    """Tell whether a text has the same vector as a query and as a document."""
    if not isinstance(answer, bool | np.bool_):
        raise WrongAnswerError("The answer is True or False.")
    same = bool(np.allclose(questions.vec.matrix[0], np.ravel(twin), atol=1e-6))
    if bool(answer) != same:
        raise WrongAnswerError("Compare the numbers of the two vectors, e.g. by `np.allclose(one, other)`.")
    if is_lexical(questions):
        return "The stand-in does not look at the task type: words are words. The real model does look at it."
    if same:
        return "This model makes no difference between the two."
    return "The model makes queries and documents a little different, so that a question finds its answer."


@_exercise(meaning=True)
def check_2f(answer: object, handbook: pd.DataFrame, questions: pd.DataFrame) -> str:
    """Find the rows nearest to the questions in other words."""
    given = _rows(answer, handbook, len(OTHER_WORDS))
    scores = _scores(questions, handbook)
    for question, row in zip(OTHER_WORDS, given, strict=True):
        if _less(scores[question, row], scores[question].max()):
            raise WrongAnswerError(f"For question {question} there is a row nearer than {row}.")
    agreed = sum(int(questions.row[question]) == row for question, row in zip(OTHER_WORDS, given, strict=True))
    return f"{agreed} of {len(OTHER_WORDS)} find the row that a person would have chosen, without a word in common."


# Lesson 3


@_exercise()
def check_3a(answer: object, notes: pd.DataFrame) -> str:
    """Find the two notes of different clubs that are most alike."""
    pair = _pair(answer, notes)
    one, other = pair
    if notes.club[one] == notes.club[other]:
        raise WrongAnswerError(f"Both are from the {notes.club[one]} club. Look for two of different clubs.")
    scores = notes.vec.similarity().to_numpy()
    clubs = notes.club.to_numpy()
    if _less(scores[pair], scores[clubs[:, None] != clubs].max()):
        raise WrongAnswerError(f"These two have a similarity of {scores[pair]:.2f}, and some such pair has more.")
    shared = _shared_words(notes.text[one], notes.text[other])
    told = f"{notes.text[one]!r} and {notes.text[other]!r}"
    return f"{told} They share: {', '.join(shared)}." if shared else told


@_exercise()
def check_3b(answer: object, notes: pd.DataFrame, clusters: Sequence[int]) -> str:
    """Count the notes in a cluster where most are of another club."""
    table = pd.crosstab(np.asarray(clusters), notes.club.to_numpy())
    expected = len(notes) - int(table.max(axis=1).sum())
    given = _whole(answer, "a whole number")
    if given == len(notes) - expected:
        raise WrongAnswerError("These are the ones at home. How many are not?")
    if given != expected:
        raise WrongAnswerError("In every line of the table, add up all numbers but the largest one.")
    return "Nobody had told the machine which clubs there are, or that there are clubs at all."


@_exercise()
def check_3c(answer: object, notes: pd.DataFrame) -> str:
    """Tell what share of the variance the map keeps."""
    expected = sum(notes.vec.project().attrs["explained_variance"])
    given = _number(answer, "the answer is a number between 0 and 1")
    if given > 1:
        raise WrongAnswerError("As a share, please: a number between 0 and 1; 20 % would be 0.20.")
    if abs(given - expected) > 0.006:
        raise WrongAnswerError("Add what the two axes keep. It stands below the picture, and at both of its axes.")
    return f"The map throws away {1 - expected:.0%} of the differences between the notes."


@_exercise()
def check_3d(answer: object, notes: pd.DataFrame) -> str:
    """Find two notes that are near on the map and less alike than most."""
    rows, columns = np.triu_indices(len(notes), k=1)
    on_map = _distances(notes.vec.project().to_numpy())
    scores = notes.vec.similarity().to_numpy()
    farthest = np.sort(on_map[rows, columns])[CLOSE_PAIRS - 1]
    middle = float(np.median(scores[rows, columns]))
    fooled = (on_map <= farthest) & (scores < middle) & ~np.eye(len(notes), dtype=bool)
    if _is_none(answer, exists=bool(fooled.any()), what="such a pair"):
        return "This map tells the truth about its closest pairs. That is rare."
    pair = _pair(answer, notes)
    if on_map[pair] > farthest:
        raise WrongAnswerError(f"They are not among the {CLOSE_PAIRS} closest pairs on the map.")
    if not fooled[pair]:
        raise WrongAnswerError(f"Their similarity, {scores[pair]:.2f}, is not below the middle of all, {middle:.2f}.")
    one, other = pair
    return (
        f"{notes.text[one]!r} and {notes.text[other]!r} On the map {on_map[pair]:.3f} apart, in space at a similarity "
        f"of {scores[pair]:.2f}: the map has fooled us."
    )


@_exercise()
def check_3e(agreeing: object, notes: pd.DataFrame) -> str:
    """Write how many notes have one of their own club as the nearest."""
    counts = []
    for told, points in (("in space", notes.vec.matrix), ("on the map", notes.vec.project().to_numpy())):
        given = _whole(_called(agreeing, points), "what `agreeing(points)` returns is a whole number")
        nearest = (_distances(points) + np.diag(np.full(len(points), np.inf))).argmin(axis=1)
        expected = int((notes.club.to_numpy() == notes.club.to_numpy()[nearest]).sum())
        if given == len(notes):
            raise WrongAnswerError("Every note is nearest to itself, which does not count: take care of the diagonal.")
        if given != expected:
            size = "many" if given > expected else "few"
            raise WrongAnswerError(f"For the points {told} your function counts too {size}.")
        counts.append(f"{given} of {len(notes)} {told}")
    return f"{counts[0]}, {counts[1]}."


@_exercise(meaning=True)
def check_3f(answer: object, notes: pd.DataFrame) -> str:
    """Name the clubs nearest to the notes that share no word with their own."""
    given = list(answer) if isinstance(answer, list | tuple | pd.Series | np.ndarray) else []
    if len(given) != len(LONELY) or not all(isinstance(name, str) for name in given):
        raise WrongAnswerError(f"The answer is a list of {len(LONELY)} names of clubs, in the order of the rows.")
    scores = notes.vec.similarity().to_numpy().copy()
    np.fill_diagonal(scores, -1)
    for row, name in zip(LONELY, given, strict=True):
        if notes.club[int(scores[row].argmax())] != name:
            raise WrongAnswerError(f"The note that is nearest to row {row} is of another club.")
    agreed = sum(notes.club[row] == name for row, name in zip(LONELY, given, strict=True))
    return f"{agreed} of {len(LONELY)} find their own club, without one of its words."


# What the checks have in common


def _given(answer: object) -> object:
    if answer is None or isinstance(answer, EllipsisType):
        raise _UnansweredError
    return answer


def _called(function: object, *arguments: object) -> object:
    if not callable(function):
        raise WrongAnswerError("The answer is a function: hand it over without brackets.")
    try:
        returned = function(*arguments)
    except Exception as error:  # noqa: BLE001 - whatever a beginner's function may raise
        # Not with a traceback: that would show the lines of the check, and with them the right answer.
        told = f"{type(error).__name__}: {error}"
        raise WrongAnswerError(f"Your function stops with {told}. Call it in a cell of its own to see where.") from None
    return _given(returned)


def _number(answer: object, expected: str) -> float:
    if isinstance(answer, Real) and not isinstance(answer, bool):
        return float(answer)
    raise WrongAnswerError(f"{expected[0].upper()}{expected[1:]}, and this is a {type(answer).__name__}.")


def _whole(answer: object, expected: str) -> int:
    if isinstance(answer, Real) and float(answer).is_integer() and not isinstance(answer, bool):
        return int(answer)
    raise WrongAnswerError(f"{expected[0].upper()}{expected[1:]} is wanted, and this is {answer!r}.")


def _row(answer: object, frame: pd.DataFrame) -> int:
    row = _whole(answer, "a row number")
    if 0 <= row < len(frame):
        return row
    raise WrongAnswerError(f"There is no row {row}: they are counted from 0 to {len(frame) - 1}.")


def _rows(answer: object, frame: pd.DataFrame, count: int) -> list[int]:
    if not isinstance(answer, list | tuple | np.ndarray | pd.Series | pd.Index) or len(answer) != count:
        raise WrongAnswerError(f"The answer is a list of {count} row numbers, like [7, 2, …].")
    return [_row(row, frame) for row in answer]


def _pair(answer: object, frame: pd.DataFrame) -> tuple[int, int]:
    if not isinstance(answer, list | tuple | np.ndarray | pd.Series) or len(answer) != 2:
        raise WrongAnswerError("The answer is a pair of row numbers, like (2, 7).")
    one, other = (_row(row, frame) for row in answer)
    if one == other:
        raise WrongAnswerError("The pair needs two different rows: everything is most like itself.")
    return one, other


def _is_none(answer: object, *, exists: bool, what: str) -> bool:
    """Tell whether the answer is "none", and rightly."""
    if not isinstance(answer, str):
        return False
    if answer.strip().lower() != "none":
        raise WrongAnswerError('The answer is made of row numbers, or it is the word "none".')
    if exists:
        raise WrongAnswerError(f"There is {what}. Look again.")
    return True


def _less(score: float, other: float) -> bool:
    """Tell whether a similarity is less, by more than rounding."""
    return score < other - 1e-6


def _scores(questions: pd.DataFrame, documents: pd.DataFrame) -> Points:
    """Return the similarity of every question (rows) to every document (columns)."""
    return questions.vec.matrix @ documents.vec.matrix.T


def _ranks(handbook: pd.DataFrame, questions: pd.DataFrame) -> Points:
    """Return at which place, from 1 on, each question finds the row that answers it."""
    scores = _scores(questions, handbook)
    right = scores[np.arange(len(questions)), questions.row.astype(int)]
    return 1 + (scores > right[:, None]).sum(axis=1)


def _distances(points: Points) -> Points:
    return np.linalg.norm(points[:, None] - points[None, :], axis=2)


def _shared_words(one: str, other: str) -> list[str]:
    """Return the words of four letters and more that stand in both texts."""
    words = [re.findall(r"\w{4,}", text.lower()) for text in (one, other)]
    return [word for word in dict.fromkeys(words[0]) if word in words[1]]
