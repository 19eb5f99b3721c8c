"""A job whose texts are all in the cache: how long it takes and what memory it needs, bound as a frame.

The cache was filled by the measurement of the card, whose texts these are.
"""

from __future__ import annotations

import time
from typing import Any

import vn_magic
from benchmarks.machine import client_cores, pin
from benchmarks.measurements.common import options, report
from benchmarks.protocol import TOKEN, check, peak, reset_peak, texts


def main() -> None:
    asked = options()
    pin(client_cores())
    rows = texts(asked["rows"], asked["texts_of"])
    with vn_magic.Session(base_url=asked["url"], token=TOKEN) as session:
        session.embed(rows[:8], dimension=768)
        base = reset_peak()
        start = time.perf_counter()
        frame: Any = session.embed(rows, dimension=768)
        wall = time.perf_counter() - start
        above = peak() - base
        check(frame.vec.matrix, rows, 768)
    report({"wall": wall, "memory": above / 1e6, "matrix": frame.vec.matrix.nbytes / 1e6})


if __name__ == "__main__":
    main()
