"""One partition of a Dask collection: what a task carries, and what it does where it runs."""

from __future__ import annotations

import re
from concurrent.futures import CancelledError
from dataclasses import asdict, dataclass, replace
from typing import Any, Self

import numpy as np
import pandas as pd

from vn_magic.credentials import TOKEN_FILE_VARIABLE, TOKEN_VARIABLES
from vn_magic.current import session_here
from vn_magic.embeddings import Embeddings, Provenance
from vn_magic.exceptions import (
    EmbeddingInterruptedError,
    InputError,
    PackError,
    ProvenanceError,
    RequirementError,
    TokenError,
    TokenRefusedError,
    VnMagicError,
)
from vn_magic.frames import source_of
from vn_magic.models import OFFLINE_MODEL
from vn_magic.pack import PACK_VARIABLE
from vn_magic.request import Request, Vectors
from vn_magic.runtime import origin_for
from vn_magic.scale.sessions import has_budget, pack_of, session_with
from vn_magic.scale.workers import ClusterTask, share_of, stop_unless_awaited, tell
from vn_magic.session import Session
from vn_magic.settings import JobOptions, Recipe, Result

_CURE_ELSEWHERE = (
    f"set {TOKEN_VARIABLES[0]}, or {TOKEN_FILE_VARIABLE}, in the environment of the workers: a login never leaves its "
    "notebook.\nOr `%vn offline` before the collection is made, to try without a token."
)
# As errors name rows: at their beginning, or in a list.
_ROW = re.compile(r"(?:^R|: r)ow \d+")


@dataclass(frozen=True, slots=True)
class Place:
    """Whom a process asks, and how patiently: the settings of these names when the collection was made."""

    base_url: str
    offline: bool
    allow_plain_http: bool
    request_timeout: float
    row_timeout: float

    @property
    def settings(self) -> tuple[tuple[str, Any], ...]:
        """Name and value."""
        return tuple(asdict(self).items())

    def is_where(self, session: Session) -> bool:
        """Whether a session asks there, however patiently."""
        return (session.settings.base_url, session.settings.offline) == (self.base_url, self.offline)


@dataclass(frozen=True, slots=True)
class PartitionJob:
    """What the graph carries for all partitions: plain values; no token, no session, no path.

    Parameters
    ----------
    place
        Whom to ask.
    pack
        The one that alone answered where the collection was made; see `pack_of`.
    expected
        Whose vectors the collection says that it has.
    recipe, options, result
        What to ask for, how, and in which shape to return it.
    column
        Of a DataFrame, the one with the texts.
    """

    place: Place
    pack: tuple[str, bool] | None
    expected: Provenance
    recipe: Recipe
    options: JobOptions
    result: Result
    column: str | None = None

    @classmethod
    def of(cls, session: Session, request: Request, expected: Provenance, column: str | None = None) -> Self:
        """Return the job of every partition of a settled call."""
        settings = session.settings
        place = Place(
            settings.base_url,
            settings.offline,
            settings.allow_plain_http,
            settings.request_timeout,
            settings.row_timeout,
        )
        return cls(place, pack_of(session), expected, request.recipe, request.options, request.result, column)


def embed_partition(part: pd.DataFrame | pd.Series[Any], job: PartitionJob) -> Vectors:
    """Embed the rows of one partition, in whichever thread, process or machine this is called.

    The session that the collection was made with does it in its own process, with its token, budgets and totals.
    Elsewhere one session for each place does, with the token that is found in the environment there.

    Parameters
    ----------
    part
        The texts, or with ``job.column`` a frame that has them.
    job
        What to ask for, how, and of whom.

    Returns
    -------
    DataFrame or ndarray
        As `vn_magic.embed` returns it for these rows; the array is float32 ``(rows, dimension)``.

    Raises
    ------
    PackError
        When another pack would answer here, or none where one was to answer.
    ProvenanceError
        When the vectors are not of the maker that the collection names.
    RequirementError, InputError
        When this notebook's session does not allow it any more: a requirement has failed, or there is a budget now.
    TokenError
        When there is no token here; no token ever comes with a job.
    distributed.Reschedule
        When the task was cancelled, or its worker ends: the cluster drops it, or runs it elsewhere. Finished rows are
        in the cache.
    VnMagicError
        See `Session.run_request`. Rows are numbered within the partition.
    """
    task = ClusterTask.here()
    here = session_here()
    is_at_home = here is not None and job.place.is_where(here)
    session = here if here is not None and is_at_home else session_with(job.place.settings)
    try:
        _check_session(session, job, here)
        request = Request(source_of(part, job.column), job.recipe, _shared(job.options, task), job.result)
        stop = task.stop_unless_wanted if task is not None else stop_unless_awaited()
        return session.guard(lambda: _shaped(session.run_request(request, on_tick=stop), request, job, session))
    except (EmbeddingInterruptedError, CancelledError):
        if task is None:
            raise
        told = task.rescheduled()
    except VnMagicError as error:
        told = _told(error, task, job.place, here)
    raise told  # outside the block, as `Session.guard` does it


