"""What is known of the models, and how little is assumed of a stranger."""

from __future__ import annotations

import pytest

from vn_magic.exceptions import InputError
from vn_magic.models import KNOWN_MODELS, TASK_TYPES, facts_of


def test_the_task_types_are_the_documented_eight() -> None:
    assert TASK_TYPES == (
        "SEMANTIC_SIMILARITY",
        "CLASSIFICATION",
        "CLUSTERING",
        "RETRIEVAL_DOCUMENT",
        "RETRIEVAL_QUERY",
        "QUESTION_ANSWERING",
        "FACT_VERIFICATION",
        "CODE_RETRIEVAL_QUERY",
    )


@pytest.mark.parametrize("model", KNOWN_MODELS)
@pytest.mark.parametrize(("dimension", "fits"), [(127, False), (128, True), (768, True), (3072, True), (3073, False)])
def test_a_known_model_has_its_range_of_dimensions(model: str, dimension: int, fits: bool) -> None:
    if fits:
        facts_of(model).check_dimension(model, dimension)
    else:
        with pytest.raises(InputError, match=rf"(?s){model}.*128 to 3072.*not {dimension}.*Next:"):
            facts_of(model).check_dimension(model, dimension)


def test_only_the_matryoshka_model_and_the_stand_in_have_prefixes_that_are_vectors() -> None:
    named = {name for name, facts in KNOWN_MODELS.items() if facts.prefixes_are_vectors}
    assert named == {"gemini-embedding-001", "offline-lexical"}


def test_the_second_model_has_no_task_types_and_longer_texts() -> None:
    facts = facts_of("gemini-embedding-2")
    assert (facts.has_task_type, facts.token_limit) == (False, 8192)
    assert (facts_of("gemini-embedding-001").has_task_type, facts_of("gemini-embedding-001").token_limit) == (
        True,
        2048,
    )


@pytest.mark.parametrize("dimension", [1, 64, 100_000])
def test_of_a_stranger_every_dimension_is_asked_for_and_no_prefix_is_trusted(dimension: int) -> None:
    facts = facts_of("a-stranger")
    facts.check_dimension("a-stranger", dimension)
    assert not facts.prefixes_are_vectors
    assert facts.token_limit is None
