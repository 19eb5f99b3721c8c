"""What is said of jobs: short, true, and readable at a glance."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vn_magic.embeddings import Embeddings, Provenance
from vn_magic.lookup import Plan
from vn_magic.models import OFFLINE_MODEL
from vn_magic.notebook.phrases import (
    counted,
    duration_text,
    final_lines,
    plan_lines,
    progress_line,
    progress_text,
    size_text,
)
from vn_magic.progress import JobSummary, ProgressEvent
from vn_magic.settings import JobOptions, Recipe

RECIPE = Recipe("gemini-embedding-001", 768, "CLUSTERING", None, True)
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


def test_failed_rows_are_said() -> None:
    assert "2 failed" in progress_text(ProgressEvent(10, done=2, failed=2, seconds=1.0))


def _events() -> st.SearchStrategy[ProgressEvent]:
    counts = st.lists(st.integers(0, 10**6), min_size=4, max_size=4).map(sorted)
    return st.builds(
        lambda some, seconds: ProgressEvent(some[3], done=some[2], cached=some[1], failed=some[0], seconds=seconds),
        counts.filter(lambda some: some[0] + some[1] <= some[2]),
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


def test_a_dry_run_names_what_would_be_sent_and_rows_that_look_too_long() -> None:
    texts = ["short", None, "word " * 3000, "short"]
    assert plan_lines(Plan(4, 1, 0, [0, 2]), texts, RECIPE, JobOptions()) == [
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
    lines = plan_lines(Plan(7, 0, 0, range(7)), [str(row) for row in range(7)], RECIPE, options)
    assert f"· {requests}would be sent ·" in lines[1]


def test_many_long_rows_are_named_up_to_five() -> None:
    lines = plan_lines(Plan(7, 0, 0, range(7)), [f"{'word ' * 3000}{row}" for row in range(7)], RECIPE, JobOptions())
    assert "(row 0, 1, 2, 3, 4 …)" in lines[-1]
