"""What a magic says of a collection that is not computed yet."""

from __future__ import annotations

from vn_magic.embeddings import Provenance
from vn_magic.wording import counted


def bound_line(name: str, partitions: int, provenance: Provenance) -> str:
    """Return one line that says what is bound to a name, and that it is still to come."""
    return f"{_head(name, partitions, provenance)}; nothing is sent before Dask computes it"


def dry_run_line(partitions: int, provenance: Provenance) -> str:
    """Return what can be said of a collection without computing it."""
    head = _head("dry run", partitions, provenance)
    return f"{head}; nothing was sent. Rows and tokens are known only when it is computed"


def _head(name: str, partitions: int, provenance: Provenance) -> str:
    return f"{name}   lazy, {counted(partitions, 'partition')}   {provenance}"
