"""Request to bytes, bytes to vector. Pure: nothing here touches a network.

The contract is the vendor's page "Embeddings" (VectorNode AI API Gateway, 2026-05-16)::

    POST {base}/v1beta/models/gemini-embedding-001:embedContent
    {"content": {"parts": [{"text": "..."}]}, "output_dimensionality": 768, "taskType": "SEMANTIC_SIMILARITY"}
    {"embedding": {"values": [-0.0296398, -0.010636787, ...]}}
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from typing import Annotated, Any
from urllib.parse import quote

import msgspec
import numpy as np
from numpy.typing import NDArray

from vn_magic.exceptions import BadAnswerError, InputError, UnreadableAnswerError
from vn_magic.settings import Recipe

API_VERSION = "v1beta"
# The embedded stand-in signs its answers with this header; a real gateway never sends it.
OFFLINE_LABEL_HEADER = "x-offline-stand-in"
REQUEST_ID_HEADER = "x-oneapi-request-id"


class DimensionSpelling(Enum):
    """Two names of one field. Google accepts either and rejects both; new-api drops the documented one."""

    DOCUMENTED = "output_dimensionality"
    CAMEL_CASE = "outputDimensionality"


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """One text's vector as the service sent it.

    Parameters
    ----------
    vector
        float32, shape ``(length,)``: as received, neither cut nor normalised.
    source
        Who made it: the offline stand-in's label, or the gateway's host.
    tokens
        Tokens that the service counted, None where it does not say.
    """

    vector: NDArray[np.float32]
    source: str
    tokens: int | None


class _Embedding(msgspec.Struct):
    values: list[float]


class _Success(msgspec.Struct, rename="camel"):
    embedding: _Embedding
    # Read apart: an odd count must not cost a vector that is paid for.
    usage_metadata: msgspec.Raw = msgspec.Raw()


class _Usage(msgspec.Struct, rename="camel"):
    prompt_token_count: Annotated[int, msgspec.Meta(ge=0, lt=2**31)]


_decode_usage = msgspec.json.Decoder(_Usage, strict=True).decode
_decode_success = msgspec.json.Decoder(_Success, strict=True).decode
# Not JSON, but what Python and JavaScript servers write for such numbers. A success has no other words in it.
_NOT_FINITE = re.compile(rb"\b(?:NaN|Infinity)\b")


def embed_path(model: str) -> str:
    """Return the path of ``:embedContent`` below the base URL."""
    return f"/{API_VERSION}/models/{quote(model, safe='')}:embedContent"


def embed_body(text: str, recipe: Recipe, spelling: DimensionSpelling) -> bytes:
    """Return the documented JSON body for one text: one ``content`` with one part, hence one vector.

    Raises
    ------
    InputError
        When the text has a lone surrogate, which no UTF-8 body can carry.
    """
    body: dict[str, Any] = {
        "content": {"parts": [{"text": text}]},
        spelling.value: recipe.dimension,
    }
    if recipe.task_type is not None:
        body["taskType"] = recipe.task_type
    if recipe.title is not None:
        body["title"] = recipe.title
    try:
        return msgspec.json.encode(body)
    except UnicodeEncodeError as error:
        raise InputError(
            f"The text has a broken character at position {error.start} (half of a surrogate pair).\n"
            'Next: clean it, e.g. text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").'
        ) from None


def parse_embedding(body: bytes) -> tuple[NDArray[np.float32], int | None]:
    """Return the vector, float32 ``(length,)``, and the token count where the service gives one.

    Length is the caller's to compare: only the client knows what was asked.

    Raises
    ------
    UnreadableAnswerError
        When the body is not JSON (cut, or not the API's): worth another attempt.
    BadAnswerError
        When it is JSON but not a usable vector: a field is missing or of the wrong type, a value is null,
        NaN or infinite (also as float32), there are no values, or all are zero.
    """
    try:
        success = _decode_success(body)
    except (msgspec.ValidationError, RecursionError) as error:
        raise BadAnswerError.because(str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        if _NOT_FINITE.search(body):
            raise BadAnswerError.because("a value is not a finite number") from None
        raise UnreadableAnswerError.because(str(error)) from None
    with np.errstate(over="ignore"):  # a double beyond float32 becomes infinite and is refused; squares may overflow
        vector = np.array(success.embedding.values, dtype=np.float32)
        problem = problem_of(vector)
    if problem:
        raise BadAnswerError.because(problem)
    return vector, _token_count(success.usage_metadata)


def _token_count(usage: msgspec.Raw) -> int | None:
    try:
        return _decode_usage(usage).prompt_token_count
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def problem_of(vector: NDArray[np.float32]) -> str | None:
    """Return what makes this no vector at all, or None: it is not empty, all finite, and longer than zero."""
    if vector.size == 0:
        return "it has no values"
    # The sum of squares is NaN or infinite when any value is, and zero only when all are: one pass, no mask.
    norm = float(np.dot(vector, vector))
    if norm > 0 and np.isfinite(norm):
        return None
    if not np.isfinite(vector).all():
        return "a value is not a finite number"
    return "all values are zero" if not vector.any() else None
