"""Frames with vectors to files and back, losing nothing: Parquet, npz, CSV."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from vn_magic.embeddings import Provenance
from vn_magic.exceptions import InputError
from vn_magic.frames import column_of, matrix_of, provenance_of, state_provenance

# Beside the provenance, which is identity, a file notes what made it and when.
SAVED_KEY = "vn_magic_saved"
_FORMAT = 1


def save(frame: pd.DataFrame, column: str, path: Path) -> Path:
    """Write a frame with one column of vectors; the ending of the path chooses the format.

    ``.parquet`` needs pyarrow and is what other tools read best. ``.npz`` needs nothing: the matrix, and the other
    columns as JSON; no pickle is in it. ``.csv`` writes every digit that float32 has, where ``to_csv`` would cut.

    Returns
    -------
    Path
        Where it was written. The file is complete or absent: it is written beside and then moved.

    Raises
    ------
    InputError
        When the ending is another, or pyarrow is missing.
    ProvenanceError
        When it is lost where the vectors come from.
    """
    provenance = provenance_of(frame, column)
    write = _format_of(path)[0]
    note = {
        "format": _FORMAT,
        "column": column,
        "provenance": provenance.as_json(),
        "version": version("vn_magic"),
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    beside = path.with_name(f".{path.name}.part")
    try:
        with beside.open("wb") as file:
            write(frame, note, file)
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
    return path


def load(path: str | Path) -> pd.DataFrame:
    """Read a frame that ``df.vec.save`` wrote: the same rows, index, vectors (bit for bit) and provenance.

    Parameters
    ----------
    path
        A ``.parquet``, ``.npz`` or ``.csv`` file.

    Returns
    -------
    DataFrame
        ``attrs["vn_magic_saved"]`` holds the version and time of saving. A CSV cannot tell an empty text from a
        missing one: both come back as missing.

    Raises
    ------
    InputError
        When the file is not there, or was not written by ``df.vec.save``.
    """
    path = Path(path)
    read = _format_of(path)[1]
    try:
        with path.open("rb") as file:
            frame, note = read(file)
        _check_format(note)
        column = str(note["column"])
        frame[column] = column_of(matrix_of(frame[column]), frame.index)
        frame.attrs = {SAVED_KEY: {"version": note["version"], "time": note["time"]}}
        state_provenance(frame, column, Provenance.from_json(note["provenance"]))
    except FileNotFoundError:
        raise InputError(f"There is no file {path.name!r} there.\nNext: check the path and the folder.") from None
    except (KeyError, ValueError, TypeError, OSError) as error:
        raise InputError(
            f"{path.name!r} cannot be read as a file of vectors: {error}.\n"
            "Next: load a file that df.vec.save wrote; others are read with pandas, and their provenance stated."
        ) from None
    return frame


Note = dict[str, Any]
Writer = Callable[[pd.DataFrame, Note, io.BufferedWriter], None]
Reader = Callable[[io.BufferedReader], tuple[pd.DataFrame, Note]]


def _column(frame: pd.DataFrame, note: Note) -> pd.Series[Any]:
    return frame[str(note["column"])]


def _check_format(note: Note) -> None:
    if note["format"] != _FORMAT:
        raise ValueError(f"it is of format {note['format']}, and this version reads format {_FORMAT}")


def _format_of(path: Path) -> tuple[Writer, Reader]:
    formats: dict[str, tuple[Writer, Reader]] = {
        ".parquet": (_write_parquet, _read_parquet),
        ".npz": (_write_npz, _read_npz),
        ".csv": (_write_csv, _read_csv),
    }
    if path.suffix.lower() not in formats:
        raise InputError(f"The ending {path.suffix!r} is not known; use one of {', '.join(formats)}.")
    return formats[path.suffix.lower()]


def _write_parquet(frame: pd.DataFrame, note: Note, file: io.BufferedWriter) -> None:
    _need_pyarrow()
    noted = frame.copy(deep=False)
    noted.attrs = {SAVED_KEY: note}
    noted.to_parquet(file, engine="pyarrow")


def _read_parquet(file: io.BufferedReader) -> tuple[pd.DataFrame, Note]:
    _need_pyarrow()
    frame = pd.read_parquet(file, engine="pyarrow")
    return frame, frame.attrs[SAVED_KEY]


def _need_pyarrow() -> None:
    if find_spec("pyarrow") is None:
        raise InputError(
            "Parquet needs pyarrow, which is not installed.\n"
            'Next: pip install "vn_magic[parquet]", or save as .npz, which needs nothing.'
        )


def _write_npz(frame: pd.DataFrame, note: Note, file: io.BufferedWriter) -> None:
    others = frame.drop(columns=[note["column"]])
    place = list(frame.columns).index(note["column"])
    others.attrs = {}
    header = json.dumps({**note, "place": place})
    np.savez(
        file,
        matrix=matrix_of(_column(frame, note)),
        header=np.frombuffer(header.encode(), dtype=np.uint8),
        others=np.frombuffer(others.to_json(orient="table", force_ascii=False).encode(), dtype=np.uint8),
    )


def _read_npz(file: io.BufferedReader) -> tuple[pd.DataFrame, Note]:
    with np.load(file, allow_pickle=False) as arrays:
        note: Note = json.loads(arrays["header"].tobytes())
        frame = pd.read_json(io.StringIO(arrays["others"].tobytes().decode()), orient="table", precise_float=True)
        frame.insert(note["place"], note["column"], column_of(arrays["matrix"], frame.index))
    return frame, note


def _write_csv(frame: pd.DataFrame, note: Note, file: io.BufferedWriter) -> None:
    # The note stands in a column of its own, so that it travels with every copy of the file.
    note = {**note, "types": [str(kind) for kind in frame.dtypes], "index": str(frame.index.dtype)}
    written = frame.copy(deep=False)
    # Nine significant digits are enough to give back every float32.
    vectors = ("[" + ",".join(f"{value:.9g}" for value in vector) + "]" for vector in matrix_of(_column(frame, note)))
    written[note["column"]] = list(vectors)
    written[SAVED_KEY] = json.dumps(note)
    written.to_csv(file, index=True, index_label="", encoding="utf-8", lineterminator="\n", float_format="%.17g")


def _read_csv(file: io.BufferedReader) -> tuple[pd.DataFrame, Note]:
    # Read as text first: only the note knows which columns are numbers and which are codes with leading zeros.
    frame = pd.read_csv(file, index_col=0, dtype=str, keep_default_na=False, na_values=[""])
    note: Note = json.loads(frame[SAVED_KEY].iloc[0])
    frame = frame.drop(columns=[SAVED_KEY])
    for name, kind in zip(list(frame.columns), note["types"], strict=True):
        if name == note["column"]:
            vectors = [np.array(json.loads(cell), dtype=np.float32) for cell in frame[name]]
            frame[name] = column_of(np.stack(vectors), frame.index)
        elif kind == "bool":
            frame[name] = frame[name] == "True"
        elif kind not in ("object", "str", "string"):
            frame[name] = frame[name].astype(kind)
    if note["index"] not in ("object", "str", "string"):
        frame.index = frame.index.astype(note["index"])
    frame.index.name = None
    return frame, note
