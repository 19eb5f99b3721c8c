"""Vectors of a session, or of frames, to a pack."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from itertools import chain
from pathlib import Path

import msgspec
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from vn_magic.classroom.recorded_rows import Row, rows_of_frame, rows_of_session
from vn_magic.exceptions import InputError, PackError
from vn_magic.explore.labels import shortened
from vn_magic.files import whole_file
from vn_magic.likeness import shown
from vn_magic.models import OFFLINE_MODEL
from vn_magic.pack_format import Group, Manifest, Recording, makers_of_one_kind, packed, text_with_two_vectors, unpacked
from vn_magic.session import OFFLINE_NOTICE, Session

SUFFIX = ".vnpack"
NO_LICENCE = "not stated"


@dataclass(frozen=True, slots=True, eq=False)
class Saved:
    """A pack that was written.

    Parameters
    ----------
    path
        Where it is.
    manifest
        What it says of itself.
    missing
        Texts of the session that neither its cache nor its pack has any more, so that they were left out.
    """

    path: Path
    manifest: Manifest
    missing: int = 0


def save_session(session: Session, path: Path, *, licence: str = NO_LICENCE) -> Saved:
    """Write all that a session has embedded into a pack, queries included, as the service sent it.

    Raises
    ------
    InputError
        When there is nothing to write, more than a session remembers, or several vectors for one text.
    PackError
        When a text holds what looks like a token, or the file cannot be written.
    """
    if session.history.overflowed:
        raise InputError(
            "This session has embedded more texts than it remembers, so it is not known which belong to the lesson.\n"
            "Next: name the frames after the file, or restart the kernel and run the lesson alone."
        )
    rows, missing = session.run(rows_of_session(session))
    return _write(session, rows, path, licence, missing)


def save_frames(
    session: Session,
    frames: Mapping[str, pd.DataFrame],
    path: Path,
    *,
    column: str | None = None,
    licence: str = NO_LICENCE,
) -> Saved:
    """Write the texts and vectors of frames into a pack; failed rows are left out.

    Where the session has embedded a frame's texts, they are written as the service sent them. Other frames know
    neither title nor raw vectors: theirs answer as they are.

    Parameters
    ----------
    frames
        By name; each with one column of vectors.
    column
        The column of the texts; None finds the one that the session has embedded.

    Raises
    ------
    InputError
        When it is not known which texts the vectors belong to, or as `save_session`.
    PackError
        As `save_session`.
    ProvenanceError
        When it is lost where a frame's vectors come from.
    """
    known, _ = session.run(rows_of_session(session))
    rows = chain.from_iterable(rows_of_frame(name, frame, column, known, session) for name, frame in frames.items())
    return _write(session, list(rows), path, licence)


def _write(session: Session, rows: Sequence[Row], path: Path, licence: str, missing: int = 0) -> Saved:
    if path.suffix != SUFFIX:
        raise InputError(
            f"A pack's name ends in {SUFFIX}, and this one's is {path.name!r}.\nNext: {path.stem}{SUFFIX}."
        )
    if not rows:
        why = f": the cache has none of this session's {missing:,} texts (any more)" if missing else ""
        raise InputError(f"There are no vectors to record{why}.\nNext: embed the texts first, without --no-cache.")
    recordings = _recordings(rows)
    _check_no_token(session, recordings, licence)
    data = packed(
        recordings,
        made_by=f"vn_magic {version('vn_magic')}",
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        licence=licence,
        notices=[OFFLINE_NOTICE] if any(each.group.source == OFFLINE_MODEL for each in recordings) else [],
    )
    manifest, _ = unpacked(path.name, data)
    try:
        with whole_file(path) as file:
            file.write(data)
    except OSError as error:
        raise PackError(
            f"{path.name!r} cannot be written there: {error.strerror}.\n"
            "Next: choose a folder that is there and can be written."
        ) from None
    return Saved(path, manifest, missing)


def _recordings(rows: Sequence[Row]) -> Sequence[Recording]:
    """Return rows by their groups, each text once; refuse what a pack could answer with one of two vectors."""
    groups: dict[Group, dict[str, NDArray[np.float32]]] = {}
    for row in rows:
        first = groups.setdefault(row.group, {}).setdefault(row.text, row.vector)
        if first is not row.vector and not np.array_equal(first, row.vector):
            raise _two_vectors(row.text)
    if makers := makers_of_one_kind(groups):
        raise InputError(
            f"There are vectors of {' and of '.join(makers)} for one model and task, and a pack cannot tell whose "
            "answer.\nNext: name frames with those of one, or restart the kernel and run the lesson with one alone."
        )
    recordings = [
        Recording(msgspec.structs.replace(group, rows=len(vectors)), list(vectors), np.stack(list(vectors.values())))
        for group, vectors in groups.items()
    ]
    if (text := text_with_two_vectors(recordings)) is not None:
        raise _two_vectors(text)
    return recordings


def _two_vectors(text: str) -> InputError:
    return InputError(
        f"{shown(text)!r} has two vectors for one model, task and title, and a pack cannot tell which of them answers."
        "\nNext: name frames that have one of them."
    )


def _check_no_token(session: Session, recordings: Sequence[Recording], licence: str) -> None:
    words = [
        licence,
        *(f"{each.group.model} {each.group.title}" for each in recordings),
        *(text for each in recordings for text in each.texts),
    ]
    suspicious = [masked for word in words if (masked := session.tokens.scrub(word)) != word]
    if suspicious:
        raise PackError(
            f"{len(suspicious)} of the texts hold what looks like a token, e.g. {shortened(suspicious[0])!r}. "
            "Nothing was written: a pack is made to be given away.\n"
            "Next: leave these texts out; a token that was really there is to be rotated."
        )
