"""A ``.npy`` file that NumPy maps into memory, and a note of its origin beside it."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from vn_magic.embeddings import Provenance
from vn_magic.exceptions import InputError
from vn_magic.explore.similarity import row_chunks
from vn_magic.files import whole_file
from vn_magic.handover.note import note_of


def to_memmap(
    path: Path, matrix_of: Callable[[slice], NDArray[np.float32]], count: int, origin: tuple[str, Provenance]
) -> np.memmap[Any, np.dtype[np.float32]]:
    """Write vectors some rows at a time, and map the file; see ``df.vec.to_memmap``.

    Parameters
    ----------
    path
        Where to; a file that is there already is replaced when the new one is complete.
    matrix_of
        Gives the vectors of some rows, float32 ``(rows, dimension)``.
    count
        How many rows there are.
    origin
        The name of the column and its provenance, for the note.
    """
    if path.suffix.lower() != ".npy":
        raise InputError(f"The ending {path.suffix!r} is not known; a memmap is a .npy file.")
    dimension = origin[1].dimension
    beside = path.with_name(f"{path.name}.json")
    header = {
        "descr": npy.dtype_to_descr(np.dtype(np.float32)),
        "fortran_order": False,
        "shape": (count, dimension),
    }
    note = {
        **note_of(*origin),
        "rows": count,
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    try:
        with whole_file(path) as file:
            npy.write_array_header_1_0(file, header)
            for part in row_chunks(count, dimension):
                file.write(matrix_of(part).data)
            # Between two moves a file may stand without a note, but never with that of another.
            with suppress(FileNotFoundError):
                beside.unlink()
        with whole_file(beside) as file:
            file.write(json.dumps(note, indent=2, ensure_ascii=False).encode())
        mapped: np.memmap[Any, np.dtype[np.float32]] = np.load(path, mmap_mode="r")
    except OSError as error:
        raise InputError(
            f"{path.name!r} cannot be written there: {error.strerror or error}.\nNext: choose a folder that exists."
        ) from None
    return mapped
