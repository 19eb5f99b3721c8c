"""What goes into a pack: the rows of a session as the service sent them, and those of frames."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Mapping, Sequence
from itertools import chain
from typing import NamedTuple

import msgspec
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from vn_magic.accessor import VectorAccessor
from vn_magic.cache import CachedVector
from vn_magic.candidates import text_columns
from vn_magic.embeddings import Provenance, finish
from vn_magic.exceptions import InputError
from vn_magic.keys import KeyRing
from vn_magic.likeness import shown
from vn_magic.lookup import Origin
from vn_magic.models import OFFLINE_MODEL, serves_prefixes
from vn_magic.pack_format import Group
from vn_magic.session import Session
from vn_magic.settings import Recipe, origin_of
from vn_magic.texts import problem_of


class Row(NamedTuple):
    """A vector on its way into a pack, float32 ``(length,)``; its group counts no rows yet."""

    group: Group
    text: str
    vector: NDArray[np.float32]


async def rows_of_session(session: Session) -> tuple[list[Row], int]:
    """Return what is left of the session's history, in its cache or else in its pack, and how many texts are not."""
    in_use = session.pack
    rows: list[Row] = []
    missing = 0
    for origin, recipe, texts in session.history:
        kept = [text for text, is_kept in texts.items() if is_kept]
        # Not where nothing was kept: a session that a pack alone answers opens no cache.
        cached = await _cached(session, origin, recipe, kept) if kept else {}
        for text in texts:
            if (there := cached.get(text)) is not None:
                rows.append(Row(_group(origin, recipe, there), text, there.vector))
            elif in_use is not None and (recorded := in_use.pack.find(text, recipe)) is not None:
                rows.append(Row(msgspec.structs.replace(recorded.group, rows=0), text, recorded.vector))
            else:
                missing += 1
    return rows, missing


async def _cached(session: Session, origin: Origin, recipe: Recipe, texts: Sequence[str]) -> Mapping[str, CachedVector]:
    keys = KeyRing(origin.key, recipe)
    found: dict[str, CachedVector] = {}

    def deliver(at: int, cached: CachedVector) -> None:
        found[texts[at]] = cached

    await session.runtime.cache.look_up([keys.key(text) for text in texts], deliver, prefixes=serves_prefixes(recipe))
    return found


def _group(origin: Origin, recipe: Recipe, cached: CachedVector) -> Group:
    return Group(
        model=recipe.model,
        task_type=recipe.task_type,
        title=recipe.title,
        dimension=len(cached.vector),
        source=cached.source,
        # Without its path: that may name an account.
        origin=origin_of(origin.key) if "://" in origin.key else origin.key,
        unit_length=False,
        rows=0,
    )


def rows_of_frame(
    name: str, frame: pd.DataFrame, column: str | None, known: Sequence[Row], session: Session
) -> Sequence[Row]:
    """Return the rows of a frame that have a vector.

    Parameters
    ----------
    name
        What the frame is called, for errors.
    frame
        With one column of vectors.
    column
        The one of its texts; None for the one that was embedded.
    known
        The session's own rows. Where a frame has a vector of theirs, bit for bit, they stand for it: they are as the
        service sent them, and know their titles.
    session
        Knows for which model the stand-in is asked.

    Raises
    ------
    InputError
        When it is not known which texts the vectors belong to, or they belong to others than the column's.
    ProvenanceError
        When it is lost where the vectors come from.
    """
    vectors = VectorAccessor(frame)
    provenance, matrix = vectors.provenance, vectors.matrix
    whole = np.flatnonzero(np.isfinite(matrix).all(axis=1))
    if not len(whole):
        return []
    same = _rows_with_same_vectors(matrix[whole], provenance, known)
    columns = [column] if column is not None else text_columns(frame)
    for each in columns:
        texts = frame[_named(frame, each)].iloc[whole].tolist()
        found = [rows.get(text, []) if isinstance(text, str) else [] for text, rows in zip(texts, same, strict=True)]
        if all(found):
            return list(chain.from_iterable(found))
    if column is None:
        overflowed = session.history.overflowed
        why = "it has embedded more texts than it remembers" if overflowed else "it has not embedded them"
        raise InputError(
            f"This session does not know which texts the vectors of {name} were made from: {why}.\n"
            f"Next: name their column, e.g. `%vn pack save FILE {name} -c {(columns or ['text'])[0]}`."
        )
    rows: list[Row] = []
    for at, text, mine, others in zip(whole.tolist(), texts, found, same, strict=True):
        if not mine:
            _check_text(text, name, column, at, others)
            _check_title(name, provenance)
            mine = [Row(_group_of_frame(provenance, session), text, matrix[at])]  # noqa: PLW2901 - else its own
        rows += mine
    return rows


def _rows_with_same_vectors(
    matrix: NDArray[np.float32], provenance: Provenance, known: Sequence[Row]
) -> Sequence[Mapping[str, Sequence[Row]]]:
    """Return for each vector the known rows that have it, by their texts."""
    length = provenance.dimension
    alike = [row for row in known if _may_be(row.group, provenance) and row.vector[:length].any()]
    by_vector: dict[bytes, dict[str, list[Row]]] = {}
    if alike:
        cut = np.stack([row.vector[:length] for row in alike])
        finish(cut, failed={}, unit_length=provenance.unit_length)
        for row, vector in zip(alike, cut, strict=True):
            by_vector.setdefault(vector.tobytes(), {}).setdefault(row.text, []).append(row)
    return [by_vector.get(vector.tobytes(), {}) for vector in matrix]


def _may_be(group: Group, provenance: Provenance) -> bool:
    model = OFFLINE_MODEL if group.source == OFFLINE_MODEL else group.model
    same = (group.source, model, group.task_type) == (provenance.source, provenance.model, provenance.task_type)
    return same and group.dimension >= provenance.dimension


def _group_of_frame(provenance: Provenance, session: Session) -> Group:
    return Group(
        # Of the stand-in's vectors a frame says whose they are, not for which model they were asked.
        model=session.settings.model if provenance.model == OFFLINE_MODEL else provenance.model,
        task_type=provenance.task_type,
        title=None,
        dimension=provenance.dimension,
        source=provenance.source,
        origin="",
        unit_length=provenance.unit_length,
        rows=0,
    )


def _check_text(text: object, name: str, column: str, row: int, others: Collection[str]) -> None:
    """Refuse what can have no vector, and a text whose vector is known to be another text's."""
    if problem := problem_of(text):
        raise InputError(f"Row {row} of {name} has a vector, but its {column!r} is {problem}.\nNext: drop that row.")
    if others:
        raise InputError(
            f"The vectors of {name} were not made from {column!r}: row {row} has that of {shown(next(iter(others)))!r}."
            "\nNext: name the column that was embedded, or embed these texts in this session first."
        )


def _check_title(name: str, provenance: Provenance) -> None:
    """Refuse documents whose title is not known: with it they would answer for themselves without."""
    if provenance.task_type == "RETRIEVAL_DOCUMENT":
        raise InputError(
            f"It is not known whether the documents of {name} were embedded with a title: a frame does not say so.\n"
            "Next: embed these texts in this session first (what the cache has is not sent again), then save."
        )


def _named(frame: pd.DataFrame, column: str) -> Hashable:
    found: list[Hashable] = [name for name in frame.columns if str(name) == column]
    if len(found) != 1:
        raise InputError(
            f"There is no column {column!r}, or several; the frame has {', '.join(map(str, frame.columns))}.\n"
            "Next: name the one of the texts, or rename them apart."
        )
    return found[0]
