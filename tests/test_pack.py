"""What a pack answers, and what it says when it cannot."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.packs import KIND, MODEL, pack_file, pack_of, recording, vector_of

from vn_magic.exceptions import NotInPackError, PackError
from vn_magic.pack import Pack, described
from vn_magic.settings import Recipe

TASK = "SEMANTIC_SIMILARITY"
POEMS = ["roses are red", "violets are blue", "sugar is sweet"]


def found(pack: Pack, text: str, recipe: Recipe) -> int | None:
    """Return how long a vector was found, the text's own one."""
    recorded = pack.find(text, recipe)
    if recorded is None:
        return None
    expected = vector_of(text, recorded.group.dimension)
    if recorded.group.unit_length:
        expected /= np.linalg.norm(expected.astype(np.float64))
    assert recorded.vector.tobytes() == expected.tobytes()
    return len(recorded.vector)


def refusal(pack: Pack, text: str, recipe: Recipe, *, look: bool = True) -> list[str]:
    """Return the lines of the error about a text."""
    error = pack.refusal(text, recipe, look=look)
    assert type(error) is NotInPackError
    return str(error).split("\n")


# Look-up


def test_a_text_has_its_own_vector_under_exactly_its_model_task_title_and_dimension() -> None:
    pack = pack_of(recording(POEMS, 768), recording(["roses are red"], 768, task_type="CLUSTERING"))
    for text in POEMS:
        assert found(pack, text, Recipe(MODEL, 768, TASK)) == 768
    assert found(pack, "roses are red", Recipe(MODEL, 768, "CLUSTERING")) == 768
    for recipe in (
        Recipe(MODEL, 769, TASK),
        Recipe("another-model", 768, TASK),
        Recipe(MODEL, 768, "CLASSIFICATION"),
        Recipe(MODEL, 768, None),
        Recipe(MODEL, 768, TASK, title="Flowers"),
        Recipe(MODEL, 768, TASK, title=""),
    ):
        assert found(pack, "roses are red", recipe) is None
    assert found(pack, "sugar is sweet", Recipe(MODEL, 768, "CLUSTERING")) is None


def test_a_title_is_a_part_of_what_is_asked_for() -> None:
    documents = {"task_type": "RETRIEVAL_DOCUMENT"}
    pack = pack_of(
        recording(["a"], 8, **documents), recording(["a"], 9, title="A", **documents),
        recording(["a"], 10, title="B", **documents),
    )  # fmt: skip
    lengths = [
        (recorded := pack.find("a", Recipe(MODEL, 8, "RETRIEVAL_DOCUMENT", title))) and len(recorded.vector)
        for title in (None, "A", "B", "C")
    ]
    assert lengths == [8, 9, 10, None]


@pytest.mark.parametrize(
    "other",
    ["Roses are red", "roses are red ", " roses are red", "roses  are red", "roses are red\n", "roses are red\u200b"],
)
def test_a_text_is_matched_by_every_character(other: str) -> None:
    pack = pack_of(recording(POEMS, 768))
    assert pack.find(other, Recipe(MODEL, 768, TASK)) is None


def test_composed_and_decomposed_letters_are_two_texts() -> None:
    pack = pack_of(recording(["caf\u00e9"], 768))
    assert found(pack, "caf\u00e9", Recipe(MODEL, 768, TASK)) == 768
    assert pack.find("cafe\u0301", Recipe(MODEL, 768, TASK)) is None


@given(st.permutations([256, 768, 3072]), st.integers(128, 3072))
def test_the_shortest_vector_that_begins_with_what_is_asked_for_answers(order: list[int], asked: int) -> None:
    pack = pack_of(*(recording(["a"], dimension) for dimension in order))
    assert found(pack, "a", Recipe(MODEL, asked, TASK)) == min(each for each in order if each >= asked)


