from pathlib import Path

import pytest
from support.environments import Environment
from support.hunt import Hunt
from support.unplugged import Machine

from graders.course import Course, graded_cell, plain_cell, question_cells
from graders.executed import errors, outputs, streams
from graders.lesson import CELLS, DIGESTS, QUESTIONS, REQUIRE_PACK, RIGHT, SHOWING, UNSEEN, USE_PACK, WRONG
from graders.recording import TOKEN, Recorded

POINTS = {question.name: question.points for question in QUESTIONS}
SHOWN = {f"shown-{number}": source for number, source in enumerate(SHOWING)}
ASKED = [cell for question in QUESTIONS for cell in question_cells(question)]


@pytest.fixture(scope="module")
def course(tmp_path_factory: pytest.TempPathFactory, nbgrader: Environment, recorded: Recorded) -> Course:
    """A course in which everything is graded.

    The assignment `lesson` has its pack and three students; `shown` has a cell worth two points for all that shows
    something; `unpacked` is the lesson without its pack.
    """
    folder = tmp_path_factory.mktemp("nbgrader")
    (folder / "home").mkdir()
    course = Course(folder / "course", nbgrader, Machine(folder / "home"))
    begun = [plain_cell(source) for source in (USE_PACK, *CELLS)]
    course.release("lesson", [*begun, *ASKED], recorded.pack)
    course.release("shown", [*begun, *(graded_cell(name, source, 2) for name, source in SHOWN.items())], recorded.pack)
    course.release("unpacked", [*map(plain_cell, (REQUIRE_PACK, *CELLS)), *ASKED])
    for student, answers in {"right": RIGHT, "wrong": WRONG, "unseen": UNSEEN}.items():
        course.hand_in("lesson", student, answers)
    course.hand_in("shown", "right", {})
    course.hand_in("unpacked", "right", RIGHT)
    for assignment in ("lesson", "shown", "unpacked"):
        course.grade(assignment)
    return course


def test_right_answers_get_all_points(course: Course) -> None:
    assert course.grades("lesson", "right") == POINTS


def test_a_wrong_answer_loses_the_points_of_its_own_question(course: Course) -> None:
    assert course.grades("lesson", "wrong") == POINTS | {"search": 0}


def test_a_text_that_was_not_recorded_loses_the_points_of_its_own_question(course: Course) -> None:
    assert course.grades("lesson", "unseen") == POINTS | {"search": 0}
    [[said, nearest, cure]] = errors(outputs(course.executed("lesson", "unseen"), UNSEEN["search"]))
    assert said.startswith("NotInPackError: Row 0 ('a hare that sleeps'): This text is not in the pack lesson.vnpack")
    assert nearest == "The nearest recorded text is 'sour grapes'."
    assert cure.startswith("Next: ")


@pytest.mark.parametrize("assignment", ["lesson", "shown"])
def test_no_cell_has_an_error_or_writes_to_stderr(course: Course, assignment: str) -> None:
    found = list(outputs(course.executed(assignment, "right")))
    assert errors(found) == []
    assert streams(found, "stderr") == []


@pytest.mark.parametrize("student", ["right", "wrong", "unseen"])
def test_vectors_are_bit_for_bit_those_that_were_recorded(course: Course, recorded: Recorded, student: str) -> None:
    assert recorded.digests.count("\n") == 3
    assert streams(outputs(course.executed("lesson", student), DIGESTS), "stdout") == [recorded.digests]


def test_nothing_that_is_shown_is_taken_for_a_part_of_the_points(course: Course) -> None:
    assert course.grades("shown", "right") == dict.fromkeys(SHOWN, 2)
    notebook = course.executed("shown", "right")
    shown = {source: list(outputs(notebook, source)) for source in SHOWING}
    assert [source for source, found in shown.items() if not found] == []
    results = [output for found in shown.values() for output in found if output.output_type == "execute_result"]
    assert len(results) > 5
    for result in results:
        with pytest.raises(ValueError, match="could not convert"):
            float(result.data["text/plain"])


def test_without_the_pack_the_cell_that_requires_it_says_so_in_short_and_nobody_gets_points(course: Course) -> None:
    [required] = outputs(course.executed("unpacked", "right"), REQUIRE_PACK)
    assert required.traceback == [
        "RequirementError: This notebook needs the pack 'lesson.vnpack', and no pack is in use.",
        "Next: `%vn pack use lesson.vnpack --strict` above this cell.",
    ]
    assert course.grades("unpacked", "right") == dict.fromkeys(POINTS, 0)


def test_grading_tries_no_network_and_leaves_no_cache_behind(course: Course) -> None:
    assert course.machine.attempts == []
    assert (course.machine.home / ".ipython").exists()
    assert [path for path in course.machine.home.rglob("*") if "vn_magic" in path.name] == []


def test_the_token_of_the_recording_is_nowhere(course: Course, recorded: Recorded) -> None:
    packs = list(Path(course.folder).rglob(recorded.pack.name))
    assert len(packs) > 3
    assert Hunt(TOKEN).files(course.folder) == []
