"""A Dask collection of texts to a lazy collection of vectors: what the process does that has the session.

Nothing is sent from here and no token is needed: the graph carries plain values (`PartitionJob`), and whoever computes
it finds a token of its own. What can be found out without a row is found out here, at once.
"""

from __future__ import annotations

import sys
from typing import Any, Unpack

import numpy as np
import pandas as pd

from vn_magic.embeddings import Embeddings
from vn_magic.exceptions import InputError, RequirementError
from vn_magic.pack import PACK_VARIABLE
from vn_magic.progress import JobSummary
from vn_magic.request import EmbedOptions, Request, Vectors
from vn_magic.scale.partition import PartitionJob, embed_partition
from vn_magic.scale.sessions import expected_provenance, has_budget
from vn_magic.session import Session
from vn_magic.settings import JobOptions, OnError, check_transport_is_private

# numpy's letters for what is never a text.
_NUMBERS = "biufcmM"
_NO_ROWS = JobSummary(
    rows=0,
    new=0,
    cached=0,
    failed=0,
    duplicates=0,
    requests=0,
    retries=0,
    concurrency=0,
    tokens=0,
    tokens_estimated=False,
    seconds=0.0,
)


def embed_lazily(session: Session, data: Any, **options: Unpack[EmbedOptions]) -> Vectors:  # noqa: ANN401 - dask has no types
    """Return what `vn_magic.embed` gives for a Dask collection: see `settled` and `collection_of`."""
    return session.guard(lambda: collection_of(session, data, settled(session, data, **options), options.get("column")))


def settled(session: Session, data: Any, **options: Unpack[EmbedOptions]) -> Request:  # noqa: ANN401 - as above
    """Check everything that can be checked before there are rows.

    Parameters
    ----------
    session
        Whose settings are in force from now on, whatever becomes of the session.
    data
        A Dask Series, or a Dask DataFrame with ``column``.
    options
        Those of `vn_magic.embed`.

    Returns
    -------
    Request
        For the empty frame or Series that stands for the partitions.

    Raises
    ------
    InputError
        When the collection is of another kind, or the request is of no use, or is limited in a way that several
        processes cannot keep.
    SettingsError
        When a value is impossible, or the token would travel in the clear.
    RequirementError
        When `vn_magic.require` has failed, and nothing has been changed since about who answers.
    """
    if session.unmet:
        raise RequirementError(session.unmet)
    _check_kind(data)
    from dask.dataframe.dispatch import make_meta  # noqa: PLC0415 - a Bag comes without it

    meta = make_meta(data)  # type: ignore[no-untyped-call]  # dask has no types
    request = session.prepare(meta, **options)
    _check_dtype(meta, request.options.on_error, options.get("column"))
    _check_limits(session, request.options)
    return request


def collection_of(session: Session, data: Any, request: Request, column: str | None) -> Vectors:  # noqa: ANN401 - as above
    """Return the lazy collection, one partition for each of the data's; their index and divisions are kept.

    Returns
    -------
    dask DataFrame or dask Array
        By the request's ``result``; the array is float32, and knows the length of its chunks only when it is computed.
    """
    expected = expected_provenance(session, request.recipe)
    job = PartitionJob.of(session, request, expected, column)
    nothing = np.empty((0, request.recipe.dimension), dtype=np.float32)
    meta = request.shaped(Embeddings([], nothing, expected, {}, _NO_ROWS))
    if not isinstance(meta, np.ndarray):
        from vn_magic.scale.meta import meta_of  # noqa: PLC0415 - as above

        meta = meta_of(meta)
    # The partitions have the columns of the meta by their making; enforcing it would cost a copy.
    lazy: Vectors = data.map_partitions(
        embed_partition, job, meta=meta, enforce_metadata=False, transform_divisions=False
    )
    return lazy


def _check_kind(data: object) -> None:
    frames = sys.modules.get("dask.dataframe")  # where it is not imported, nobody has a frame of it
    if frames is not None and isinstance(data, frames.Index):  # a kind of Series, but its partitions count from 0 each
        raise InputError("A Dask Index cannot be embedded; make a Series of it by .to_series().")
    if frames is None or not isinstance(data, frames.DataFrame | frames.Series):
        raise InputError(
            f"This collection of Dask ({type(data).__name__}) cannot be embedded; make a Dask DataFrame of it."
        )


def _check_dtype(meta: pd.DataFrame | pd.Series[Any], on_error: OnError, column: str | None) -> None:
    """Refuse a column without any text; under ``keep`` its rows are marked when they are computed."""
    dtype = meta.dtype if isinstance(meta, pd.Series) else _named(meta.dtypes, str(column))
    if dtype.kind in _NUMBERS and on_error == "stop":
        what = "The Series" if column is None else f"The column {column!r}"
        raise InputError(f"{what} has no texts but {dtype}. Nothing was sent.\nNext: choose the column of the texts.")


def _named(dtypes: pd.Series[Any], column: str) -> Any:  # noqa: ANN401 - numpy's dtypes, and pandas'
    return dtypes[column] if column in dtypes.index else dtypes[[str(name) == column for name in dtypes.index]].iloc[0]


def _check_limits(session: Session, options: JobOptions) -> None:
    """Refuse what holds in this process alone: budgets, a pack; and what a worker would refuse later."""
    settings = session.settings
    for whose, limits in (("This call", options), ("This session", settings)):
        if has_budget(limits):
            raise InputError(
                f"{whose} has a budget (max_requests, max_tokens), and workers do not count together what they send.\n"
                "Next: try a part of it first, e.g. ddf.partitions[0].compute(), and leave out the budget for the rest."
            )
    if options.refresh:
        raise InputError(
            "`refresh` would pay for a row each time that Dask computes it, which may be several times.\n"
            "Next: leave it out; `%vn cache clear` forgets what the cache has."
        )
    pack = session.pack
    if pack is not None and pack.source != f"${PACK_VARIABLE}":
        raise InputError(
            f"The pack {pack.pack.name} answers in this session, and workers do not have it.\n"
            f"Next: `%vn pack off`, or name the file in ${PACK_VARIABLE} for this kernel and for the workers."
        )
    if not (settings.offline or session.asks_nobody):
        check_transport_is_private(settings)
