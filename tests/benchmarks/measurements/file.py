"""A Parquet file to one with vectors, all from the cache: how long it takes, and that memory does not grow with it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from types import SimpleNamespace
from typing import TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

import vn_magic
from benchmarks.bodies import variant_of, vectors
from benchmarks.machine import client_cores, pin
from benchmarks.measurements.common import options, report
from benchmarks.protocol import MODEL, TOKEN, check, peak, reset_peak, texts
from vn_magic.cache import CachedVector, EmbeddingCache, cache_folder
from vn_magic.keys import KeyRing
from vn_magic.scale.file_job import embed_file
from vn_magic.scale.table_files import TableFiles
from vn_magic.settings import Recipe

DIMENSION = 128
_AT_A_TIME = 10_000
T = TypeVar("T")


def _prepare(url: str, rows: int, tag: str) -> None:
    """Write the files to read, and put into the cache what an earlier job would have put there."""
    everything = texts(rows, tag)
    for count in _counts(rows):
        # One row group, as large as the file: a reader that took it whole would be found out.
        table = pa.table({"id": pa.array(range(count)), "text": everything[:count]})
        pq.write_table(table, f"in-{count}.parquet", row_group_size=count)
    keys = KeyRing(url, Recipe(MODEL, DIMENSION, "SEMANTIC_SIMILARITY"))
    variants, source = vectors(DIMENSION), url.partition("://")[2]
    cache = EmbeddingCache(cache_folder(os.environ))
    for start in range(0, rows, _AT_A_TIME):
        some = everything[start : start + _AT_A_TIME]
        cache.keep(CachedVector(keys.key(text), variants[variant_of(text)], source) for text in some)
    cache.close()


def _counts(rows: int) -> tuple[int, int]:
    return rows // 10, rows


def _embed(url: str, rows: int, tag: str) -> dict[str, float]:
    """Embed a file in this process, whose memory nothing else has grown."""
    target = Path(f"out-{rows}.parquet")
    watcher = SimpleNamespace(checked=_ignore, tell=_ignore, note=_ignore, draw=lambda: None)
    with vn_magic.Session(base_url=url, token=TOKEN) as session:
        request = session.prepare([], dimension=DIMENSION)
        session.run_request(request)  # loads what is loaded late
        base, start = reset_peak(), time.perf_counter()
        embed_file(session, TableFiles(Path(f"in-{rows}.parquet"), target, "text"), request, watcher)
        wall, memory = time.perf_counter() - start, peak() - base
    _check(target, texts(rows, tag))
    return {"wall": wall, "memory": memory / 1e6}


def _ignore(_news: object) -> None:
    pass


def _check(target: Path, expected: list[str]) -> None:
    start = 0
    for batch in pq.ParquetFile(target).iter_batches(_AT_A_TIME, columns=["text", "embedding"]):
        some = expected[start : start + batch.num_rows]
        if batch.column("text").to_pylist() != some:
            raise SystemExit("rows have changed places")
        check(batch.column("embedding").flatten().to_numpy().reshape(-1, DIMENSION), some, DIMENSION)
        start += batch.num_rows
    if start != len(expected):
        raise SystemExit(f"{start} rows of {len(expected)}")


def _apart(work: Callable[..., T], *arguments: object) -> T:
    """Do work in a new process, and return what it returns."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(work, *arguments).result()


def main() -> None:
    asked = options()
    pin(client_cores())
    url, rows, tag = asked["url"], asked["rows"], asked["tag"]
    _apart(_prepare, url, rows, tag)
    tenth, whole = (_apart(_embed, url, count, tag) for count in _counts(rows))
    report({**whole, "memory_of_tenth": tenth["memory"], "wall_of_tenth": tenth["wall"]})


if __name__ == "__main__":
    main()
