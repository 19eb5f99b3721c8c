"""What is said of jobs: short, true, and readable at a glance."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vn_magic.embeddings import Embeddings, Provenance
from vn_magic.models import OFFLINE_MODEL
from vn_magic.notebook.phrases import (
    counted,
    duration_text,
    final_lines,
    money_text,
    progress_line,
    progress_text,
    size_text,
    tokens_text,
    usage_text,
)
from vn_magic.progress import JobSummary, ProgressEvent, Totals

SUMMARY = JobSummary(
    rows=3,
    new=2,
    cached=1,
    failed=0,
    duplicates=0,
    requests=2,
    retries=0,
    concurrency=2,
    tokens=40,
    tokens_estimated=True,
    seconds=0.406,
)


def _embeddings(summary: JobSummary = SUMMARY, **provenance: object) -> Embeddings:
    of = Provenance("gateway.example", "gemini-embedding-001", "CLUSTERING", 768, True)
    matrix = np.zeros((summary.rows, 768), dtype=np.float32)
    return Embeddings(["x"] * summary.rows, matrix, replace(of, **provenance), {}, summary)  # type: ignore[arg-type] # any field


def test_a_running_job_tells_rows_rate_cache_retries_wait_and_what_is_left() -> None:
    event = ProgressEvent(
        1000, done=300, cached=100, requests=210, retries=3, concurrency=4, waiting="4 s (429)", seconds=10.0
    )
    assert progress_text(event) == (
        "300 of 1,000 rows · 100 from cache · 20 rows/s · 4 at once · 3 retries · waiting 4 s (429) · ≈35 s left"
    )


@pytest.mark.parametrize(("concurrency", "told"), [(8, ""), (9, "2 requests, 0 retries · up to 9 at once · 0.41 s")])
def test_a_job_whose_concurrency_grew_says_how_far(concurrency: int, told: str) -> None:
    line = final_lines("df", _embeddings(replace(SUMMARY, concurrency=concurrency)))[1]
    assert told in line
    assert ("at once" in line) == bool(told)


def test_what_is_nothing_is_not_said() -> None:
    assert progress_text(ProgressEvent(5)) == "0 of 5 rows"


def test_a_slow_job_counts_by_the_minute() -> None:
    assert "30 rows/min" in progress_text(ProgressEvent(100, done=5, seconds=10.0))


def test_rows_from_the_cache_do_not_speed_up_the_rate() -> None:
    event = ProgressEvent(100, done=50, cached=50, seconds=1.0)
    assert progress_text(event) == "50 of 100 rows · 50 from cache"


def test_rows_from_a_pack_are_told_from_those_of_the_cache_and_do_not_speed_up_the_rate_either() -> None:
    event = ProgressEvent(100, done=60, cached=20, recorded=30, seconds=1.0)
    assert progress_text(event) == "60 of 100 rows · 20 from cache · 30 from pack · 10 rows/s · ≈4 s left"


def test_failed_rows_are_said() -> None:
    assert "2 failed" in progress_text(ProgressEvent(10, done=2, failed=2, seconds=1.0))


def _events() -> st.SearchStrategy[ProgressEvent]:
    counts = st.lists(st.integers(0, 10**6), min_size=5, max_size=5).map(sorted)
    return st.builds(
        lambda some, seconds: ProgressEvent(
            some[4], done=some[3], cached=some[2], recorded=some[1], failed=some[0], seconds=seconds
        ),
        counts.filter(lambda some: sum(some[:3]) <= some[3]),
        st.floats(0, 1e6),
    )


@given(_events())
def test_any_state_of_a_job_is_one_line_with_a_bar_of_one_width(event: ProgressEvent) -> None:
    line = progress_line("vectors", event)
    assert "\n" not in line
    assert sum(line.count(cell) for cell in "█░") == 24
    assert line.endswith(progress_text(event))


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0.4, "0 s"),
        (8, "8 s"),
        (99, "99 s"),
        (99.6, "2 min"),
        (180, "3 min"),
        (5940, "99 min"),
        (6000, "1 h 40 min"),
        (90000, "25 h 0 min"),
    ],
)
def test_durations_are_said_as_people_say_them(seconds: float, said: str) -> None:
    assert duration_text(seconds) == said


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (counted(1, "row"), "1 row"),
        (counted(0, "row"), "0 rows"),
        (counted(1024, "request"), "1,024 requests"),
        (counted(2, "retry", "retries"), "2 retries"),
        (size_text(1500), "2 kB"),
        (size_text(12_345_678), "12.3 MB"),
    ],
)
def test_numbers_agree_with_their_nouns(said: str, expected: str) -> None:
    assert said == expected


def test_a_finished_job_says_what_it_is_what_it_did_and_where() -> None:
    assert final_lines("poems", _embeddings()) == [
        "poems   3 × 768   gemini-embedding-001 · CLUSTERING · unit length",
        "2 new, 1 from cache · ≈40 tokens · 2 requests, 0 retries · 0.41 s · gateway.example",
    ]


def test_tokens_that_the_service_counted_are_not_marked_as_estimated() -> None:
    assert " · 40 tokens · " in final_lines("x", _embeddings(replace(SUMMARY, tokens_estimated=False)))[1]


def test_a_job_from_the_cache_alone_names_no_tokens() -> None:
    assert "token" not in final_lines("x", _embeddings(replace(SUMMARY, new=0, cached=3)))[1]


def test_rows_of_a_pack_are_said_beside_those_of_the_cache_where_there_are_any() -> None:
    assert final_lines("x", _embeddings(replace(SUMMARY, recorded=12)))[1].startswith(
        "2 new, 1 from cache, 12 from pack · ≈40 tokens · "
    )
    assert "pack" not in final_lines("x", _embeddings())[1]


def test_with_a_price_a_card_shows_what_its_new_rows_cost() -> None:
    lines = final_lines("x", _embeddings(replace(SUMMARY, price_per_million=0.15)))
    assert "· ≈40 tokens · ≈0.0000060 at 0.15 a million tokens · 2 requests" in lines[1]


def test_what_nothing_was_sent_for_costs_nothing() -> None:
    summary = replace(SUMMARY, new=0, tokens=0, requests=0, recorded=3, price_per_million=0.15)
    assert "million" not in final_lines("x", _embeddings(summary))[1]


def test_the_stand_in_is_free_and_its_card_says_what_a_gateway_would_cost() -> None:
    summary = replace(SUMMARY, price_per_million=0.15)
    line = final_lines("x", _embeddings(summary, model=OFFLINE_MODEL, source=OFFLINE_MODEL))[1]
    assert "· would be ≈0.0000060 at 0.15 a million tokens ·" in line


@pytest.mark.parametrize(
    ("tokens", "price", "said"),
    [
        (14_000, 0.15, "≈0.0021 at 0.15 a million tokens"),
        (1, 0.15, "≈0.00000015 at 0.15 a million tokens"),
        (664_000, 0.15, "≈0.10 at 0.15 a million tokens"),
        (6_660_000, 0.15, "≈1.00 at 0.15 a million tokens"),
        (10_000_000, 0.15, "≈1.50 at 0.15 a million tokens"),
        (1_000_000, 12_345.6, "≈12,345.60 at 12,345.6 a million tokens"),
        (123_000, 2.0, "≈0.25 at 2 a million tokens"),
        (1_000, 150_000, "≈150.00 at 150,000 a million tokens"),
        (0, 0.15, ""),
        (14_000, None, ""),
    ],
)
def test_money_has_digits_that_say_something_and_the_price_it_was_reckoned_at(
    tokens: int, price: float | None, said: str
) -> None:
    assert money_text(tokens, price) == said


@given(st.integers(1, 10**12), st.floats(1e-6, 1e9))
def test_money_is_never_shown_as_nothing_and_never_far_off(tokens: int, price: float) -> None:
    shown = money_text(tokens, price).split()[0]
    cost = tokens * price / 1e6
    assert shown[0] == "≈"
    assert "e" not in shown
    assert float(shown[1:].replace(",", "")) == pytest.approx(cost, rel=0.051)


def test_tokens_are_marked_where_they_are_estimated() -> None:
    assert (tokens_text(1, estimated=False), tokens_text(1234, estimated=True)) == ("1 token", "≈1,234 tokens")


def test_what_a_session_has_used_is_told_in_one_line() -> None:
    totals = Totals(requests=12, retries=1, new=11, cached=2, recorded=3, tokens=14_000)
    assert usage_text(totals, None, free=False) == (
        "12 requests, 1 retry · 11 rows new, 2 from cache, 3 from packs · 14,000 tokens"
    )
    totals.tokens_estimated = True
    assert usage_text(totals, 0.15, free=False).endswith("· ≈14,000 tokens · ≈0.0021 at 0.15 a million tokens")
    assert usage_text(totals, 0.15, free=True).endswith("· would be ≈0.0021 at 0.15 a million tokens")


def test_vectors_of_the_stand_in_are_called_lexical() -> None:
    lines = final_lines("x", _embeddings(model=OFFLINE_MODEL, source=OFFLINE_MODEL))
    assert lines[1].endswith("offline stand-in: lexical, not semantic")


def test_raw_vectors_without_a_task_are_said_to_be_so() -> None:
    assert (
        final_lines("x", _embeddings(unit_length=False, task_type=None))[0]
        == "x   3 × 768   gemini-embedding-001 · raw"
    )


def test_duplicates_failures_and_notices_are_said() -> None:
    lines = final_lines("x", _embeddings(replace(SUMMARY, duplicates=1, failed=2, notices=("Mind this.",))))
    assert "1 duplicate · 2 failed, see the column `error`" in lines[1]
    assert lines[2:] == ["Mind this."]
