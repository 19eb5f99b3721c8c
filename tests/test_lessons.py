"""The lessons: they run from their packs alone, checks tell right from wrong, and the packs can be made again."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec
import nbformat
import pandas as pd
import pytest
from support.gateways import Message, Receive, Send, json_answer, served
from support.kernels import Kernel, Reply, kernel
from support.serving import Serving
from support.unplugged import Machine

from vn_magic.offline.lexical import embed
from vn_magic.pack import Pack

FOLDER = Path(__file__).parents[1] / "examples" / "lessons"
JUPYTER = Path(sys.executable).with_name("jupyter")
TOKEN = "sk-canary-2f60d1a9"

# What a model would know, and the stand-in does not.
MEANS = {
    "My kitten naps on the couch.": "The cat sleeps on the warm sofa.",
    "The lender made loans more expensive.": "The bank raised its interest rates.",
    "A physician chose which medicine to give.": "The doctor wrote a prescription.",
    "The railway service ran behind schedule.": "The train to Berlin was late.",
    "Wet weather makes me happy.": "I love rainy days.",
    "A loaf is baked from a few cheap ingredients.": "Bread dough needs flour, water and salt.",
    "What if I am ill on the day of the exam?": "Anybody who missed a test through illness writes it again.",
    "Which club is for people who like to be on a stage?": "The drama group looks for actors and shows its play.",
    "I feel sick. Where can I find help?": "The nurse is in room 12 every morning.",
    "My bike needs a safe place. Where do I leave it?": "Bicycles are locked to the racks behind the gym.",
    "I can't find my scarf. Has anybody handed it in?": "Things that were found are kept in a box.",
    "Dinner is ready, come and sit down!": "Melt the butter and fry the onions.",
    "Eleven of them, eleven of us, and ninety minutes later we had lost.": "Our team won the match by two goals.",
    "What we see up there set out before any of us was born.": "A dark sky shows the faint stars.",
    "Nobody in the audience coughed until the last bar was over.": "The orchestra tunes before the concert.",
}
ABOUT_MEANING = ("1F", "2F", "3F")
WRONG = {
    "1A": {"answer_1a = 24": "how many sentences", "answer_1a = 'many'": "A whole number is wanted"},
    "1B": {
        "def cosine(a, b): return a @ b": "[3, 4] and [6, 8] point the same way, so they should get 1.00",
        "def cosine(a, b): return a @ b / (a @ a)": "Did you divide by both lengths?",
        "def cosine(a, b): return abs(a @ b) / np.linalg.norm(a) / np.linalg.norm(b)": "opposite directions",
        "def cosine(a, b): return a * b": "What your function returns is one number",
        "def cosine(a, b): return a.nothing": "AttributeError: 'numpy.ndarray' object has no attribute 'nothing'",
        "cosine = 0.5": "The answer is a function",
    },
    "1C": {
        "answer_1c = 0": "the sentence itself",
        "answer_1c = 2": "Row 2 has a similarity of 0.35",
        "answer_1c = 24": "There is no row 24",
        "answer_1c = -1": "There is no row -1",
    },
    "1D": {
        "answer_1d = (12, 13)": "0.64, and some pair has more",
        "answer_1d = (15, 15)": "two different rows",
        "answer_1d = 15": "a pair of row numbers",
    },
    "1E": {"answer_1e = 14": "Measure it", "answer_1e = 1": "13 or 14"},
    "1F": {
        "answer_1f = [3, 6, 8, 11, 21, 14]": "For row 12 another one",
        "answer_1f = [3, 6, 8, 11, 14, 20]": "Row 20 is not among the rows to choose from",
        "answer_1f = [3, 6]": "a list of 6 row numbers",
    },
    "2A": {"answer_2a = 5": "at the top of the table"},
    "2B": {
        "def hits(k): return 12": "For k=1 your function counts too many",
        "def hits(k): return 0": "For k=1 your function counts too few",
        "def hits(k): return (results.found == results.wanted).sum()": "For k=3 your function counts too few",
    },
    "2C": {
        "answer_2c = 0": "Question 0 finds the right row first",
        "answer_2c = 'none'": "There is a question",
        "answer_2c = 'seven'": 'or it is the word "none"',
    },
    "2D": {"answer_2d = 1": "not above the limit", "answer_2d = limit": "A whole number is wanted"},
    "2E": {"answer_2e = False": "np.allclose", "answer_2e = 1": "True or False"},
    "2F": {"answer_2f = [15, 12, 28]": "For question 11 there is a row nearer than 28"},
    "3A": {"answer_3a = (0, 1)": "Both are from the cooking club", "answer_3a = (0, 12)": "some such pair has more"},
    "3B": {"answer_3b = 42": "the ones at home", "answer_3b = 2": "all numbers but the largest"},
    "3C": {"answer_3c = 13": "0.20", "answer_3c = 0.07": "Add what the two axes keep", "answer_3c = '13 %'": "a str"},
    "3D": {
        "answer_3d = (0, 47)": "not among the 100 closest",
        "answer_3d = (37, 38)": "Their similarity, 0.68, is not below",
        "answer_3d = 'none'": "There is such a pair",
    },
    "3E": {
        "def agreeing(points): return len(points)": "take care of the diagonal",
        "def agreeing(points): return 42": "For the points on the map your function counts too many",
        "def agreeing(points): return 0": "For the points in space your function counts too few",
    },
    "3F": {"answer_3f = ['music'] * 4": "row 11 is of another club", "answer_3f = 'music'": "a list of 4 names"},
}


def _module(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"lessons_{name}", FOLDER / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


record = _module("record")
LESSONS: list[Path] = record.LESSONS
SOLUTIONS: dict[str, str] = record.solutions()
NAMED = dict(re.findall(r"^## (\w+)\n\n\*\*(.+?)\*\*", (FOLDER / "solutions.md").read_text("utf-8"), re.MULTILINE))


def _lesson(number: str) -> Path:
    [lesson] = [each for each in LESSONS if each.name.startswith(number)]
    return lesson


def _handed_out(lesson: Path, folder: Path, packs: Path = FOLDER, answers: Mapping[str, str] | None = None) -> Path:
    """Put what a student gets into a folder, and return the notebook."""
    folder.mkdir()
    for file in (FOLDER / "checks.py", *FOLDER.glob(f"{lesson.name[0]}_*.csv"), packs / f"{lesson.stem}.vnpack"):
        shutil.copy(file, folder)
    nbformat.write(record.solved(lesson, answers or {}), folder / lesson.name)
    return folder / lesson.name


def _clean_environ(cache: Path, **environ: str) -> dict[str, str]:
    """Return an environment with nobody's token: fixtures of a module come before the one that cleans it for a test."""
    ours = re.compile(r"^(VECTOR|VN_MAGIC)|_proxy$", re.IGNORECASE)
    clean = {name: value for name, value in os.environ.items() if not ours.search(name)}
    return clean | {"VN_MAGIC_CACHE": str(cache), "IPYTHONDIR": str(cache.with_name("ipython"))} | environ


