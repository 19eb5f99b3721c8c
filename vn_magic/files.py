"""Frames with vectors to files and back, losing nothing: Parquet, npz, CSV."""

from __future__ import annotations

import csv
import io
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import pandas as pd

from vn_magic.cells import Note, as_texts, from_texts, series_of, texts_of
from vn_magic.embeddings import Provenance
from vn_magic.exceptions import InputError
from vn_magic.frames import ATTRS_KEY, column_of, matrix_of, provenance_of, state_provenance

if sys.platform != "win32":
    import fcntl

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
        When the ending is another, pyarrow is missing, there is no such folder, or a column would not come back
        from the file as it was.
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
    try:
        with whole_file(path) as file:
            write(frame, note, file)
    except InputError:
        raise
    except OSError as error:
        raise InputError(
            f"{path.name!r} cannot be written there: {error.strerror}.\nNext: choose a folder that exists."
        ) from None
    except (ValueError, TypeError, NotImplementedError) as error:
        reason = "; ".join(map(str, error.args))
        raise InputError(
            f"{path.name!r} cannot be written: {reason}.\nNext: drop or convert that column, or choose another ending."
        ) from None
    return path


@contextmanager
def whole_file(path: Path) -> Iterator[io.BufferedWriter]:
    """Open a file for writing that is complete or absent: it is written beside, and moved when all went well.

    Raises
    ------
    InputError
        When somebody else is just writing it, in this process or another.
    """
    beside = path.with_name(f".{path.name}.part")
    with _held_alone(beside) as file:
        # Moved, and removed, while it is held, so that it is never another's; Windows does neither to an open file.
        try:
            yield file
            file.flush()
            if sys.platform == "win32":
                file.close()
            beside.replace(path)
        except BaseException:
            with suppress(OSError):
                if sys.platform == "win32":
                    file.close()
                beside.unlink()
            raise


def _held_alone(path: Path) -> io.BufferedWriter:
    """Open a file for writing, empty, that nobody else opens in this way until it is closed, or its writer killed."""
    while True:
        # Not emptied by opening it: it may be another's.
        file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o666), "wb")
        if sys.platform != "win32":
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.close()
                raise InputError(
                    f"{path.name[1:].removesuffix('.part')!r} is just being written by another run.\n"
                    "Next: wait until it is done, or choose another name."
                ) from None
            except OSError:
                pass  # a file system without locks
        if _leads_to(path, file):
            file.truncate()
            return file
        file.close()  # its writer was done in between, and has moved it


def _leads_to(path: Path, file: io.BufferedWriter) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False


