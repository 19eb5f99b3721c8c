"""The recipe: texts → dedupe → cache → pack → gateway → cache → vectors, in the order of the input."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np

from vn_magic.budget import Budget, job_budget
from vn_magic.cache import CachedVector
from vn_magic.cache_thread import CacheThread
from vn_magic.embeddings import Embeddings, Provenance, finish
from vn_magic.exceptions import GatewayError, OutageError, ProvenanceError, StopJobError, TransientError, VectorError
from vn_magic.keys import CacheKey
from vn_magic.lookup import Lookup, Origin, distinct_rows
from vn_magic.models import OFFLINE_MODEL
from vn_magic.pack import PackInUse, Recorded
from vn_magic.progress import ProgressListener, Totals
from vn_magic.settings import JobOptions, Recipe
from vn_magic.tally import Tally
from vn_magic.texts import estimated_tokens
from vn_magic.trace import Exchange, Outcome, Trace
from vn_magic.underway import Underway

if TYPE_CHECKING:
    from vn_magic.gateway.client import GatewayClient
    from vn_magic.gateway.dialect import Question
    from vn_magic.gateway.effort import Effort
    from vn_magic.gateway.wire import Answer

# Rows that are not in a pack for which the nearest text is looked for: up to half a second each.
_MOST_HINTS = 5


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
        Whom to ask. The client belongs to the loop that runs the job; None asks nobody: a pack alone answers.
    cache
        Answers first and keeps what comes; None to do without.
    pack
        Answers after the cache; None to do without.
    underway
        What other jobs of the session are asking for just now.
    totals, budget
        The session's, counted up as the job goes, and the most that they may come to.
    report
        Told of every change, on the loop.
    first_row
        What errors call the first row.
    """

    def __init__(  # noqa: PLR0913 - what a job needs, named one by one
        self,
        texts: Sequence[str | None],
        refused: Mapping[int, str],
        recipe: Recipe,
        options: JobOptions,
        *,
        origin: Origin,
        client: GatewayClient | None,
        cache: CacheThread | None,
        pack: PackInUse | None,
        underway: Underway,
        totals: Totals,
        budget: Budget,
        report: ProgressListener,
        first_row: int = 0,
    ) -> None:
        self._texts = texts
        self._first_row = first_row
        self._errors = dict(refused)
        self._recipe = recipe
        self._options = options
        self._origin = origin
        self._asked = client
        self._cache = cache
        self._pack = None if options.refresh or pack is None else pack.pack
        self._underway = underway
        self._shares = cache is not None and not options.refresh
        self._lookup = Lookup(texts, recipe, origin, None if options.refresh else cache, self._pack)
        self._first, self._twins = distinct_rows(texts)
        budgets = (budget, job_budget(options))
        self._tally = Tally(len(self._first) + len(self._errors), totals, budgets, report)
        self.trace = Trace(texts, refused, recipe, options, origin, pack)
        self._sources: set[str] = set()
        self._failure: GatewayError | None = None
        self._workers: list[asyncio.Task[None]] = []
        self._most_workers = 0
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
            When every further row would fail in the same way, under ``keep`` too; a budget's before anything is sent.
        GatewayError
            Under ``stop``, the first row's that cannot be embedded.
        ProvenanceError
            When vectors of the cache or the pack, and new ones, are of different makers.
        VectorError
            When a finished row is not finite, or zero.
        """
        self._tell()
        missing = await self._lookup.missing(self._first, self._take_cached)
        missing = self._lookup.not_recorded(missing, self._take_recorded)
        self._tell()
        if self._asked is None:
            self._refuse(missing)
        else:
            self._check_makers(missing)
            self._plan(missing)
            try:
                await self._send(missing)
            finally:
                if self._cache is not None:
                    await self._cache.flush()
        self._repeat_for_twins()
        self.trace.norms = finish(self._matrix, failed=self._errors, unit_length=self._recipe.unit_length)
        repeated = sum(map(len, self._twins.values()))
        summary = self._tally.summary(rows=len(self._texts), failed=len(self._errors), duplicates=repeated)
        return Embeddings(self._texts, self._matrix, self._provenance(), self._errors, summary)

    def on_send(self, rows: Collection[int], question: Question) -> None:
        """Count a request that is about to start, and remember what it carries.

        Raises
        ------
        BudgetError
            When it must not start.
        """
        tokens = sum(estimated_tokens(self._text(row)) for row in rows) if self._tally.counts_tokens else 0
        self._tally.sent(tokens)
        for row in rows:
            self.trace.sent(row, Exchange(question.path, question.body, question.texts))
        self._tell()

    def on_reply(self) -> None:
        """Note that a request has ended."""
        self._tally.replied()

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
        self._tally.retried()
        self._waiting = f"{seconds:.0f} s ({error.status or type(error).__name__})" if seconds >= 1 else ""
        self._tell()

    @property
    def _client(self) -> GatewayClient:
        if self._asked is None:
            raise VectorError("A pack alone answers, and a row was about to be sent.")  # a fault of ours
        return self._asked

    def _refuse(self, rows: Sequence[int]) -> None:
        """Let rows fail that the pack does not have, where nobody else is asked."""
        if self._pack is None:
            raise VectorError("Nobody is asked, and there is no pack.")  # a fault of ours
        for number, row in enumerate(rows):
            self._in_hand[row] = self._lookup.key(row)
            self.on_failure(row, self._pack.refusal(self._text(row), self._recipe, look=number < _MOST_HINTS))

    def _check_makers(self, missing: Sequence[int]) -> None:
        """Refuse rows that cannot stand beside those of a pack, before any is paid for."""
        strangers = [source for source in self._sources if not self._origin.may_sign(source)]
        if self._pack is not None and strangers and (missing or len(self._sources) > 1):
            raise ProvenanceError(
                f"The pack {self._pack.name} has some of these rows, of {strangers[0]}; the others are of "
                f"{self._origin.source}, and cannot be compared with them. Nothing was sent.\n"
                "Next: leave out what is not in the pack, or `%vn pack off` and embed all rows anew."
            )

    def _plan(self, missing: Sequence[int]) -> None:
        tokens = sum(estimated_tokens(self._text(row)) for row in missing) if self._tally.counts_tokens else 0
        # As `_send` does it: a first batch that finds out whether there are batches goes by itself.
        first = min(len(missing), self._first_batch())
        self._tally.plan(bool(first) + self._options.requests_for(len(missing) - first), tokens)

    def _first_batch(self) -> int:
        """Return how many texts go ahead alone, because nobody knows yet whether the gateway has batches."""
        wanted = self._options.batch_size
        return self._client.batch_size(wanted) if wanted > 1 and not self._client.knows_of_batches else 0

    async def _send(self, rows: Sequence[int]) -> None:
        """Send all rows, as many at a time as the gateway bears. When this is left, nothing more is sent.

        After a failure that ends the job, requests on their way are waited for: their answers are paid for.
        """
        if not rows:
            return
        effort = self._effort = self._client.effort(self._options.concurrency)
        waiting = iter(rows)
        if first := self._first_batch():
            await self._run_workers(1, islice(waiting, first), effort)
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
                for row in rows:
                    if row in self._in_hand:  # others have come, or have failed by themselves
                        self.trace.failed(row, error)
                self._end(error, [row for row in rows if row in self._failing])

    def _end(self, error: GatewayError, rows: Sequence[int]) -> None:
        """End the job, or these rows, which have failed, alone.

        When all that is left has failed before, an outage is as well these rows' own: another run would meet it too.
        """
        left = self._tally.left(len(self._errors))
        own = error.__cause__ if isinstance(error, OutageError) else None
        if not isinstance(own, GatewayError) or not rows or left > len(self._failing):
            self._fail(error)
        elif self._options.on_error == "stop":
            self._fail(own.at_row(self._first_row + rows[0], self._text(rows[0])))
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
        told = error.at_row(self._first_row + row, self._text(row))
        self.trace.failed(row, error)
        if self._options.on_error == "stop":
            raise told
        self._errors[row] = str(told)
        self._settle(row)

    def _fail(self, error: GatewayError) -> None:
        """Hand out no more rows, and let go of workers that wait for a retry or for the gate."""
        if self._failure is None or isinstance(error, StopJobError):
            self._failure = error
        for worker in self._workers:
            if not self._tally.is_on_the_way(worker) and worker is not asyncio.current_task():
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
        tokens = answer.tokens if answer.tokens is not None else estimated_tokens(self._text(row))
        self._tally.answered(tokens, estimated=answer.tokens is None)
        self.trace.answered(row, answer)
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
        self._tally.took_cached()
        self.trace.came(row, Outcome.CACHED)

    def _take_recorded(self, row: int, recorded: Recorded) -> None:
        self._matrix[row] = recorded.vector[: self._recipe.dimension]
        self._sources.add(recorded.group.source)
        self._tally.took_recorded()
        self.trace.came(row, Outcome.RECORDED)

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
            before = (
                f"are of the pack {self._pack.name}" if self._pack else "were cached before this address changed hands"
            )
            raise ProvenanceError(
                f"The rows are of different makers ({makers}): some {before}.\n"
                "Next: run the cell with --refresh, so that all are computed anew."
            )
        source = next(iter(self._sources), self._origin.source)
        model = OFFLINE_MODEL if source == OFFLINE_MODEL else self._recipe.model
        recipe = self._recipe
        return Provenance(source, model, recipe.task_type, recipe.dimension, recipe.unit_length)

    def _tell(self) -> None:
        waits_for_rate = self._options.requests_per_minute and self._tally.is_idle
        self._tally.tell(
            failed=len(self._errors),
            concurrency=min(self._effort.concurrency.limit, self._most_workers) if self._effort else 0,
            waiting=self._waiting or ("for --rpm" if waits_for_rate else ""),
        )
