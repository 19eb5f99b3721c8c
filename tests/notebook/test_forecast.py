"""What is said of a job before it runs: what it would send and cost, and what would keep it from that."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from vn_magic.frames import source_of
from vn_magic.lookup import Plan
from vn_magic.notebook.forecast import plan_lines, plan_text
from vn_magic.progress import Totals
from vn_magic.request import Request
from vn_magic.settings import JobOptions, Recipe, Settings

RECIPE = Recipe("gemini-embedding-001", 768, "CLUSTERING", None, True)
TEXTS = ("four", "four", "four", "four")  # a token each
PRICED = Settings(price_per_million=0.15)


def _request(texts: Sequence[str | None] = TEXTS, options: JobOptions | None = None) -> Request:
    return Request(source_of(list(texts), None), RECIPE, options or JobOptions(), "df")


def _lines(
    plan: Plan,
    texts: Sequence[str | None] = TEXTS,
    *,
    options: JobOptions | None = None,
    settings: Settings | None = None,
    totals: Totals | None = None,
) -> list[str]:
    return plan_lines(plan, texts, _request(texts, options), settings or Settings(), totals or Totals())


def test_a_dry_run_names_what_would_be_sent_and_rows_that_look_too_long() -> None:
    texts = ["short", None, "word " * 3000, "short"]
    assert _lines(Plan(4, 1, 0, [0, 2]), texts) == [
        "dry run   4 × 768   gemini-embedding-001; nothing was sent",
        "0 from cache · 1 duplicate · 2 requests would be sent · ≈3,751 tokens",
        "1 row cannot be embedded (missing, blank or not text)",
        "1 row looks longer than the 2,048 tokens that the model reads (row 2); the service cuts them without notice",
    ]


@pytest.mark.parametrize(
    ("options", "requests"),
    [
        (JobOptions(batch_size=100), "1 request "),
        (JobOptions(batch_size=3), "3 requests "),
        (JobOptions(batch_size=100, requests_per_minute=4), "2 requests "),
        (JobOptions(requests_per_minute=4), "7 requests "),
    ],
    ids=str,
)
def test_a_dry_run_counts_a_batch_as_one_request_and_none_is_larger_than_a_minutes_limit(
    options: JobOptions, requests: str
) -> None:
    lines = _lines(Plan(7, 0, 0, range(7)), [str(row) for row in range(7)], options=options)
    assert f"· {requests}would be sent ·" in lines[1]


def test_many_long_rows_are_named_up_to_five() -> None:
    lines = _lines(Plan(7, 0, 0, range(7)), [f"{'word ' * 3000}{row}" for row in range(7)])
    assert "(row 0, 1, 2, 3, 4 …)" in lines[-1]


def test_rows_of_a_pack_stand_beside_those_of_the_cache() -> None:
    assert _lines(Plan(4, 0, 1, [3], recorded=2))[1] == (
        "1 from cache · 2 from pack · 0 duplicates · 1 request would be sent · ≈1 token"
    )


def test_with_a_price_a_dry_run_says_what_the_job_would_cost() -> None:
    assert _lines(Plan(4, 0, 0, range(4)), settings=PRICED)[1].endswith(
        "· ≈4 tokens · ≈0.00000060 at 0.15 a million tokens"
    )
    assert "million" not in _lines(Plan(4, 0, 4, []), settings=PRICED)[1]


def test_offline_a_dry_run_says_what_the_job_would_cost_elsewhere() -> None:
    offline = Settings(price_per_million=0.15, offline=True)
    assert "· would be ≈0.00000060 at" in _lines(Plan(4, 0, 0, range(4)), settings=offline)[1]


@pytest.mark.parametrize(
    ("settings", "options", "said"),
    [
        (Settings(max_requests=100), JobOptions(), "the session's budget of 100 requests (97 used) would refuse this"),
        (Settings(max_tokens=33), JobOptions(), "the session's budget of 33 tokens (≈30 used) would refuse this"),
        (Settings(), JobOptions(max_requests=3), "the job's budget of 3 requests would refuse this"),
        (Settings(), JobOptions(max_tokens=3), "the job's budget of 3 tokens would refuse this"),
        (Settings(), JobOptions(batch_size=2, max_requests=1), "the job's budget of 1 request would refuse this"),
    ],
)
def test_a_dry_run_says_which_budget_would_refuse_the_job(settings: Settings, options: JobOptions, said: str) -> None:
    totals = Totals(requests=97, tokens=25, tokens_on_the_way=5)
    plan = Plan(4, 0, 0, range(4))
    assert _lines(plan, options=options, settings=settings, totals=totals)[2:] == [said]
    assert plan_text(plan, TEXTS, _request(options=options), settings, totals).endswith(f"to send · {said}")


@pytest.mark.parametrize(
    ("settings", "options", "missing"),
    [
        (Settings(max_requests=101, max_tokens=34), JobOptions(max_requests=4, max_tokens=4), 4),
        (Settings(max_requests=98), JobOptions(batch_size=4, max_requests=1), 4),
        (Settings(max_requests=0, max_tokens=0), JobOptions(max_requests=0), 0),
    ],
    ids=["what is left", "a batch is one", "nothing to send"],
)
def test_a_dry_run_keeps_silent_about_budgets_that_allow_the_job(
    settings: Settings, options: JobOptions, missing: int
) -> None:
    plan = Plan(4, 0, 4 - missing, range(missing))
    assert len(_lines(plan, options=options, settings=settings, totals=Totals(requests=97, tokens=30))) == 2


def test_where_a_pack_alone_answers_a_dry_run_names_the_rows_that_would_fail_instead_of_requests() -> None:
    settings = Settings(price_per_million=0.15, max_requests=0)
    texts = ["four", "word " * 3000, "four", "four"]
    plan = Plan(4, 1, 0, [0, 1], recorded=1, pack="lesson.vnpack")
    assert _lines(plan, texts, settings=settings)[1:] == [
        "0 from cache · 1 from pack · 1 duplicate",
        "2 texts are not in the pack lesson.vnpack, which alone answers: they would fail",
    ]
    one = _lines(Plan(4, 0, 0, [0], recorded=3, pack="lesson.vnpack"))
    assert one[-1] == "1 text is not in the pack lesson.vnpack, which alone answers: it would fail"
    assert len(_lines(Plan(4, 0, 0, [], recorded=4, pack="lesson.vnpack"))) == 2


def test_the_panels_line_says_the_same() -> None:
    plan = Plan(4, 1, 1, [3], recorded=1)
    assert plan_text(plan, TEXTS, _request(), PRICED, Totals()) == (
        "4 rows · 1 duplicate · 1 in the cache · 1 in the pack · ≈1 token to send · "
        "≈0.00000015 at 0.15 a million tokens"
    )
    assert plan_text(Plan(4, 0, 2, [0, 1]), TEXTS, _request(), Settings(), Totals()) == (
        "4 rows · 0 duplicates · 2 in the cache · ≈2 tokens to send"
    )
    strict = Plan(4, 0, 0, [0, 1], recorded=2, pack="lesson.vnpack")
    assert plan_text(strict, TEXTS, _request(), PRICED, Totals()) == (
        "4 rows · 0 duplicates · 0 in the cache · 2 in the pack · "
        "2 texts are not in the pack lesson.vnpack, which alone answers: they would fail"
    )
