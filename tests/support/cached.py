"""Rows for a cache, and what of them is on disk."""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path

import numpy as np

from vn_magic.cache import FILE_NAME, CachedVector
from vn_magic.cache_thread import CacheThread
from vn_magic.keys import CacheKey


def row(number: int, dimension: int = 4) -> CachedVector:
    return CachedVector(CacheKey(b"%d" % number, dimension), np.full(dimension, number, np.float32), "source")


def rows_on_disk(folder: Path) -> int:
    """What a connection of somebody else sees."""
    path = folder / FILE_NAME
    if not path.exists():
        return 0
    db = sqlite3.connect(path)
    try:
        count: int = db.execute("SELECT count(*) FROM embeddings").fetchone()[0]
    except sqlite3.OperationalError:  # the table is about to be made
        return 0
    finally:
        db.close()
    return count


def held_up(cache: CacheThread) -> threading.Event:
    """Occupy the thread until the event is set."""
    free = threading.Event()
    cache._run(lambda _: free.wait(20))
    return free
