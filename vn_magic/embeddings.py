"""Embeddings, the value that people hold: texts, vectors, where they come from, and what failed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Self

import msgspec
import numpy as np
from numpy.typing import NDArray

from vn_magic.exceptions import ProvenanceError, VectorError
from vn_magic.progress import JobSummary

# Rows checked and normalised at a time, so that no temporary comes near the size of the matrix.
_BLOCK_ROWS = 4096
# A float32 vector that was normalised once is this near to length one; again, it would change in its last bits.
_UNIT_TOLERANCE = 1e-7


@dataclass(frozen=True, slots=True)
class Provenance:
    """The identity of vectors. Two sets may be compared only when theirs are equal.

    Parameters
    ----------
    source
        Who computed them: the gateway's host, or ``offline-lexical`` for the embedded stand-in.
    model
        The model's name; ``offline-lexical`` for the stand-in, whatever was asked for.
    task_type
        None for models without tasks.
    dimension
        Values in a vector.
    unit_length
        Whether every vector was normalised to length one.
    """

    source: str
    model: str
    task_type: str | None
    dimension: int
    unit_length: bool

    def as_json(self) -> dict[str, Any]:
        """Return plain JSON, as ``DataFrame.attrs`` and files keep it."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: object) -> Self:
        """Read what `as_json` wrote.

        Raises
        ------
        ProvenanceError
            When something is missing, of the wrong type, or there is more than is known of.
        """
        names = {item.name for item in fields(cls)}
        if not isinstance(value, Mapping) or set(value) != names:
            raise ProvenanceError(f"This is not a provenance: {value!r}.\nIt needs {', '.join(sorted(names))}.")
        try:
            return msgspec.convert(dict(value), cls)
        except msgspec.ValidationError as error:
            raise ProvenanceError(f"This is not a provenance: {value!r}.\n{error}.") from None

    def check_comparable(self, other: Provenance) -> None:
        """Refuse to compare vectors of different origin. A query and its documents differ in task on purpose.

        Raises
        ------
        ProvenanceError
            Naming both.
        """
        mine, theirs = ({**side.as_json(), "task_type": _task_space(side.task_type)} for side in (self, other))
        if mine != theirs:
            raise ProvenanceError(
                "These vectors are not comparable, they come from different places:\n"
                f"  {self}\n  {other}\nNext: embed both with the same model, task, dimension and gateway."
            )

    def __str__(self) -> str:
        length = "unit length" if self.unit_length else "raw"
        parts = (self.model, self.task_type or "no task", f"{self.dimension} values", length)
        return " · ".join(parts if self.source == self.model else (*parts, self.source))


def _task_space(task_type: str | None) -> str | None:
    """Google trains queries and documents to meet in one space; every other task is a space of its own."""
    queries = ("RETRIEVAL_QUERY", "QUESTION_ANSWERING", "FACT_VERIFICATION", "CODE_RETRIEVAL_QUERY")
    return "RETRIEVAL_DOCUMENT" if task_type in queries else task_type


@dataclass(frozen=True, slots=True, eq=False)
class Embeddings:
    """The result of a job, a row a text, in the order of the input and with its duplicates.

    Parameters
    ----------
    texts
        The texts; None where a row was refused before it was sent.
    matrix
        float32 ``(rows, dimension)``, C-contiguous and read-only. A failed row is all NaN, never zeros.
    provenance
        Where the vectors come from.
    errors
        Row number to reason, for rows that failed.
    summary
        What the job did.
    """

    texts: Sequence[str | None]
    matrix: NDArray[np.float32]
    provenance: Provenance
    errors: Mapping[int, str]
    summary: JobSummary

    def __len__(self) -> int:
        return len(self.texts)

    def __repr__(self) -> str:
        failed = f", {len(self.errors)} failed" if self.errors else ""
        return f"Embeddings({len(self)} rows{failed}, {self.provenance})"


def finish(matrix: NDArray[np.float32], *, failed: Mapping[int, str], unit_length: bool) -> NDArray[np.float64]:
    """Mark failed rows, check all others, normalise if wanted, and close the matrix for writing.

    A last check before anything is bound: it costs one pass, and a wrong vector must never look like a right one.

    Returns
    -------
    ndarray
        The length of every row as it came, float64 ``(rows,)``.
    """
    if failed:
        matrix[list(failed)] = np.nan
    norms = np.empty(len(matrix), dtype=np.float64)
    for start in range(0, len(matrix), _BLOCK_ROWS):
        block = matrix[start : start + _BLOCK_ROWS]
        squares = np.einsum("ij,ij->i", block, block, dtype=np.float64)
        wrong = [start + int(row) for row in np.flatnonzero(~(np.isfinite(squares) & (squares > 0)))]
        unexplained = [row for row in wrong if row not in failed]
        if unexplained:
            raise VectorError(
                f"Row {unexplained[0]} came out as no usable vector (not finite, or all zeros), so nothing was bound.\n"
                "Next: run the cell with --refresh; if it stays, please report it."
            )
        lengths = norms[start : start + _BLOCK_ROWS] = np.sqrt(squares)
        if unit_length:
            # float64: a norm may be beyond float32 where no value is
            block /= np.where(abs(lengths - 1) < _UNIT_TOLERANCE, 1.0, lengths)[:, np.newaxis]
    matrix.setflags(write=False)
    return norms