def load(path: str | Path) -> pd.DataFrame:
    """Read a frame that ``df.vec.save`` wrote: the same rows, index, vectors (bit for bit) and provenance.

    Parameters
    ----------
    path
        A ``.parquet``, ``.npz`` or ``.csv`` file.

    Returns
    -------
    DataFrame
        As it was saved. When and by which version stands in the file alone: in ``attrs`` it would make two files of
        one kind unequal, and pandas would drop the provenance when they are joined.

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
        if note["format"] != _FORMAT:
            raise ValueError(f"it is of format {note['format']}, and this version reads format {_FORMAT}")  # noqa: TRY301
        column = str(note["column"])
        frame[column] = column_of(matrix_of(frame[column]), frame.index)
        frame.attrs = {}
        state_provenance(frame, column, Provenance.from_json(note["provenance"]))
    except FileNotFoundError:
        raise InputError(f"There is no file {path.name!r} there.\nNext: check the path and the folder.") from None
    except InputError:
        raise
    except (LookupError, ValueError, TypeError, OSError, EOFError, BadZipFile) as error:
        reason = "it has no note by df.vec.save" if isinstance(error, LookupError) else str(error).rstrip(".")
        raise InputError(
            f"{path.name!r} cannot be read as a file of vectors: {reason}.\n"
            "Next: load a file that df.vec.save wrote; others are read with pandas, and their provenance stated."
        ) from None
    return frame


# Types that Arrow may give back as others: texts among objects, and categories that are numbers.
_LOST_BY_ARROW = ("object", "category")

Writer = Callable[[pd.DataFrame, Note, io.BufferedWriter], None]
Reader = Callable[[io.BufferedReader], tuple[pd.DataFrame, Note]]


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
    # The provenance stands where `pandas.read_parquet` alone leaves it for `df.vec`, too.
    kinds = [texts_of(frame.iloc[:0, at])[1] for at in range(frame.shape[1])]
    noted.attrs = {ATTRS_KEY: {note["column"]: note["provenance"]}, SAVED_KEY: {**note, "kinds": kinds}}
    noted.to_parquet(file, engine="pyarrow")


def _read_parquet(file: io.BufferedReader) -> tuple[pd.DataFrame, Note]:
    _need_pyarrow()
    frame = pd.read_parquet(file, engine="pyarrow")
    note: Note = frame.attrs[SAVED_KEY]
    for name, kind in zip(frame.columns, note["kinds"], strict=True):
        found = frame[name]
        if kind["dtype"] in _LOST_BY_ARROW and found.dtype != (dtype := series_of([], kind).dtype):
            frame[name] = found.astype(object).where(found.notna(), None).astype(dtype)
    return frame, note


def _need_pyarrow() -> None:
    if find_spec("pyarrow") is None:
        raise InputError(
            "Parquet needs pyarrow, which is not installed.\n"
            'Next: pip install "vn_magic[parquet]", or save as .npz, which needs nothing.'
        )


def _write_npz(frame: pd.DataFrame, note: Note, file: io.BufferedWriter) -> None:
    place, others = _without_vectors(frame, note)
    layout, cells = as_texts(others)
    header, body = (
        np.frombuffer(json.dumps(part).encode(), dtype=np.uint8)
        for part in ({**note, "place": place, "layout": layout}, cells)
    )
    np.savez(file, matrix=matrix_of(_vectors(frame, note)), header=header, others=body)


def _read_npz(file: io.BufferedReader) -> tuple[pd.DataFrame, Note]:
    with np.load(file, allow_pickle=False) as arrays:
        note: Note = json.loads(arrays["header"].tobytes())
        frame = from_texts(note["layout"], json.loads(arrays["others"].tobytes()))
        frame.insert(note["place"], note["column"], column_of(arrays["matrix"], frame.index))
    return frame, note


def _write_csv(frame: pd.DataFrame, note: Note, file: io.BufferedWriter) -> None:
    if frame.empty:
        raise ValueError("without rows a CSV has no place for the provenance")
    place, others = _without_vectors(frame, note)
    layout, cells = as_texts(others)
    matrix = matrix_of(_vectors(frame, note))
    # Nine significant digits are enough to give back every float32.
    digits = "[" + ",".join(["%.9g"] * matrix.shape[1]) + "]"
    vectors = (digits % tuple(row.tolist()) for row in matrix)
    columns: list[Iterable[str | None]] = [*cells]
    columns.insert(frame.index.nlevels + place, vectors)
    # The note stands in a column of its own, so that it travels with every part of the file.
    remark = json.dumps({**note, "place": place, "layout": layout})
    text = io.TextIOWrapper(file, encoding="utf-8", newline="")
    # All in quotes: unquoted, a lone carriage return in a text would end the row.
    writer = csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_ALL)
    writer.writerow([*frame.index.names, *frame.columns, SAVED_KEY])
    writer.writerows((*row, remark) for row in zip(*columns, strict=True))
    text.detach()  # it would close the file


def _read_csv(file: io.BufferedReader) -> tuple[pd.DataFrame, Note]:
    # Read as text first: only the note knows which columns are numbers and which are codes with leading zeros.
    table = pd.read_csv(file, dtype=str, keep_default_na=False, na_values=[""], index_col=False)
    note: Note = json.loads(table[SAVED_KEY].iloc[0])
    cells = [
        [cell if isinstance(cell, str) else None for cell in table.iloc[:, at]] for at in range(table.shape[1] - 1)
    ]
    vectors = cells.pop(len(note["layout"]["levels"][0]) + note["place"])
    matrix = np.stack([np.array(str(cell)[1:-1].split(","), dtype=np.float32) for cell in vectors])
    frame = from_texts(note["layout"], cells)
    frame.insert(note["place"], note["column"], column_of(matrix, frame.index))
    return frame, note


def _vectors(frame: pd.DataFrame, note: Note) -> pd.Series[Any]:
    return frame[str(note["column"])]


def _without_vectors(frame: pd.DataFrame, note: Note) -> tuple[int, pd.DataFrame]:
    place = list(frame.columns).index(note["column"])
    return place, frame.drop(columns=[note["column"]])
