"""What is known of each model: sizes, tasks, and whether a prefix of a vector is itself a vector."""

from __future__ import annotations

from dataclasses import dataclass
from typing import get_args

from vn_magic.exceptions import InputError
from vn_magic.settings import Recipe, TaskType

# The embedded stand-in's own name: what it signs its vectors with, and what provenance calls it.
OFFLINE_MODEL = "offline-lexical"
TASK_TYPES: tuple[str, ...] = get_args(TaskType)


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What a client must know of a model before it asks for vectors.

    Parameters
    ----------
    smallest, largest
        The dimensions that the model gives on request; None where that is not known.
    has_task_type
        Whether the request may carry ``taskType``.
    prefixes_are_vectors
        Whether the first ``n`` values of a longer vector are the ``n``-value vector up to its length
        (Matryoshka training; Kusupati et al. 2022, and Google's page on gemini-embedding-001).
    token_limit
        Tokens after which the service cuts a text without notice; None where that is not known.
    """

    smallest: int | None = None
    largest: int | None = None
    has_task_type: bool = True
    prefixes_are_vectors: bool = False
    token_limit: int | None = None

    def check_dimension(self, model: str, dimension: int) -> None:
        """Raise InputError when the model has no vectors of this dimension."""
        smallest, largest = self.smallest or 1, self.largest or dimension
        if not smallest <= dimension <= largest:
            raise InputError(
                f"{model} gives vectors of {smallest} to {largest} values, not {dimension}.\n"
                "Next: choose --dim 768, 1536 or 3072 (any number in that range works)."
            )


KNOWN_MODELS = {
    "gemini-embedding-001": ModelFacts(128, 3072, prefixes_are_vectors=True, token_limit=2048),
    OFFLINE_MODEL: ModelFacts(128, 3072, prefixes_are_vectors=True),
    # Its raw vectors are normalised at every size, so a raw prefix is not what it would have sent.
    "gemini-embedding-2": ModelFacts(128, 3072, has_task_type=False, token_limit=8192),
}


def facts_of(model: str) -> ModelFacts:
    """Return what is known of a model; for a stranger, only what is safe to assume."""
    return KNOWN_MODELS.get(model, ModelFacts())


def serves_prefixes(recipe: Recipe) -> bool:
    """Whether the beginning of a longer vector is what the recipe asks for.

    A raw vector is as received: a prefix might have come at another length.
    """
    return facts_of(recipe.model).prefixes_are_vectors and recipe.unit_length
