"""vn_magic's engine, the complete path: dedupe, key, cache, pace, HTTP, validation, matrix, frame.

The argument chooses the row of the table: ``none`` neither reads nor writes the cache, ``cold`` writes every text into
it, ``warm`` finds every text there, ``batches`` sends ``batch_size`` texts in a request (without the cache).
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

import vn_magic
from benchmarks.protocol import TOKEN, Embed, Job, measured, serve

OPTIONS: dict[str, dict[str, Any]] = {
    "none": {"cache": False},
    "cold": {"cache": True},
    "warm": {"cache": True},
    "batches": {"cache": False, "batch_size": 100},
}


@contextmanager
def engine(job: Job, mode: str) -> Iterator[Embed]:
    """Embed with a session of its own; the result is a frame, whose matrix is handed on."""
    with vn_magic.Session(base_url=job.base_url, token=TOKEN) as session:

        def embed(texts: list[str]) -> NDArray[np.float32]:
            frame: Any = session.embed(texts, dimension=job.dimension, concurrency=job.concurrency, **OPTIONS[mode])
            matrix: NDArray[np.float32] = frame.vec.matrix
            return matrix

        if mode == "warm":
            embed(job.texts)
        yield embed


if __name__ == "__main__":
    serve(measured(partial(engine, mode=sys.argv[1])))