def test_a_longer_vector_answers_where_no_shorter_one_has_the_text() -> None:
    pack = pack_of(recording(["a"], 256), recording(["a", "b"], 768), recording(["c"], 3072))
    assert [found(pack, text, Recipe(MODEL, 256, TASK)) for text in "abc"] == [256, 768, 3072]
    assert [found(pack, text, Recipe(MODEL, 768, TASK)) for text in "abc"] == [768, 768, 3072]
    assert [found(pack, text, Recipe(MODEL, 1536, TASK)) for text in "abc"] == [None, None, 3072]


@pytest.mark.parametrize("model", ["gemini-embedding-2", "nobody-knows-me"])
def test_of_a_model_without_prefixes_only_the_dimension_itself_answers(model: str) -> None:
    pack = pack_of(recording(["a"], 3072, model=model, task_type=None))
    assert found(pack, "a", Recipe(model, 3072, None)) == 3072
    assert found(pack, "a", Recipe(model, 768, None)) is None


def test_a_raw_vector_is_never_a_prefix_and_never_one_that_was_normalised() -> None:
    raw = Recipe(MODEL, 768, TASK, unit_length=False)
    assert found(pack_of(recording(["a"], 768)), "a", raw) == 768
    assert found(pack_of(recording(["a"], 3072)), "a", raw) is None
    assert found(pack_of(recording(["a"], 768, unit_length=True)), "a", raw) is None
    assert found(pack_of(recording(["a"], 768, unit_length=True)), "a", Recipe(MODEL, 768, TASK)) == 768


def test_the_origin_is_not_asked_for(tmp_path: Path) -> None:
    pack = Pack.read(pack_file(tmp_path / "x.vnpack", recording(["a"], 768, origin="", source="somewhere.else")))
    recorded = pack.find("a", Recipe(MODEL, 768, TASK))
    assert recorded is not None
    assert recorded.group.source == "somewhere.else"


def test_twenty_thousand_texts_are_found_among_many_groups() -> None:
    texts = [f"text {number}" for number in range(20_000)]
    titled = [recording(["a"], 4, task_type="RETRIEVAL_DOCUMENT", title=f"title {number}") for number in range(300)]
    pack = pack_of(*titled, recording(texts, 4))
    asked = 0

    class Counted(str):
        __slots__ = ()

        def __hash__(self) -> int:
            nonlocal asked
            asked += 1
            return super().__hash__()

    recipe = Recipe(MODEL, 4, TASK)
    assert all(pack.find(Counted(text), recipe) for text in texts)
    assert asked == len(texts)  # nobody looked for a text where it cannot be


def test_a_group_is_described_by_all_that_a_text_is_looked_up_by() -> None:
    group = recording(["a"], 5, title="On roses", task_type="RETRIEVAL_DOCUMENT").group
    assert described(group) == (
        f"{MODEL}, RETRIEVAL_DOCUMENT, 5 values, the title 'On roses', as received, from gateway.example"
    )
    assert described(recording(["a"], 5, task_type=None, unit_length=True).group) == (
        f"{MODEL}, no task, 5 values, unit length, from gateway.example"
    )


# Refusals


def test_a_refusal_names_the_pack_the_nearest_text_and_a_next_step() -> None:
    lines = refusal(pack_of(recording(POEMS, 768)), "violets are bleu", Recipe(MODEL, 768, TASK))
    assert lines == [
        "This text is not in the pack lesson.vnpack, which alone answers here.",
        "The nearest recorded text is 'violets are blue'.",
        "Next: use a recorded text exactly as it is, or `%vn pack off` and a token.",
    ]


def test_the_nearest_text_is_one_that_would_answer() -> None:
    pack = pack_of(recording(POEMS, 768), recording(["roses are read"], 768, task_type="CLUSTERING"))
    assert "'roses are red'" in refusal(pack, "roses are rea", Recipe(MODEL, 768, TASK))[1]
    assert "'roses are read'" in refusal(pack, "roses are red?", Recipe(MODEL, 768, "CLUSTERING"))[1]


