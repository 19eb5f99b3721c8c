"""Tally: what a job has done so far, counted for its listener, for the session's totals, and against the budgets."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any

from vn_magic.budget import Budget
from vn_magic.progress import JobSummary, ProgressEvent, ProgressListener, Totals


class Tally:
    """Counts of one job. Used on the session's loop alone.

    Parameters
    ----------
    units
        Distinct rows of the job.
    totals
        The session's, counted up as the job goes, so that failed jobs count too.
    budgets
        The session's and the job's own.
    report
        Told of every change.
    """

    def __init__(self, units: int, totals: Totals, budgets: Sequence[Budget], report: ProgressListener) -> None:
        self._units = units
        self._totals = totals
        self._budgets = budgets
        self._report = report
        self._began = time.monotonic()
        self._on_the_way: dict[asyncio.Task[Any] | None, int] = {}
        self.requests = self.retries = self.tokens = self.new = self.cached = self.recorded = self.most_at_once = 0
        self.tokens_estimated = False

    @property
    def counts_tokens(self) -> bool:
        """Whether somebody wants to know how many tokens are about to be sent."""
        return any(budget.max_tokens is not None for budget in self._budgets)

    def plan(self, requests: int, tokens: int) -> None:
        """Refuse a job that would go beyond a budget, before anything of it is sent.

        Raises
        ------
        BudgetError
        """
        self._check(requests, tokens, "Nothing was sent.")

    def sent(self, tokens: int) -> None:
        """Count a request as it starts, about to carry so many tokens.

        Raises
        ------
        BudgetError
            When retries, or other jobs, have used up what was planned.
        """
        self._check(1, tokens, "The job stopped; finished rows are kept.")
        self._on_the_way[asyncio.current_task()] = tokens
        self._totals.tokens_on_the_way += tokens
        self.most_at_once = max(self.most_at_once, len(self._on_the_way))
        self.requests += 1
        self._totals.requests += 1

    def replied(self) -> None:
        """Note that this task's request has ended."""
        self._totals.tokens_on_the_way -= self._on_the_way.pop(asyncio.current_task(), 0)

    def is_on_the_way(self, task: asyncio.Task[Any] | None) -> bool:
        """Whether a task's request is under way."""
        return task in self._on_the_way

    @property
    def is_idle(self) -> bool:
        """Whether requests were sent and none is under way."""
        return bool(self.requests) and not self._on_the_way

    def retried(self) -> None:
        """Count a further attempt."""
        self.retries += 1
        self._totals.retries += 1

    def answered(self, tokens: int, *, estimated: bool) -> None:
        """Count a row that was paid for."""
        self.new += 1
        self.tokens += tokens
        self.tokens_estimated |= estimated
        self._totals.new += 1
        self._totals.tokens += tokens
        self._totals.tokens_estimated |= estimated

    def took_cached(self) -> None:
        """Count a row that the cache had."""
        self.cached += 1
        self._totals.cached += 1

    def took_recorded(self) -> None:
        """Count a row that a pack had."""
        self.recorded += 1
        self._totals.recorded += 1

    def left(self, failed: int) -> int:
        """Return how many distinct rows have neither a vector nor failed."""
        return self._units - self._done(failed)

    def tell(self, *, failed: int, concurrency: int, waiting: str) -> None:
        """Report how the job stands."""
        self._report(
            ProgressEvent(
                rows=self._units,
                done=self._done(failed),
                cached=self.cached,
                recorded=self.recorded,
                failed=failed,
                requests=self.requests,
                retries=self.retries,
                concurrency=concurrency,
                waiting=waiting,
                seconds=time.monotonic() - self._began,
            )
        )

    def summary(self, *, rows: int, failed: int, duplicates: int) -> JobSummary:
        """Return what the finished job did."""
        return JobSummary(
            rows=rows,
            new=self.new,
            cached=self.cached,
            recorded=self.recorded,
            failed=failed,
            duplicates=duplicates,
            requests=self.requests,
            retries=self.retries,
            concurrency=self.most_at_once,
            tokens=self.tokens,
            tokens_estimated=self.tokens_estimated,
            seconds=time.monotonic() - self._began,
        )

    def _done(self, failed: int) -> int:
        return self.new + self.cached + self.recorded + failed

    def _check(self, requests: int, tokens: int, sent: str) -> None:
        totals = self._totals
        used = {
            "session": (totals.requests, totals.tokens_taken),
            "job": (self.requests, self.tokens + sum(self._on_the_way.values())),
        }
        for budget in self._budgets:
            used_requests, used_tokens = used[budget.whose]
            budget.check(
                requests=requests, tokens=tokens, used_requests=used_requests, used_tokens=used_tokens, sent=sent
            )
