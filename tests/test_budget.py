"""Budgets: what goes beyond is not sent, whoever wants it, and what has arrived by then is kept."""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import pytest
from support.engine import behind
from support.gateways import App, Message, Receive, Send, Served, json_answer, served, texts_in
from support.waiting import until

from vn_magic import Embeddings, Session
from vn_magic.budget import Budget, Limit, job_budget, session_budget
from vn_magic.classroom.recording import save_session
from vn_magic.exceptions import BudgetError, UpstreamError
from vn_magic.offline import create_app
from vn_magic.settings import JobOptions, Settings

Answer = tuple[int, dict[str, str], bytes]
DIMENSION = 128
BUSY = json_answer(
    {"error": {"message": "busy", "type": "x", "code": "system_cpu_overloaded"}}, 503, retry_after="0.01"
)


def texts_of(count: int) -> list[str]:
    """Return so many texts of about one token each."""
    return [f"t{number}" for number in range(count)]


def job(session: Session, texts: list[str], **options: Any) -> Embeddings:
    """Run a job and return all that it tells."""
    return session.run(session.run_job(session.prepare(texts, **{"dimension": DIMENSION, **options})))


def started(session: Session, texts: list[str], **options: Any) -> Future[Embeddings]:
    """Start a job on the session's loop."""
    request = session.prepare(texts, **{"dimension": DIMENSION, **options})
    return session.runtime.portal.submit(session.run_job(request))


def refused(session: Session, texts: list[str], **options: Any) -> str:
    """Return what is said about a job that a budget does not allow."""
    with pytest.raises(BudgetError) as caught:
        job(session, texts, **options)
    return str(caught.value)


def allow(session: Session, **budgets: int | None) -> None:
    """Set budgets of the session."""
    for name, value in budgets.items():
        session.configure(name, value, "this test")


@contextmanager
def talking_to(app: App, token: str) -> Iterator[tuple[Session, Served]]:
    with served(app) as server, Session(base_url=server.url, token=token) as session:
        yield session, server


class Failing:
    """A rule that answers the first attempts for every text, or for some, by a 503 that names a short wait."""

    def __init__(self, attempts: int, *texts: str) -> None:
        self.attempts = attempts
        self.texts = texts
        self.seen: Counter[str] = Counter()

    async def __call__(self, text: str) -> Answer | None:
        self.seen[text] += 1
        return BUSY if self.seen[text] <= self.attempts and (not self.texts or text in self.texts) else None


class Closed:
    """A rule that answers nobody until it is opened."""

    def __init__(self, then: Callable[[str], Any] | None = None) -> None:
        self.open = Event()
        self.then = then

    async def __call__(self, text: str) -> Answer | None:
        while not self.open.is_set():  # noqa: ASYNC110 - the test opens it from another thread
            await asyncio.sleep(0.005)
        return await self.then(text) if self.then else None  # type: ignore[no-any-return] # a rule's answer