def test_a_text_that_is_recorded_otherwise_is_said_to_be_so() -> None:
    pack = pack_of(recording(POEMS, 256), recording(POEMS[:1], 768, task_type="CLUSTERING"))
    assert refusal(pack, "roses are red", Recipe(MODEL, 768, TASK))[1] == (
        f"It is recorded with {MODEL}, CLUSTERING, 768 values or {MODEL}, {TASK}, 256 values, "
        f"but not with {MODEL}, {TASK}, 768 values."
    )
    assert (
        "but not with gemini-embedding-001, SEMANTIC_SIMILARITY, 256 values, the title 'T'."
        in (refusal(pack, "roses are red", Recipe(MODEL, 256, TASK, title="T"))[1])
    )


def test_what_was_normalised_and_what_is_wanted_raw_are_told_apart() -> None:
    pack = pack_of(recording(POEMS, 768, unit_length=True))
    lines = refusal(pack, "roses are red", Recipe(MODEL, 768, TASK, unit_length=False))
    assert lines[1] == (
        f"It is recorded with {MODEL}, {TASK}, 768 values, unit length, but not with {MODEL}, {TASK}, 768 values, raw."
    )
    assert lines[2].startswith("Next: ask for it as it is recorded (--model, --task, --dim, --title), or")


def test_an_empty_title_is_another_one_than_none() -> None:
    pack = pack_of(recording(["a"], 768, task_type="RETRIEVAL_DOCUMENT"))
    assert "but not with" in (said := refusal(pack, "a", Recipe(MODEL, 768, "RETRIEVAL_DOCUMENT", title=""))[1])
    assert said.endswith("768 values, the title ''.")


def test_where_nothing_is_recorded_like_this_what_is_recorded_is_listed() -> None:
    pack = pack_of(recording(POEMS, 256))
    assert refusal(pack, "another text", Recipe(MODEL, 3072, TASK))[1] == (
        f"Nothing is recorded with {MODEL}, {TASK}, 3072 values, but with {MODEL}, {TASK}, 256 values."
    )


def test_long_lists_and_long_titles_are_cut() -> None:
    many = [recording(["a"], 4, task_type="RETRIEVAL_DOCUMENT", title=f"{number} " * 90) for number in range(30)]
    lines = refusal(pack_of(*many), "a", Recipe(MODEL, 4, TASK))
    assert ", and 27 more, but not with" in lines[1]
    assert len(lines[1]) < 600


def test_without_a_look_no_nearest_text_is_named() -> None:
    lines = refusal(pack_of(recording(POEMS, 768)), "violets", Recipe(MODEL, 768, TASK), look=False)
    assert lines[1] == "The nearest recorded text is named for the first of such rows only."


@given(st.text(min_size=1), st.text(st.characters(blacklist_categories=["Cs"]), min_size=1))
def test_a_refusal_is_three_short_lines_whatever_the_texts(asked: str, recorded: str) -> None:
    lines = refusal(pack_of(recording([recorded], 4)), asked, Recipe(MODEL, 4, TASK))
    assert len(lines) == 3
    assert all(len(line) < 400 for line in lines)


def test_reading_says_what_is_wrong_with_the_file_by_its_name_alone(tmp_path: Path) -> None:
    (tmp_path / "lesson.vnpack").write_text("<html>")
    with pytest.raises(PackError) as caught:
        Pack.read(tmp_path / "lesson.vnpack")
    assert str(tmp_path) not in str(caught.value)
    assert str(caught.value).startswith("'lesson.vnpack' is damaged or is no pack")


def test_a_pack_is_described_by_its_manifest() -> None:
    pack = pack_of(recording(POEMS, 8), recording(POEMS[:1], 9, task_type="CLUSTERING"))
    assert (pack.name, pack.manifest.rows, len(pack.manifest.groups)) == ("lesson.vnpack", 4, 2)
    assert pack.manifest.groups[0].origin == KIND["origin"]
