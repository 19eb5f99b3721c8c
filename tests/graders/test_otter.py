import pytest
from support.environments import Environment
from support.unplugged import Machine

from graders.autograder import Autograder, Graded
from graders.executed import errors, outputs, streams
from graders.lesson import CELLS, DIGESTS, QUESTIONS, REQUIRE_PACK, RIGHT, UNSEEN, USE_PACK, WRONG
from graders.recording import Recorded

POINTS = {question.name: question.points for question in QUESTIONS}
LESSON = (USE_PACK, *CELLS)


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Machine:
    return Machine(tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="module")
def autograder(
    tmp_path_factory: pytest.TempPathFactory, otter: Environment, machine: Machine, recorded: Recorded
) -> Autograder:
    """An autograder with the lesson's pack."""
    autograder = Autograder(tmp_path_factory.mktemp("otter"), otter, machine)
    autograder.make(recorded.pack)
    return autograder


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory, otter: Environment, machine: Machine) -> Autograder:
    """An autograder without a pack."""
    autograder = Autograder(tmp_path_factory.mktemp("unpacked"), otter, machine)
    autograder.make()
    return autograder


@pytest.fixture(scope="module")
def right(autograder: Autograder) -> Graded:
    return autograder.grade("right", LESSON, RIGHT)


def test_right_answers_get_all_points(right: Graded) -> None:
    assert right.grades == POINTS


def test_a_wrong_answer_loses_the_points_of_its_own_question(autograder: Autograder) -> None:
    assert autograder.grade("wrong", LESSON, WRONG).grades == POINTS | {"search": 0}


def test_a_text_that_was_not_recorded_loses_the_points_of_its_own_question(autograder: Autograder) -> None:
    graded = autograder.grade("unseen", LESSON, UNSEEN)
    assert graded.grades == POINTS | {"search": 0}
    [lines] = errors(outputs(graded.executed))
    assert lines[0].startswith("NotInPackError: ")
    assert len(lines) == 3


def test_no_cell_has_an_error_or_writes_to_stderr(right: Graded) -> None:
    found = list(outputs(right.executed))
    assert errors(found) == []
    # otter itself logs there.
    assert [text for text in streams(found, "stderr") if not text.startswith(("[INFO otter.", "[DEBUG otter."))] == []


def test_vectors_are_bit_for_bit_those_that_were_recorded(right: Graded, recorded: Recorded) -> None:
    assert streams(outputs(right.executed, DIGESTS), "stdout") == [recorded.digests]


def test_without_the_pack_the_cell_that_uses_it_says_so_in_short_and_nobody_gets_points(unpacked: Autograder) -> None:
    graded = unpacked.grade("right", LESSON, RIGHT)
    [used] = outputs(graded.executed, USE_PACK)
    assert used.traceback[0] == "PackError: There is no pack 'lesson.vnpack' there."
    assert len(used.traceback) <= 3
    assert graded.grades == dict.fromkeys(POINTS, 0)


def test_a_pack_that_the_grading_machine_names_in_its_environment_will_do(
    unpacked: Autograder, recorded: Recorded
) -> None:
    graded = unpacked.grade("named", (REQUIRE_PACK, *CELLS), RIGHT, VN_MAGIC_PACK=str(recorded.pack))
    assert graded.grades == POINTS
    assert errors(outputs(graded.executed)) == []


def test_grading_tries_no_network_and_leaves_no_cache_behind(right: Graded, machine: Machine) -> None:
    assert right.grades
    assert machine.attempts == []
    assert (machine.home / ".ipython").exists()
    assert [path for path in machine.home.rglob("*") if "vn_magic" in path.name] == []