def counting(tokens: int) -> App:
    """A gateway that counts so many tokens for every text."""

    async def app(_scope: Any, receive: Receive, send: Send) -> None:
        message: Message = await receive()
        texts = texts_in(message["body"])
        values = {"values": [0.5] * DIMENSION}
        told = {"embedding": values} if len(texts) == 1 else {"embeddings": [values] * len(texts)}
        body = json.dumps({**told, "usageMetadata": {"promptTokenCount": tokens * len(texts)}}).encode()
        headers = [(b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    return app


# What a budget says


def test_without_limits_everything_is_allowed() -> None:
    budget = Budget("session")
    assert budget.limits(10**9, 10**9) == []
    budget.check(requests=10**9, tokens=10**9, used_requests=10**9, used_tokens=10**9, sent="")


@pytest.mark.parametrize(
    ("most", "used", "more", "allowed"),
    [(5, 0, 5, True), (5, 0, 6, False), (5, 4, 1, True), (5, 5, 1, False), (0, 0, 1, False), (3, 9, 1, False)],
)
def test_a_limit_allows_what_is_left_of_it_and_no_more(most: int, used: int, more: int, allowed: bool) -> None:
    assert Limit("session", "requests", most, used).allows(more) is allowed
    exceeded = Budget("session", most).exceeded(requests=more, tokens=0, used_requests=used, used_tokens=0)
    assert (exceeded is None) is allowed
    exceeded = Budget("job", None, most).exceeded(requests=0, tokens=more, used_requests=0, used_tokens=used)
    assert (exceeded is None) is allowed


def test_to_send_nothing_is_allowed_even_where_more_is_used_than_there_may_be() -> None:
    limit = Limit("session", "tokens", 3, 9)
    assert limit.allows(0)
    assert limit.left == 0


@pytest.mark.parametrize(
    ("limit", "said"),
    [
        (Limit("session", "requests", 100, 40), "the session's budget of 100 requests (40 used)"),
        (Limit("job", "requests", 1, 0), "the job's budget of 1 request"),
        (Limit("session", "tokens", 2500, 1200), "the session's budget of 2,500 tokens (≈1,200 used)"),
    ],
)
def test_a_limit_is_said_with_what_of_it_is_used(limit: Limit, said: str) -> None:
    assert str(limit) == said


@pytest.mark.parametrize(
    ("budget", "numbers", "said", "cure"),
    [
        (
            session_budget(Settings(max_requests=100)),
            (80, 900, 40, 500),
            "The session's budget of 100 requests (40 used) does not allow 80 more.",
            "`%config VnMagic.max_requests = N`",
        ),
        (
            session_budget(Settings(max_requests=100, max_tokens=1000)),
            (60, 900, 40, 500),
            "The session's budget of 1,000 tokens (≈500 used) does not allow ≈900 more.",
            "`%config VnMagic.max_tokens = N`",
        ),
        (
            job_budget(JobOptions(max_requests=5)),
            (12, 12, 0, 0),
            "The job's budget of 5 requests does not allow 12.",
            "`--max-requests N`, in Python `max_requests=N`",
        ),
    ],
    ids=["requests", "tokens", "a job's own"],
)
def test_a_refusal_names_both_numbers_and_where_the_limit_is_set(
    budget: Budget, numbers: tuple[int, int, int, int], said: str, cure: str
) -> None:
    requests, tokens, used_requests, used_tokens = numbers
    with pytest.raises(BudgetError) as caught:
        budget.check(
            requests=requests,
            tokens=tokens,
            used_requests=used_requests,
            used_tokens=used_tokens,
            sent="Nothing was sent.",
        )
    assert str(caught.value) == f"{said} Nothing was sent.\nNext: send less, or raise the budget: {cure}."


# Before anything is sent


@pytest.mark.parametrize("whose", ["session", "job"])
@pytest.mark.parametrize(
    ("name", "most", "told"),
    [
        ("max_requests", 4, "budget of 4 requests does not allow 5."),
        ("max_requests", 0, "budget of 0 requests does not allow 5."),
        ("max_tokens", 4, "budget of 4 tokens does not allow ≈5."),
    ],
)
def test_a_job_that_needs_more_is_refused_before_anything_is_sent(
    session: Session, gateway: Served, whose: str, name: str, most: int, told: str
) -> None:
    if whose == "session":
        allow(session, **{name: most})
    said = refused(session, texts_of(5), **({name: most} if whose == "job" else {}))
    assert said.startswith(f"The {whose}'s {told} Nothing was sent.\nNext: ")
    assert len(said.splitlines()) == 2
    assert gateway.received == []


def test_the_session_s_refusal_names_its_setting(session: Session) -> None:
    allow(session, max_requests=2)
    assert refused(session, texts_of(3)).endswith("raise the budget: `%config VnMagic.max_requests = N`.")


def test_what_a_budget_just_allows_is_sent(session: Session, gateway: Served) -> None:
    allow(session, max_requests=5, max_tokens=5)
    assert job(session, texts_of(5), max_requests=5, max_tokens=5).summary.new == 5
    assert len(gateway.received) == 5


def test_the_session_s_budget_counts_all_jobs_and_a_job_s_own_only_itself(session: Session, gateway: Served) -> None:
    allow(session, max_requests=7)
    for row in range(3):
        job(session, [f"own {row} a", f"own {row} b"], max_requests=2)
    assert "budget of 7 requests (6 used) does not allow 2 more" in refused(session, texts_of(2), max_requests=2)
    job(session, texts_of(1))
    assert len(gateway.received) == 7


def test_duplicates_and_rows_that_cannot_be_sent_cost_nothing(session: Session, gateway: Served) -> None:
    summary = job(session, ["a", "b", "a", "", "b"], max_requests=2, max_tokens=2, on_error="keep").summary
    assert (summary.new, summary.failed, summary.duplicates) == (2, 1, 2)
    assert gateway.texts == ["a", "b"]


def test_a_budget_stops_the_job_where_failed_rows_would_be_kept_too(session: Session, gateway: Served) -> None:
    assert "Nothing was sent" in refused(session, texts_of(2), max_requests=1, on_error="keep")
    assert gateway.received == []


def test_a_question_to_rows_is_on_the_session_s_budget(
    session: Session, gateway: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    frame: Any = session.embed(texts_of(2), dimension=DIMENSION)
    monkeypatch.setattr("vn_magic.accessor.current_session", lambda: session)
    allow(session, max_requests=2)
    with pytest.raises(BudgetError):
        frame.vec.nearest("a question")
    allow(session, max_requests=3)
    assert len(frame.vec.nearest("a question", k=1)) == 1
    assert len(gateway.received) == 3


# What costs nothing


@pytest.mark.parametrize("batch_size", [1, 5])
def test_rows_from_the_cache_cost_nothing_even_when_nothing_may_be_sent(
    session: Session, gateway: Served, batch_size: int
) -> None:
    first = job(session, texts_of(3))
    allow(session, max_requests=0, max_tokens=0)
    again = job(session, texts_of(3), max_requests=0, max_tokens=0, batch_size=batch_size)
    assert np.array_equal(first.matrix, again.matrix)
    assert len(gateway.received) == 3


def test_only_what_the_cache_does_not_have_is_counted(session: Session, gateway: Served) -> None:
    job(session, texts_of(3))
    assert job(session, texts_of(5), max_requests=2, max_tokens=2).summary.new == 2
    refused(session, texts_of(5), max_requests=4, refresh=True)
    refused(session, texts_of(5), max_requests=4, cache=False)
    assert len(gateway.received) == 5


def test_rows_of_a_pack_cost_nothing(session: Session, gateway: Served, tmp_path: Path) -> None:
    recorded = job(session, texts_of(3))
    save_session(session, tmp_path / "lesson.vnpack")
    session.runtime.cache.clear()
    session.use_pack(tmp_path / "lesson.vnpack", strict=False, source="this test")
    allow(session, max_requests=3)
    again = job(session, texts_of(3))
    assert (again.summary.recorded, session.totals.recorded) == (3, 3)
    assert np.array_equal(again.matrix, recorded.matrix)
    refused(session, texts_of(4))
    allow(session, max_requests=4)
    assert job(session, texts_of(4)).summary.new == 1
    assert len(gateway.received) == 4


# In the middle of a job


@pytest.mark.parametrize("concurrency", [1, 8])
@pytest.mark.parametrize("whose", ["session", "job"])
@pytest.mark.parametrize("on_error", ["stop", "keep"])
def test_retries_eat_the_budget_and_the_job_stops_at_exactly_that_many_requests(
    token: str, concurrency: int, whose: str, on_error: str
) -> None:
    failing = Failing(99, "t2")
    with talking_to(behind(failing, create_app(token=token)), token) as (session, server):
        if whose == "session":
            allow(session, max_requests=8)
        own = {"max_requests": 8} if whose == "job" else {}
        said = refused(session, texts_of(6), concurrency=concurrency, on_error=on_error, **own)
        assert said.startswith(
            f"The {whose}'s budget of 8 requests (8 used) does not allow 1 more. "
            "The job stopped; finished rows are kept.\nNext: "
        )
        assert len(server.received) == session.totals.requests == 8
        arrived = session.totals.new
        assert arrived >= 2
        failing.attempts = 0
        allow(session, max_requests=None)
        done = job(session, texts_of(6))
        assert (done.summary.cached, done.summary.new) == (arrived, 6 - arrived)
        assert {text: count for text, count in Counter(server.texts).items() if text != "t2"} == {
            text: 1 for text in texts_of(6) if text != "t2"
        }


def test_answers_on_their_way_when_the_budget_is_used_up_are_waited_for_and_kept(token: str) -> None:
    failing = Failing(99, "t0")
    closed = Closed()

    async def rule(text: str) -> Answer | None:
        return await failing(text) if text == "t0" else await closed(text)

    with talking_to(behind(rule, create_app(token=token)), token) as (session, server):
        running = started(session, texts_of(6), concurrency=6, max_requests=7)
        until(lambda: len(server.received) == 7)  # all six, and the failing one once more
        until(lambda: session.totals.retries == 2)
        assert not running.done()
        closed.open.set()
        with pytest.raises(BudgetError):
            running.result(60)
        assert len(server.received) == 7
        assert session.totals.new == 5
        assert session.runtime.cache.info().rows == 5


@pytest.mark.parametrize("seed", range(4))
def test_in_instalments_every_text_is_paid_for_once_and_no_instalment_is_overdrawn(token: str, seed: int) -> None:
    dice, paid, texts = random.Random(seed), Counter[str](), texts_of(40)

    async def rule(text: str) -> Answer | None:
        if dice.random() < 0.25:
            return BUSY
        paid[text] += 1
        return None

    with talking_to(behind(rule, create_app(token=token)), token) as (session, server):
        stops = 0
        while paid.total() < len(texts):
            most = len(server.received) + len(texts) - paid.total()
            allow(session, max_requests=most)
            try:
                job(session, texts)
            except BudgetError:
                stops += 1
                assert len(server.received) == most
            assert len(server.received) <= most
            assert session.runtime.cache.info().rows == paid.total()
        assert stops > 0
        assert paid == Counter(texts)


def test_two_jobs_at_once_never_send_more_than_the_session_may(token: str) -> None:
    closed = Closed(then=Failing(1))
    one, other = [f"one {row}" for row in range(5)], [f"other {row}" for row in range(5)]
    with talking_to(behind(closed, create_app(token=token)), token) as (session, server):
        allow(session, max_requests=12)
        running = [started(session, one), started(session, other)]
        until(lambda: len(server.received) == 10)
        closed.open.set()
        failures = [each.exception(60) for each in running]
        assert [type(failure) for failure in failures] == [BudgetError, BudgetError]
        assert len(server.received) == session.totals.requests == 12
        assert session.totals.new == session.runtime.cache.info().rows == 2
        allow(session, max_requests=20)
        for texts in (one, other):
            job(session, texts)
        assert len(server.received) == 20


def test_what_one_job_s_budget_kept_from_being_sent_another_job_sends(token: str) -> None:
    closed = Closed(then=Failing(1, "t0"))
    with talking_to(behind(closed, create_app(token=token)), token) as (session, server):
        first = started(session, texts_of(3), max_requests=3)
        until(lambda: len(server.received) == 3)
        of_first = session.last_job
        second = started(session, texts_of(3))
        until(lambda: session.last_job is not of_first)
        closed.open.set()
        assert isinstance(first.exception(60), BudgetError)
        assert second.result(60).summary.failed == 0
        assert Counter(server.texts) == {"t0": 2, "t1": 1, "t2": 1}


# Batches


def test_a_batch_is_one_request(session: Session, gateway: Served) -> None:
    job(session, ["x", "y"], batch_size=2)  # shows that the gateway has batches
    assert "does not allow 3" in refused(session, texts_of(7), batch_size=3, max_requests=2)
    assert job(session, texts_of(7), batch_size=3, max_requests=3).summary.requests == 3
    assert sorted(len(request.texts) for request in gateway.received) == [1, 2, 3, 3]


def test_the_first_batch_which_is_a_small_one_is_counted_beforehand(session: Session, gateway: Served) -> None:
    assert "does not allow 2" in refused(session, texts_of(5), batch_size=5, max_requests=1)
    assert gateway.received == []
    assert job(session, texts_of(5), batch_size=5, max_requests=2).summary.requests == 2
    assert [len(request.texts) for request in gateway.received] == [2, 3]


def test_where_there_are_no_batches_the_job_stops_at_the_budget_and_keeps_what_came(token: str) -> None:
    with talking_to(create_app(token=token, no_batch=True), token) as (session, server):
        said = refused(session, texts_of(8), batch_size=4, max_requests=3, concurrency=1)
        assert "The job stopped" in said
        assert [len(request.texts) for request in server.received] == [2, 1, 1]
        assert session.runtime.cache.info().rows == 2


def test_the_tokens_of_a_batch_are_those_of_all_its_texts(session: Session, gateway: Served) -> None:
    job(session, ["x", "y"], batch_size=2)
    assert "does not allow ≈6" in refused(session, texts_of(6), batch_size=6, max_tokens=5)
    assert job(session, texts_of(6), batch_size=6, max_tokens=6).summary.tokens == 6
    assert len(gateway.received) == 2


# Tokens


def test_tokens_are_counted_as_the_service_counts_them(token: str) -> None:
    with talking_to(counting(7), token) as (session, server):
        allow(session, max_tokens=20)
        said = refused(session, texts_of(5), concurrency=1)
        assert said.startswith("The session's budget of 20 tokens (≈21 used) does not allow ≈1 more. The job stopped")
        assert len(server.received) == 3
        assert (session.totals.tokens, session.totals.tokens_estimated) == (21, False)
        assert session.totals.tokens_taken == 21


def test_where_the_service_does_not_count_the_estimate_is(session: Session, gateway: Served) -> None:
    allow(session, max_tokens=10)
    job(session, ["eight ch" * 2, "four"])  # about 4 and 1
    assert (session.totals.tokens, session.totals.tokens_estimated) == (5, True)
    assert "(≈5 used) does not allow ≈6 more" in refused(session, ["x" * 24])
    job(session, ["x" * 20])
    assert len(gateway.received) == 3


def test_requests_on_their_way_have_taken_their_tokens(token: str) -> None:
    closed = Closed()
    with talking_to(behind(closed, create_app(token=token)), token) as (session, server):
        allow(session, max_tokens=10)
        running = started(session, texts_of(6))
        until(lambda: len(server.received) == 6)
        assert "(≈6 used) does not allow ≈5 more" in str(started(session, list("abcde")).exception(60))
        closed.open.set()
        running.result(60)
        assert (session.totals.tokens, session.totals.tokens_on_the_way) == (6, 0)


def test_a_job_s_own_requests_on_their_way_count_in_its_own_budget(token: str) -> None:
    closed = Closed()

    async def rule(text: str) -> Answer | None:
        return await closed(text) if text == "t1" else None

    with talking_to(behind(rule, counting(9)), token) as (session, server):
        running = started(session, texts_of(4), max_tokens=10, concurrency=2)
        until(lambda: session.last_job is not None and session.last_job.errors)
        assert sorted(server.texts) == ["t0", "t1"]
        closed.open.set()
        assert "budget of 10 tokens (≈10 used) does not allow ≈1 more" in str(running.exception(60))
        assert session.totals.new == 2


def test_a_request_that_fails_gives_its_tokens_back(token: str) -> None:
    with talking_to(behind(Failing(2), create_app(token=token)), token) as (session, server):
        assert job(session, texts_of(1), max_tokens=1).summary.tokens == 1
        assert len(server.received) == 3
        assert (session.totals.tokens, session.totals.tokens_on_the_way) == (1, 0)


def test_a_job_that_is_cancelled_gives_its_tokens_back(token: str) -> None:
    closed = Closed()
    with talking_to(behind(closed, create_app(token=token)), token) as (session, server):
        allow(session, max_tokens=10)
        running = started(session, texts_of(5))
        until(lambda: len(server.received) == 5)
        running.cancel()
        until(lambda: not session.totals.tokens_on_the_way)
        closed.open.set()
        assert job(session, texts_of(5)).summary.tokens == 5


def test_a_job_that_fails_otherwise_says_so_and_not_that_its_budget_is_used_up(token: str) -> None:
    with (
        talking_to(behind(Failing(99), create_app(token=token)), token) as (session, server),
        pytest.raises(UpstreamError),
    ):
        job(session, texts_of(1), max_requests=100)
    assert len(server.received) == 8
