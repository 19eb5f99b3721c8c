"""A table of LanceDB."""

from __future__ import annotations

import os
from collections.abc import Awaitable
from inspect import isawaitable
from pathlib import Path
from typing import Any

from vn_magic.exceptions import InputError
from vn_magic.handover.arrow import to_arrow
from vn_magic.handover.neighbour import installed, refusals
from vn_magic.handover.vectors import Vectors

_CURE = 'correct that name or option (mode="overwrite" replaces a table), or rename that column.'


def to_lance(
    vectors: Vectors,
    database: Any,  # noqa: ANN401 - LanceDB's own connection has no types
    name: str,
    options: dict[str, Any],
) -> Any:  # noqa: ANN401 - LanceDB's own Table; it has no types
    """Return the frame as a table of a LanceDB database; see ``df.vec.to_lance``."""
    # LanceDB would warn on stderr when there is nothing yet to overwrite. It reads this once, when it is imported.
    os.environ.setdefault("LANCEDB_LOG", "error")
    with installed("LanceDB", "lance"):
        import lancedb  # noqa: PLC0415 - paid for by those who use it

    # The index as a column, also a plain range: a search returns rows in another order, and pyarrow would then number
    # them from the range's start, as if they were the first rows.
    table = to_arrow(vectors, preserve_index=True)
    if isinstance(database, str | Path):
        with refusals("LanceDB", "check the folder or address."):
            database = lancedb.connect(database)
    if not hasattr(database, "create_table"):
        raise InputError(f"to_lance: expected a folder or a connection of LanceDB, not {type(database).__name__}.")
    with refusals("LanceDB", _CURE):
        # LanceDB takes a missing vector for one of another length unless it is told to keep it as missing.
        made = database.create_table(name, data=table, **{"on_bad_vectors": "null", **options})
    return _awaited(made) if isawaitable(made) else made


async def _awaited(table: Awaitable[Any]) -> Any:  # noqa: ANN401 - as above
    with refusals("LanceDB", _CURE):
        return await table