def _record(
    to: Path, *arguments: str, recorder: Path = FOLDER / "record.py", **environ: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(recorder), "--to", str(to), *arguments],
        env=_clean_environ(to / "cache", **environ),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def _outputs(notebook: Path) -> list[Any]:
    cells = nbformat.read(notebook, as_version=4).cells
    return [output for cell in cells if cell.cell_type == "code" for output in cell.outputs]


def _said(outputs: list[Any]) -> str:
    return "".join(output.text for output in outputs if output.output_type == "stream")


async def _model(scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
    """Play a model that has learnt what `MEANS` says, and that tells queries from documents."""
    body, more = b"", True
    while more:
        message = await receive()
        body, more = body + message.get("body", b""), message.get("more_body", False)
    assert (b"authorization", f"Bearer {TOKEN}".encode()) in scope["headers"]
    asked = msgspec.json.decode(body)
    text = asked["content"]["parts"][0]["text"]
    marked = MEANS.get(text, text) + (" ?" if asked["taskType"] == "RETRIEVAL_QUERY" else "")
    values = embed(marked, asked["output_dimensionality"]).tolist()
    status, headers, answer = json_answer({"embedding": {"values": values}})
    start: Message = {"type": "http.response.start", "status": status}
    start["headers"] = [(name.encode(), value.encode()) for name, value in headers.items()]
    await send(start)
    await send({"type": "http.response.body", "body": answer})


@pytest.fixture(scope="module")
def meaning(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of packs that a teacher has recorded from a model, which has ended since."""
    folder = tmp_path_factory.mktemp("meaning")
    with served(_model) as gateway:
        done = _record(folder, "--gateway", VN_MAGIC_BASE_URL=gateway.url, VECTORNODE_API_KEY=TOKEN)
    assert done.returncode == 0, done.stderr
    return folder


class Desk:
    """A student's notebook that has been run from top to bottom, and its kernel."""

    def __init__(self, notebook: Path, at: Kernel) -> None:
        self.kernel = at
        self.cells = {cell.id: cell.source for cell in nbformat.read(notebook, as_version=4).cells}
        at.run(f"%cd -q {notebook.parent}")
        for cell in nbformat.read(notebook, as_version=4).cells:
            if cell.cell_type == "code":
                reply = at.run(cell.source)
                assert (reply.error, reply.stderr) == ([], "")

    def answer(self, name: str, source: str) -> Reply:
        """Answer an exercise, and run its check."""
        assert self.kernel.run(source).status == "ok"
        return self.kernel.run(self.cells[f"check-{name.lower()}"])

    def passed(self, name: str) -> str:
        """Return what a grader is told."""
        return self.kernel.run(f"print(checks.passed({name!r}), end='')").stdout


FindDesk = Callable[[str, Path], Desk]


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FindDesk]:
    """Find the desk for a lesson and a folder of packs. An exercise asks nothing of the others."""
    desks: dict[tuple[str, Path], Desk] = {}
    with ExitStack() as stack:

        def find(number: str, packs: Path) -> Desk:
            if (number, packs) not in desks:
                folder = tmp_path_factory.mktemp("desk")
                notebook = _handed_out(_lesson(number), folder / "lesson", packs)
                at = stack.enter_context(kernel(environ=_clean_environ(folder / "cache")))
                desks[number, packs] = Desk(notebook, at)
            return desks[number, packs]

        yield find


@pytest.mark.parametrize("lesson", LESSONS, ids=lambda lesson: lesson.stem)
def test_a_lesson_as_handed_out_runs_from_its_pack_on_a_machine_without_network_and_token(
    lesson: Path, tmp_path: Path
) -> None:
    (tmp_path / "home").mkdir()
    machine = Machine(tmp_path / "home")
    notebook = _handed_out(lesson, tmp_path / "student")
    done = machine.run(JUPYTER, "execute", "--inplace", notebook.name, cwd=notebook.parent)
    assert done.returncode == 0, done.stderr
    assert machine.attempts == []
    outputs = _outputs(notebook)
    assert [output for output in outputs if output.output_type == "error" or output.get("name") == "stderr"] == []
    names = [name for name in SOLUTIONS if name[0] == lesson.name[0]]
    assert len(names) >= 5
    for name in names:
        told = "skipped. This one is about meaning" if name in ABOUT_MEANING else "not answered yet. Replace"
        assert f"{name}: {told}" in _said(outputs)


@pytest.mark.parametrize("name", sorted(SOLUTIONS))
def test_the_check_passes_the_right_answer_or_skips_what_words_cannot_answer(name: str, desk: FindDesk) -> None:
    at = desk(name[0], FOLDER)
    reply = at.answer(name, SOLUTIONS[name])
    assert reply.status == "ok", reply.error
    assert reply.stdout.startswith(f"{name}: {'skipped.' if name in ABOUT_MEANING else 'right!'} ")
    assert at.passed(name) == "True"


@pytest.mark.parametrize("name", sorted(SOLUTIONS))
def test_the_check_passes_the_right_answer_with_the_vectors_of_a_model_too(
    name: str, desk: FindDesk, meaning: Path
) -> None:
    reply = desk(name[0], meaning).answer(name, SOLUTIONS[name])
    assert reply.status == "ok", reply.error
    assert reply.stdout.startswith(f"{name}: right! ")


@pytest.mark.parametrize(("name", "answer"), NAMED.items())
def test_the_answer_that_teachers_are_told_is_that_of_the_stand_in(name: str, answer: str, desk: FindDesk) -> None:
    at = desk(name[0], FOLDER)
    at.answer(name, SOLUTIONS[name])
    computed = at.kernel.run(f"print(np.asarray(answer_{name.lower()}).tolist())").stdout
    assert re.findall(r"(True|\d+(?:\.\d{2})?)\d*", computed) == answer.split(", ")


@pytest.mark.parametrize(
    ("name", "told"),
    [("1F", "In 6 of 6 cases"), ("2F", "3 of 3 find the row"), ("3F", "4 of 4 find their own club")],
)
def test_with_a_model_that_knows_meaning_the_check_says_how_often_it_agrees_with_people(
    name: str, told: str, desk: FindDesk, meaning: Path
) -> None:
    assert told in desk(name[0], meaning).answer(name, SOLUTIONS[name]).stdout


@pytest.mark.parametrize(
    ("name", "answer", "told"), [(name, answer, told) for name in WRONG for answer, told in WRONG[name].items()]
)
def test_the_check_stops_at_a_wrong_answer_with_one_kind_sentence(
    name: str, answer: str, told: str, desk: FindDesk, request: pytest.FixtureRequest
) -> None:
    at = desk(name[0], request.getfixturevalue("meaning") if name in ABOUT_MEANING else FOLDER)
    reply = at.answer(name, answer)
    [line] = reply.error
    assert line.startswith(f"{name}: not yet. ")
    assert told in line
    assert at.kernel.run("print(issubclass(checks.WrongAnswerError, AssertionError))").stdout == "True\n"
    assert at.passed(name) == "False"


def test_every_exercise_has_a_solution_and_wrong_answers() -> None:
    cells = {cell.id for lesson in LESSONS for cell in nbformat.read(lesson, as_version=4).cells}
    for kind in ("task", "answer", "check"):
        assert {cell.removeprefix(f"{kind}-").upper() for cell in cells if cell.startswith(kind)} == set(SOLUTIONS)
    assert set(WRONG) == set(SOLUTIONS)


@pytest.mark.parametrize("name", [name for name in sorted(SOLUTIONS) if name not in ABOUT_MEANING])
def test_what_is_not_answered_any_more_has_not_passed(name: str, desk: FindDesk) -> None:
    at = desk(name[0], FOLDER)
    at.answer(name, SOLUTIONS[name])
    reply = at.answer(name, at.cells[f"answer-{name.lower()}"])
    assert (reply.status, at.passed(name)) == ("ok", "False")
    assert reply.stdout.startswith(f"{name}: not answered yet.")


def test_where_every_question_finds_its_row_none_is_the_answer_and_a_number_is_not(
    desk: FindDesk, meaning: Path
) -> None:
    at = desk("2", meaning)
    assert at.answer("2C", "answer_2c = 'None'").stdout.startswith("2C: right! ")
    assert at.answer("2C", "answer_2c = 7").error == [
        "2C: not yet. Question 7 finds the right row first. Look for another one."
    ]


def test_the_overview_tells_how_each_exercise_of_the_lesson_stands(desk: FindDesk) -> None:
    at = desk("1", FOLDER)
    at.answer("1A", SOLUTIONS["1A"])
    at.answer("1B", "def cosine(a, b): return 1")
    at.answer("1C", "answer_1c = ...")
    at.answer("1F", "answer_1f = ...")
    lines = at.kernel.run("checks.overview(1)").stdout.splitlines()
    assert [line[:2] for line in lines] == ["1A", "1B", "1C", "1D", "1E", "1F"]
    assert lines[:3] == ["1A: right", "1B: not right yet", "1C: not answered yet"]
    assert lines[5] == "1F: skipped"


def test_a_question_of_ones_own_is_refused_by_the_pack_and_answered_by_the_stand_in(tmp_path: Path) -> None:
    notebook = _handed_out(_lesson("2"), tmp_path / "student")
    with kernel(environ=_clean_environ(tmp_path / "cache")) as own:
        Desk(notebook, own)
        ask = "handbook.vec.nearest('Where is the chess club?', k=1)"
        assert own.run(ask).error[0].startswith("NotInPackError: Row 0 ('Where is the chess club?')")
        assert own.run("%vn pack off\n%vn offline").status == "ok"
        result = own.run(ask).result
        assert result is not None
        assert "The chess club meets on Thursdays" in result["text/plain"]


@pytest.mark.parametrize("lesson", LESSONS, ids=lambda lesson: lesson.stem)
def test_a_lesson_is_stored_without_outputs_and_begins_with_its_pack(lesson: Path) -> None:
    notebook = nbformat.read(lesson, as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell for cell in code if cell.outputs or cell.execution_count is not None] == []
    assert set(notebook.metadata) == {"kernelspec", "language_info"}
    pack = lesson.with_suffix(".vnpack").name
    assert code[0].source == f"%load_ext vn_magic\n%vn pack use {pack} --strict"
    assert f'\nvn_magic.require(pack="{pack}")' in code[1].source


@pytest.mark.parametrize("lesson", LESSONS, ids=lambda lesson: lesson.stem)
def test_a_pack_is_small_and_says_what_it_is(lesson: Path) -> None:
    path = lesson.with_suffix(".vnpack")
    manifest = Pack.read(path).manifest
    assert path.stat().st_size < 1_000_000
    assert {group.source for group in manifest.groups} == {"offline-lexical"}
    assert manifest.licence == "MIT, the vn_magic authors"
    assert [notice for notice in manifest.notices if "lexical, not semantic" in notice] != []


def _content(path: Path) -> list[Any]:
    pack = Pack.read(path)
    return [
        (msgspec.structs.replace(each.group, origin=""), each.texts, each.vectors.tobytes()) for each in pack.recordings
    ]


def test_the_packs_in_the_tree_are_what_the_recorder_makes_today(tmp_path: Path) -> None:
    done = _record(tmp_path)
    assert done.returncode == 0, done.stderr
    for lesson in LESSONS:
        name = lesson.with_suffix(".vnpack").name
        assert _content(tmp_path / name) == _content(FOLDER / name)
        assert f"{name}   written" in done.stdout


def _recorded_with(solution: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Record lesson 1 where a teacher has another solution for 1C."""
    shutil.copytree(FOLDER, folder, ignore=shutil.ignore_patterns("*.vnpack", "__pycache__"))
    changed = (folder / "solutions.md").read_text("utf-8").replace(SOLUTIONS["1C"], solution)
    (folder / "solutions.md").write_text(changed, "utf-8")
    return _record(folder, "1", recorder=folder / "record.py")


def test_what_only_a_solution_embeds_is_recorded_too(tmp_path: Path) -> None:
    done = _recorded_with('answer_1c = 1\nmore = %embed --dim 512 ["Only here."]', tmp_path / "lessons")
    assert done.returncode == 0, done.stderr
    [recording] = Pack.read(tmp_path / "lessons" / _lesson("1").with_suffix(".vnpack").name).recordings
    assert len(recording.texts) == 25
    assert "Only here." in recording.texts


def test_no_pack_is_made_where_a_solution_does_not_pass_its_check(tmp_path: Path) -> None:
    done = _recorded_with("answer_1c = 2", tmp_path / "lessons")
    assert done.returncode == 1
    assert "1_what_is_an_embedding.ipynb: WrongAnswerError: 1C: not yet. " in done.stderr
    assert list((tmp_path / "lessons").glob("*.vnpack")) == []


def test_what_a_teacher_records_with_a_token_replays_on_a_machine_without(tmp_path: Path) -> None:
    serving = Serving({"VECTORNODE_API_KEY": TOKEN})
    try:
        url = serving.exported("VN_MAGIC_BASE_URL")
        done = _record(tmp_path, "2", "--gateway", VN_MAGIC_BASE_URL=url, VECTORNODE_API_KEY=TOKEN)
    finally:
        serving.close()
    assert done.returncode == 0, done.stderr
    lesson = _lesson("2")
    assert [path.name for path in tmp_path.glob("*.vnpack")] == [f"{lesson.stem}.vnpack"]
    pack = tmp_path / f"{lesson.stem}.vnpack"
    assert TOKEN not in done.stdout + done.stderr
    assert TOKEN.encode() not in pack.read_bytes()
    assert {group.origin for group in Pack.read(pack).manifest.groups} == {url}
    assert _content(pack) == _content(FOLDER / pack.name)  # it was the stand-in, over HTTP

    (tmp_path / "home").mkdir()
    machine = Machine(tmp_path / "home")
    notebook = _handed_out(lesson, tmp_path / "student", packs=tmp_path, answers=SOLUTIONS)
    replayed = machine.run(JUPYTER, "execute", "--inplace", notebook.name, cwd=notebook.parent)
    assert replayed.returncode == 0, replayed.stderr
    assert machine.attempts == []
    assert "2E: right!" in _said(_outputs(notebook))


def test_without_a_token_nothing_is_recorded_and_the_reason_is_told(tmp_path: Path) -> None:
    done = _record(tmp_path, "1", "--gateway", VN_MAGIC_BASE_URL="http://127.0.0.1:9")
    assert done.returncode == 1
    assert "1_what_is_an_embedding.ipynb: RequirementError: This notebook needs a token for 127.0.0.1:9" in done.stderr
    assert list(tmp_path.glob("*.vnpack")) == []


def test_what_is_said_in_other_words_shares_none_with_what_it_belongs_to() -> None:
    checks = _module("checks")
    shared = checks._shared_words
    sentences = _embedded_lines("1", "sentences")
    for row, twin in checks.SAME_STORY.items():
        assert shared(sentences[row], sentences[twin]) == []
    handbook = pd.read_csv(FOLDER / "2_handbook.csv").text
    questions = [line.rsplit(",", 1) for line in _embedded_lines("2", "questions")[1:]]
    assert len(questions) == 12
    for question, row in (questions[number] for number in checks.OTHER_WORDS):
        assert shared(question, handbook[int(row)]) == []
    notes = pd.read_csv(FOLDER / "3_notes.csv")
    for row in checks.LONELY:
        club = notes[notes.club == notes.club[row]].drop(row)
        assert [text for text in club.text if shared(notes.text[row], text)] == []


def test_the_teachers_page_says_how_many_texts_and_tokens_a_recording_takes() -> None:
    groups = [each for lesson in LESSONS for each in Pack.read(lesson.with_suffix(".vnpack")).recordings]
    asked = [len(text) for each in groups if each.group.model == "gemini-embedding-001" for text in each.texts]
    page = (FOLDER / "README.md").read_text("utf-8")
    assert f"{len(asked)} texts, as many requests, ≈{round(sum(asked) / 4, -2):,.0f} tokens" in page


def _embedded_lines(number: str, name: str) -> list[str]:
    """Return the lines below ``%%embed name`` in a lesson."""
    sources = [cell.source for cell in nbformat.read(_lesson(number), as_version=4).cells]
    [source] = [source for source in sources if source.startswith(f"%%embed {name} ")]
    return str(source).splitlines()[1:]
