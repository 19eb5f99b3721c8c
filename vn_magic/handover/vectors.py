"""What is handed over: rows of a frame with their vectors."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from vn_magic.embeddings import Provenance


@dataclass(frozen=True, slots=True, eq=False)
class Vectors:
    """A frame, taken apart.

    Parameters
    ----------
    frame
        As the user has it.
    column
        Which of its columns holds the vectors.
    matrix
        The vectors, float32 ``(rows, dimension)``; a failed row is NaN.
    provenance
        Where they come from.
    """

    frame: pd.DataFrame
    column: Hashable
    matrix: NDArray[np.float32]
    provenance: Provenance
