"""Request to bytes, bytes to vector. Pure: nothing here touches a network.

The contract is the vendor's page "Embeddings" (VectorNode AI API Gateway, 2026-05-16)::

    POST {base}/v1beta/models/gemini-embedding-001:embedContent
    {"content": {"parts": [{"text": "..."}]}, "output_dimensionality": 768, "taskType": "SEMANTIC_SIMILARITY"}
    {"embedding": {"values": [-0.0296398, -0.010636787, ...]}}

Several texts in one request go by Google's own method, which a gateway may or may not have (GATEWAY section 2)::

    POST {base}/v1beta/models/gemini-embedding-001:batchEmbedContents
    {"requests": [{"model": "models/gemini-embedding-001", "content": ..., "output_dimensionality": ..., ...}, ...]}
    {"embeddings": [{"values": [...]}, ...]}
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Annotated, Any
from urllib.parse import quote

import msgspec
import numpy as np
from numpy.typing import NDArray

from vn_magic.exceptions import BadAnswerError, BatchUnavailableError, InputError, UnreadableAnswerError
from vn_magic.settings import Recipe

API_VERSION = "v1beta"
# The embedded stand-in signs its answers with this header; a real gateway never sends it.
OFFLINE_LABEL_HEADER = "x-offline-stand-in"
REQUEST_ID_HEADER = "x-oneapi-request-id"

# 3072 values of 25 characters are 77 kB; a body beyond this is not an answer to one text.
_LARGEST_ANSWER = 2 * 1024 * 1024
# What each further text of a batch may add: 3072 values of 42 characters, blanks of an indented answer among them.
_LARGEST_VECTOR = 128 * 1024

Vector = NDArray[np.float32]


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
    request_id
        The gateway's own, None where it gives none.
    """

    vector: Vector
    source: str
    tokens: int | None
    request_id: str | None = None


class _Embedding(msgspec.Struct):
    values: list[float]


class _Answer(msgspec.Struct, rename="camel", kw_only=True):
    # Read apart: an odd count must not cost a vector that is paid for.
    usage_metadata: msgspec.Raw = msgspec.Raw()
    error: msgspec.Raw = msgspec.Raw()


class _Success(_Answer):
    embedding: _Embedding


class _Batch(_Answer):
    embeddings: list[_Embedding]


class _SpoiltBatch(_Answer):
    embeddings: list[msgspec.Raw]


class _Usage(msgspec.Struct, rename="camel"):
    prompt_token_count: Annotated[int, msgspec.Meta(ge=0, lt=2**31)]


_decode_usage = msgspec.json.Decoder(_Usage, strict=True).decode
_decode_success = msgspec.json.Decoder(_Success, strict=True).decode
_decode_embedding = msgspec.json.Decoder(_Embedding, strict=True).decode
_decode_batch = msgspec.json.Decoder(_Batch, strict=True).decode
_decode_spoilt_batch = msgspec.json.Decoder(_SpoiltBatch, strict=True).decode
# Not JSON, but what Python and JavaScript servers write for such numbers. A success has no other words in it.
_NOT_FINITE = re.compile(rb"\b(?:NaN|Infinity)\b")


def embed_path(model: str) -> str:
    """Return the path of ``:embedContent`` below the base URL."""
    return _path(model, "embedContent")


def batch_path(model: str) -> str:
    """Return the path of ``:batchEmbedContents`` below the base URL."""
    return _path(model, "batchEmbedContents")


def _path(model: str, method: str) -> str:
    return f"/{API_VERSION}/models/{quote(model, safe='')}:{method}"


def embed_body(text: str, recipe: Recipe, spelling: DimensionSpelling) -> bytes:
    """Return the documented JSON body for one text: one ``content`` with one part, hence one vector.

    Raises
    ------
    InputError
        When the text has a lone surrogate, which no UTF-8 body can carry.
    """
    return _encoded(_asked(text, recipe, spelling))


def batch_body(texts: Sequence[str], recipe: Recipe, spelling: DimensionSpelling) -> bytes:
    """Return the JSON body for several texts, in their order: each asks as it would alone, and names the model.

    Raises
    ------
    InputError
        As `embed_body`.
    """
    model = {"model": f"models/{recipe.model}"}
    return _encoded({"requests": [model | _asked(text, recipe, spelling) for text in texts]})


def _asked(text: str, recipe: Recipe, spelling: DimensionSpelling) -> dict[str, Any]:
    asked: dict[str, Any] = {
        "content": {"parts": [{"text": text}]},
        spelling.value: recipe.dimension,
    }
    if recipe.task_type is not None:
        asked["taskType"] = recipe.task_type
    if recipe.title is not None:
        asked["title"] = recipe.title
    return asked


