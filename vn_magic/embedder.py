"""The recipe: texts → dedupe → cache → gateway → cache → vectors, in the order of the input."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vn_magic.cache import CachedVector
from vn_magic.cache_thread import CacheThread
from vn_magic.embeddings import Embeddings, Provenance
from vn_magic.exceptions import GatewayError, OutageError, ProvenanceError, StopJobError, TransientError, VectorError
from vn_magic.keys import CacheKey
from vn_magic.lookup import Lookup, Origin, distinct_rows
from vn_magic.models import OFFLINE_MODEL
from vn_magic.progress import JobSummary, ProgressEvent, ProgressListener, Totals
from vn_magic.settings import JobOptions, Recipe
from vn_magic.texts import estimated_tokens
from vn_magic.underway import Underway

if TYPE_CHECKING:
    from vn_magic.gateway.client import GatewayClient
    from vn_magic.gateway.effort import Effort
    from vn_magic.gateway.wire import Answer

# Rows checked and normalised at a time, so that no temporary comes near the size of the matrix.
_BLOCK_ROWS = 4096


class EmbeddingJob:
    """One list of texts under one recipe.

    Parameters
    ----------
    texts
        A row each; None for rows that cannot be sent, each with its reason in ``refused``.
    refused
        Row number to reason, for rows that were found unusable before.
    recipe, options
        What to ask for, and how.
    origin, client
        Whom to ask. The client belongs to the loop that runs the job.
    cache
        Answers first and keeps what comes; None to do without.
    underway
        What other jobs of the session are asking for just now.
    totals
        The session's, counted up as the job goes.
    report
        Told of every change, on the loop.
    """

    def __init__(  # noqa: PLR0913 - what a job needs, named one by one
        self,
        texts: Sequence[str | None],
        refused: Mapping[int, str],
        recipe: Recipe,
        options: JobOptions,
        *,
        origin: Origin,
        client: GatewayClient,
        cache: CacheThread | None,
        underway: Underway,
        totals: Totals,
        report: ProgressListener,
    ) -> None:
        self._texts = texts
        self._errors = dict(refused)
        self._recipe = recipe
        self._options = options
        self._origin = origin
        self._client = client
        self._cache = cache
        self._underway = underway
        self._totals = totals
        self._report = report
        self._shares = cache is not None and not options.refresh
        self._lookup = Lookup(texts, recipe, origin, None if options.refresh else cache)
        self._first, self._twins = distinct_rows(texts)
        self._units = len(self._first) + len(self._errors)
        self._sources: set[str] = set()
        self._began = time.monotonic()
        self._requests = self._retries = self._tokens = self._new = self._cached = self._most_at_once = 0
        self._tokens_estimated = False
        self._failure: GatewayError | None = None
        self._workers: list[asyncio.Task[None]] = []
        self._most_workers = 0
        self._on_the_way: set[asyncio.Task[Any] | None] = set()
        self._in_hand: dict[int, CacheKey] = {}
        self._failing: set[int] = set()
        self._waiting = ""
        self._effort: Effort | None = None
        # Not filled: its pages become memory only as rows arrive.
        self._matrix = np.empty((len(texts), recipe.dimension), dtype=np.float32)

    async def run(self) -> Embeddings:
        """Return all rows, or raise; rows that arrived before a failure or a cancellation are in the cache.

        Raises
        ------
        StopJobError
            When every further row would fail in the same way, under ``keep`` too.
        GatewayError
            Under ``stop``, the first row's that cannot be embedded.
        ProvenanceError
            When cached and new vectors turn out to be of different makers.
        VectorError
            When a finished row is not finite, or zero.
        """
        self._tell()
        missing = await self._lookup.missing(self._first, self._take_cached)
        self._tell()
        try:
            await self._send(missing)
        finally:
            if self._cache is not None:
                await self._cache.flush()
        self._repeat_for_twins()
        _finish(self._matrix, failed=self._errors, unit_length=self._recipe.unit_length)
        return Embeddings(self._texts, self._matrix, self._provenance(), self._errors, self._summary())

    def on_send(self) -> None:
        """Count a request as it starts."""
        self._on_the_way.add(asyncio.current_task())
        self._most_at_once = max(self._most_at_once, len(self._on_the_way))
        self._requests += 1
        self._totals.requests += 1
        self._tell()

    def on_reply(self) -> None:
        """Note that a request has ended."""
        self._on_the_way.discard(asyncio.current_task())

    @property
    def has_failed(self) -> bool:
        """Whether a failure has ended the job."""
        return self._failure is not None

    def on_trouble(self, rows: Collection[int]) -> None:
        """Note which rows have failed, for the last time or not."""
        self._failing.update(rows)

    def on_wait(self, seconds: float, error: TransientError) -> None:
        """Count a retry, and say what is being waited for; there is none once a failure has ended the job."""
        if self._failure is not None:
            raise self._failure
        self._retries += 1
        self._totals.retries += 1
        self._waiting = f"{seconds:.0f} s ({error.status or type(error).__name__})" if seconds >= 1 else ""
        self._tell()

    async def _send(self, rows: Sequence[int]) -> None:
        """Send all rows, as many at a time as the gateway bears. When this is left, nothing more is sent.

        After a failure that ends the job, requests on their way are waited for: their answers are paid for.
        """
        if not rows:
            return
        effort = self._effort = self._client.effort(self._options.concurrency)
        waiting = iter(rows)
        if self._options.batch_size > 1 and not self._client.knows_of_batches:
            await self._run_workers(1, islice(waiting, self._client.batch_size(self._options.batch_size)), effort)
        await self._run_workers(min(effort.concurrency.most, len(rows)), waiting, effort)

    async def _run_workers(self, count: int, rows: Iterator[int], effort: Effort) -> None:
        self._workers, self._most_workers = [], count
        try:
            for _ in range(count):
                self._workers.append(asyncio.create_task(self._work(rows, effort)))
                await asyncio.sleep(0)  # requests that leave together come back together, and wait for each other
            await asyncio.wait(self._workers, return_when=asyncio.FIRST_EXCEPTION)
            for worker in self._workers:
                if worker.done() and not worker.cancelled():
                    worker.result()
            if self._failure is not None:
                raise self._failure
        finally:
            for worker in self._workers:
                worker.cancel()
            await asyncio.wait(self._workers)
            for worker in self._workers:
                worker.cancelled() or worker.exception()  # looked at, or asyncio tells of it on stderr

    async def _work(self, waiting: Iterator[int], effort: Effort) -> None:
        while self._failure is None:
            rows = list(islice(waiting, self._client.batch_size(self._options.batch_size)))
            if not rows:
                return
            self._in_hand.update((row, self._lookup.key(row)) for row in rows)
            try:
                await self._embed(rows, effort)
            except GatewayError as error:
                self._end(error, [row for row in rows if row in self._failing])

    def _end(self, error: GatewayError, rows: Sequence[int]) -> None:
        """End the job, or these rows, which have failed, alone.

        When all that is left has failed before, an outage is as well these rows' own: another run would meet it too.
        """
        left = self._units - self._new - self._cached - len(self._errors)
        own = error.__cause__ if isinstance(error, OutageError) else None
        if not isinstance(own, GatewayError) or not rows or left > len(self._failing):
            self._fail(error)
        elif self._options.on_error == "stop":
            self._fail(own.at_row(rows[0], self._text(rows[0])))
        else:
            for row in rows:
                self.on_failure(row, own)

    def on_failure(self, row: int, error: GatewayError) -> None:
        """Keep why a row has no vector.

        Raises
        ------
        GatewayError
            The same one with the row's number and text, where it ends the job.
        """
        told = error.at_row(row, self._text(row))
        if self._options.on_error == "stop":
            raise told
        self._errors[row] = str(told)
        self._settle(row)

    def _fail(self, error: GatewayError) -> None:
        """Hand out no more rows, and let go of workers that wait for a retry or for the gate."""
        if self._failure is None or isinstance(error, StopJobError):
            self._failure = error
        for worker in self._workers:
            if worker not in self._on_the_way and worker is not asyncio.current_task():
                worker.cancel()

    async def _embed(self, rows: Sequence[int], effort: Effort) -> None:
        """Get rows' vectors: from another job that is asking for them, from the cache, or from the gateway."""
        if not self._shares:
            await self._ask(rows, effort)
            return
        keys = {row: self._in_hand[row] for row in rows}
        mine = [row for row, key in keys.items() if not self._underway.is_asked(key)]
        # Announced before the second look, or another job might ask and be done between look and announcement.
        with self._underway.asking([keys[row] for row in mine]):
            await self._ask(mine, effort)
        # Not before: two jobs that wait for each other would wait for ever.
        for row in set(rows).difference(mine):
            if self.has_failed:
                return
            cached = await self._underway.answer(keys[row])
            if cached is not None and self._lookup.may_serve(cached):
                self._take_cached(row, cached)
                self._settle(row)
            else:
                await self._embed([row], effort)

    async def _ask(self, rows: Sequence[int], effort: Effort) -> None:
        if rows:
            await self._client.embed({row: self._text(row) for row in rows}, self._recipe, self, effort)

    async def still_wanted(self, rows: Collection[int]) -> Collection[int]:
        """Look rows up once more, for another kernel may have paid for them while they waited."""
        if not self._shares:
            return rows
        found = await self._lookup.find({row: self._in_hand[row] for row in rows})
        for row, cached in found.items():
            self._underway.came(self._in_hand[row], cached)
            self._take_cached(row, cached)
            self._settle(row)
        return [row for row in rows if row not in found] if found else rows

    def on_answer(self, row: int, answer: Answer) -> None:
        """Put a row's vector in its place, and keep it as received."""
        if self._cache is not None:
            key = self._in_hand[row]
            received = CachedVector(key.of_length(len(answer.vector)), answer.vector, answer.source)
            self._cache.keep(received)
            self._underway.came(key, received)
        self._matrix[row] = answer.vector[: self._recipe.dimension]
        self._sources.add(answer.source)
        self._new += 1
        tokens = answer.tokens if answer.tokens is not None else estimated_tokens(self._text(row))
        self._tokens_estimated |= answer.tokens is None
        self._tokens += tokens
        self._totals.tokens += tokens
        self._totals.new += 1
        if not self._client.pace.remaining:
            self._waiting = ""  # else it was on its way when the others were told to wait
        self._settle(row)

    def _settle(self, row: int) -> None:
        del self._in_hand[row]
        self._failing.discard(row)
        self._tell()

    def _take_cached(self, row: int, cached: CachedVector) -> None:
        self._matrix[row] = cached.vector[: self._recipe.dimension]
        self._sources.add(cached.source)
        self._cached += 1
        self._totals.cached += 1

    def _text(self, row: int) -> str:
        return self._lookup.text(row)

    def _repeat_for_twins(self) -> None:
        for row, twins in self._twins.items():
            for twin in twins:
                self._matrix[twin] = self._matrix[row]
                if row in self._errors:
                    self._errors[twin] = self._errors[row]

    def _provenance(self) -> Provenance:
        if len(self._sources) > 1:
            makers = " and ".join(sorted(self._sources))
            raise ProvenanceError(
                f"The rows are of different makers ({makers}): some were cached before this address changed hands.\n"
                "Next: run the cell with --refresh, so that all are computed anew."
            )
        source = next(iter(self._sources), self._origin.source)
        model = OFFLINE_MODEL if source == OFFLINE_MODEL else self._recipe.model
        recipe = self._recipe
        return Provenance(source, model, recipe.task_type, recipe.dimension, recipe.unit_length)

    def _summary(self) -> JobSummary:
        return JobSummary(
            rows=len(self._texts),
            new=self._new,
            cached=self._cached,
            failed=len(self._errors),
            duplicates=sum(map(len, self._twins.values())),
            requests=self._requests,
            retries=self._retries,
            concurrency=self._most_at_once,
            tokens=self._tokens,
            tokens_estimated=self._tokens_estimated,
            seconds=time.monotonic() - self._began,
        )

    def _waiting_for_rate(self) -> str:
        idle = self._requests and not self._on_the_way and self._options.requests_per_minute
        return "for --rpm" if idle else ""

    def _tell(self) -> None:
        self._report(
            ProgressEvent(
                rows=self._units,
                done=self._new + self._cached + len(self._errors),
                cached=self._cached,
                failed=len(self._errors),
                requests=self._requests,
                retries=self._retries,
                concurrency=min(self._effort.concurrency.limit, self._most_workers) if self._effort else 0,
                waiting=self._waiting or self._waiting_for_rate(),
                seconds=time.monotonic() - self._began,
            )
        )


def _finish(matrix: NDArray[np.float32], *, failed: Mapping[int, str], unit_length: bool) -> None:
    """Mark failed rows, check all others, normalise if wanted, and close the matrix for writing.

    A last check before anything is bound: it costs one pass, and a wrong vector must never look like a right one.
    """
    if failed:
        matrix[list(failed)] = np.nan
    for start in range(0, len(matrix), _BLOCK_ROWS):
        block = matrix[start : start + _BLOCK_ROWS]
        squares = np.einsum("ij,ij->i", block, block, dtype=np.float64)
        wrong = [start + int(row) for row in np.flatnonzero(~(np.isfinite(squares) & (squares > 0)))]
        unexplained = [row for row in wrong if row not in failed]
        if unexplained:
            raise VectorError(
                f"Row {unexplained[0]} came out as no usable vector (not finite, or all zeros), so nothing was bound.\n"
                "Next: run the cell with --refresh; if it stays, please report it."
            )
        if unit_length:
            block /= np.sqrt(squares)[:, np.newaxis]  # float64: a norm may be beyond float32 where no value is
    matrix.setflags(write=False)