def _check_session(session: Session, job: PartitionJob, here: Session | None) -> None:
    """Refuse what has changed since the collection was made, as far as it can be seen in this process."""
    if here is not None and here.unmet:
        raise RequirementError(here.unmet)
    if here not in (None, session) and has_budget(here.settings):
        raise InputError(
            "This session has a budget, which does not count requests to the place that the collection was made for. "
            "Nothing was sent.\nNext: make the collection again."
        )
    if pack_of(session) != job.pack:
        raise PackError(
            f"Where this collection was made {_answering(job.pack)} answers, and here {_answering(pack_of(session))}. "
            f"Nothing was sent.\nNext: set {PACK_VARIABLE} alike for the kernel and in the environment of the workers, "
            "or make the collection again."
        )


def _answering(pack: tuple[str, bool] | None) -> str:
    return "no pack" if pack is None else f"the pack {pack[0]}{' alone' if pack[1] else ''}"


def _shaped(embeddings: Embeddings, request: Request, job: PartitionJob, session: Session) -> Vectors:
    """Return the result, when its vectors are of the maker that the collection names, or of one who signs for it."""
    tell(embeddings.summary.notices)
    has_vectors = len(embeddings.errors) < len(embeddings)
    if not has_vectors:
        embeddings = replace(embeddings, provenance=job.expected)
    came, by_stand_in = embeddings.provenance, job.expected.source == OFFLINE_MODEL
    may_be_anothers = not by_stand_in and job.pack is None and origin_for(session.settings).may_sign(OFFLINE_MODEL)
    if came != job.expected and not (may_be_anothers and came.source == OFFLINE_MODEL):
        raise ProvenanceError(
            f"The collection was made for other vectors than have come:\n  {job.expected}\n  {came}\n"
            "Next: make the collection again."
        )
    result = request.shaped(embeddings)
    if not has_vectors and may_be_anothers and not isinstance(result, np.ndarray):
        result.attrs = {}  # nobody has signed: pandas would take this note, in a folder's first file, for all of them
    return result


def _shared(options: JobOptions, task: ClusterTask | None) -> JobOptions:
    """Return the options with this machine's share of the rate, asked anew each time: clusters grow and shrink."""
    if task is None or options.requests_per_minute is None:
        return options
    return replace(options, requests_per_minute=share_of(options.requests_per_minute, task.machines()))


def _told(error: VnMagicError, task: ClusterTask | None, place: Place, here: Session | None) -> VnMagicError:
    """Return the error as it is read by who has asked for the whole collection, on another machine perhaps."""
    why, *cure = str(error).split("\nNext: ", 1)
    why = _ROW.sub(r"\g<0> of this partition", why, count=1)
    why = why.replace("Nothing was sent.", "Nothing of this partition was sent.")
    if isinstance(error, TokenError | TokenRefusedError) and not (here is not None and place.is_where(here)):
        if task is None and here is not None:
            cure = [f"set the base URL back to {place.base_url}, or make the collection again."]
        else:
            why, cure = f"{task.name if task is not None else 'A process of Dask'}: {why}", [_CURE_ELSEWHERE]
    error.args = ("\nNext: ".join([why, *cure]),)
    return error