def _encoded(body: dict[str, Any]) -> bytes:
    try:
        return msgspec.json.encode(body)
    except UnicodeEncodeError as error:
        raise InputError(
            f"The text has a broken character at position {error.start} (half of a surrogate pair).\n"
            'Next: clean it, e.g. text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").'
        ) from None


def largest_body(count: int) -> int:
    """Return the most bytes that an answer to so many texts may have; beyond that it is none."""
    return _LARGEST_ANSWER + (count - 1) * _LARGEST_VECTOR


def parse_embedding(body: bytes) -> tuple[Vector, int | None]:
    """Return the vector, float32 ``(length,)``, and the token count where the service gives one.

    Length is the caller's to compare: only the client knows what was asked.

    Raises
    ------
    UnreadableAnswerError
        When the body is not JSON (cut, or not the API's): worth another attempt.
    BadAnswerError
        When it is JSON but not a usable vector: a field is missing or of the wrong type, a value is null,
        NaN or infinite (also as float32), there are no values, or all are zero; or when it tells of an error.
    """
    try:
        success = _decode_success(body)
    except (msgspec.ValidationError, RecursionError) as error:
        raise BadAnswerError.because(str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        if _NOT_FINITE.search(body):
            raise BadAnswerError.because("a value is not a finite number") from None
        raise UnreadableAnswerError.because(str(error)) from None
    _check_no_error(success)
    return _vector(success.embedding.values), _token_count(success.usage_metadata)


def parse_batch(body: bytes, count: int) -> tuple[list[Vector | BadAnswerError], int | None]:
    """Return what came for each of ``count`` texts, in their order, and the token count of all where there is one.

    A text has its vector, float32 ``(length,)``, or the error that says why it has none: the others are paid for.

    Raises
    ------
    UnreadableAnswerError
        When the body is not JSON (cut, or not the API's): worth another attempt.
    BatchUnavailableError
        When there are more or fewer embeddings than texts: whose they are is not known.
    BadAnswerError
        When it is JSON without a list of embeddings, or tells of an error.
    """
    batch = _read_batch(body)
    _check_no_error(batch)
    if len(batch.embeddings) != count:
        told = f"asked for {count} embeddings, got {len(batch.embeddings)}"
        raise BatchUnavailableError.because(told, status=200)
    return [_vector_or_error(embedding) for embedding in batch.embeddings], _token_count(batch.usage_metadata)


def _read_batch(body: bytes) -> _Batch | _SpoiltBatch:
    try:
        return _decode_batch(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        pass  # perhaps one vector is none: then each is read by itself, which takes twice as long
    for word in (b"-Infinity", b"Infinity", b"NaN"):
        body = body.replace(word, b"null")  # no JSON, it would spoil the whole; null spoils its own vector alone
    try:
        return _decode_spoilt_batch(body)
    except (msgspec.ValidationError, RecursionError) as error:
        raise BadAnswerError.because(str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise UnreadableAnswerError.because(str(error)) from None


def _check_no_error(answer: _Answer) -> None:
    # An object or a text, as envelopes have it. Noticed as the answer is decoded: to search a body for the word costs
    # as much as to make the vector.
    if answer.error and bytes(answer.error)[:1] in (b"{", b'"'):
        raise BadAnswerError.because("it tells of an error")


def _vector_or_error(embedding: _Embedding | msgspec.Raw) -> Vector | BadAnswerError:
    try:
        read = _decode_embedding(embedding) if isinstance(embedding, msgspec.Raw) else embedding
        return _vector(read.values)
    except BadAnswerError as error:
        return error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return BadAnswerError.because(str(error))


def _vector(values: list[float]) -> Vector:
    # Three times as fast as np.array(values): 768 values in 5 µs. A double beyond float32 becomes infinite.
    vector = np.frombuffer(struct.pack(f"{len(values)}f", *values), dtype=np.float32)
    if problem := problem_of(vector):
        raise BadAnswerError.because(problem)
    return vector


def _token_count(usage: msgspec.Raw) -> int | None:
    if not usage:
        return None
    try:
        return _decode_usage(usage).prompt_token_count
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def problem_of(vector: Vector) -> str | None:
    """Return what makes this no vector at all, or None: it is not empty, all finite, and longer than zero."""
    if vector.size == 0:
        return "it has no values"
    # The sum of squares is NaN or infinite when any value is, and zero only when all are: one pass, no mask.
    with np.errstate(over="ignore"):
        norm = float(np.dot(vector, vector))
    if norm > 0 and math.isfinite(norm):
        return None
    if not np.isfinite(vector).all():
        return "a value is not a finite number"
    return "all values are zero" if not vector.any() else None
