"""`compare`: what is sent for a grid of settings, and that its figures are those of vectors embedded one by one."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from concurrent.futures import CancelledError
from hashlib import blake2b
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from scipy.stats import spearmanr
from sklearn.metrics import silhouette_score
from sklearn.neighbors import NearestNeighbors
from support.engine import BAD_TEXT, behind
from support.gateways import Receive, Send, Served, answering, json_answer, served

from vn_magic import Session, current_session
from vn_magic.classroom.comparison import _table, compare, run_comparison
from vn_magic.classroom.settings_grid import settings_grid
from vn_magic.exceptions import BudgetError, GatewayError, InputError, SettingsError, VnMagicError
from vn_magic.explore.comparison import MOST_ROWS, neighbor_overlap
from vn_magic.progress import ProgressEvent
from vn_magic.session import OFFLINE_NOTICE
from vn_magic.texts import estimated_tokens

TASKS = ["CLUSTERING", "SEMANTIC_SIMILARITY"]
TEXTS = [f"{animal} number {number} eats {food}" for number in range(6) for animal, food in (
    ("cat", "fish"), ("dog", "bones"), ("horse", "hay"), ("cow", "grass"), ("bear", "honey"),
)]  # fmt: skip
ANIMALS = [text.split()[0] for text in TEXTS]


def vector_of(text: str, model: str, task: str | None, dimension: int) -> NDArray[np.float64]:
    """A vector as the documented model sends it: a task moves it, and shorter ones are beginnings; not so of others."""
    matryoshka = model == "gemini-embedding-001"
    parts = ((text.partition(" ")[0], 1.0), (text, 2.0), (f"{text} {task}", 1.0), (f"{model} {text}", 1.0))
    vector = np.zeros(3072)
    for part, weight in parts:
        seed = part if matryoshka else f"{part} {dimension}"
        random = np.random.default_rng(list(blake2b(seed.encode(), digest_size=8).digest()))
        vector += weight * random.standard_normal(3072)
    return vector[:dimension]


async def documented_gateway(scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
    """The documented endpoint with vectors of our own, which no stand-in signs."""
    body = json.loads((await receive())["body"])
    model = scope["path"].rpartition("/")[2].partition(":")[0]
    vector = vector_of(body["content"]["parts"][0]["text"], model, body.get("taskType"), body["output_dimensionality"])
    answer = json_answer({"embedding": {"values": vector.tolist()}, "usageMetadata": {"promptTokenCount": 7}})

    async def replay() -> MutableMapping[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    await answering(answer)(scope, replay, send)


@pytest.fixture
def documented() -> Iterator[tuple[Session, Served]]:
    with served(documented_gateway) as server, Session(base_url=server.url, token="sk-anything-1234") as session:
        yield session, server


def asked(server: Served) -> list[tuple[str, str | None, int]]:
    """Model, task and dimension of every request, in the order of their arrival."""
    return [
        (
            request.path.rpartition("/")[2].partition(":")[0],
            request.json.get("taskType"),
            request.json["output_dimensionality"],
        )
        for request in server.received
    ]


def notes(table: pd.DataFrame) -> str:
    return "\n".join(table.attrs["comparison"]["notes"])


def independent_figures(
    first: NDArray[np.float32], other: NDArray[np.float32], labels: list[str], k: int
) -> list[float]:
    """Overlap, rank correlation, purity and silhouette by scipy and scikit-learn alone."""
    near = [
        NearestNeighbors(n_neighbors=k, metric="cosine").fit(matrix.astype(float)).kneighbors()[1]
        for matrix in (first, other)
    ]
    overlap = np.mean([len({*mine} & {*theirs}) / k for mine, theirs in zip(*near, strict=True)])
    pairs = np.triu_indices(len(first), k=1)
    cosines = [1 - _distances(matrix)[pairs] for matrix in (first, other)]
    alike = np.array(labels)[near[1]] == np.array(labels)[:, np.newaxis]
    return [
        float(overlap),
        float(spearmanr(*cosines).statistic),
        float(alike.mean()),
        float(silhouette_score(other.astype(float), labels, metric="cosine")),
    ]


def _distances(matrix: NDArray[np.float32]) -> NDArray[np.float64]:
    wide = matrix.astype(float)
    unit = wide / np.linalg.norm(wide, axis=1, keepdims=True)
    distances: NDArray[np.float64] = 1 - unit @ unit.T
    return distances


FIGURES = ["overlap", "rank_correlation", "purity", "silhouette"]


# What is sent


def test_one_request_a_text_serves_all_dimensions_of_a_task(session: Session, gateway: Served) -> None:
    table = compare(TEXTS, dimensions=[128, 512, 256], task_types=TASKS, k=3, session=session)
    assert sorted(gateway.texts) == sorted(2 * TEXTS)
    assert {request.json["output_dimensionality"] for request in gateway.received} == {512}
    assert table[["requests", "tokens"]].astype(bool).all(axis=1).tolist() == 2 * [False, True, False]
    assert (table["requests"].tolist(), (table["seconds"] > 0).tolist()) == (2 * [0, 30, 0], 2 * [False, True, False])
    assert "Dimensions of one model and task shared their requests" in notes(table)


def test_the_same_comparison_again_sends_nothing_and_has_the_same_figures(session: Session, gateway: Served) -> None:
    first = compare(TEXTS, dimensions=[128, 256], task_types=TASKS, labels=ANIMALS, k=3, session=session)
    sent = len(gateway.received)
    again = compare(TEXTS, dimensions=[128, 256], task_types=TASKS, labels=ANIMALS, k=3, session=session)
    assert len(gateway.received) == sent == 60
    assert again[["requests", "tokens"]].to_numpy().tolist() == 4 * [[0, 0]]
    assert again[FIGURES].equals(first[FIGURES])
    assert "60 of 60 vectors came from the cache or a pack and cost nothing." in notes(again)
    assert "from the cache" not in notes(first)


def test_a_smaller_grid_is_served_by_what_a_larger_one_has_paid_for(session: Session, gateway: Served) -> None:
    compare(TEXTS, dimensions=[256], session=session)
    assert compare(TEXTS, dimensions=[128], session=session)["requests"].tolist() == [0]
    assert len(gateway.received) == 30


def test_duplicates_are_sent_once_and_count_as_rows(session: Session, gateway: Served) -> None:
    table = compare(["a b c", "b c d", "a b c", "c d e"], k=1, session=session)
    assert (len(gateway.received), table.attrs["comparison"]["rows"]) == (3, 4)


def test_lines_stand_in_the_order_of_the_options(documented: tuple[Session, Served]) -> None:
    session, _ = documented
    models = ["my-model", "gemini-embedding-001"]
    table = compare(TEXTS, models=models, task_types=TASKS, dimensions=[256, 128, 256], k=3, session=session)
    expected = [[model, task, dimension] for model in models for task in TASKS for dimension in (256, 128)]
    assert table[["model", "task_type", "dimension"]].to_numpy().tolist() == expected
    assert table.index.tolist() == list(range(8))
    assert table.loc[0, ["overlap", "rank_correlation"]].tolist() == [1.0, 1.0]


def test_what_is_not_given_is_the_sessions_setting(documented: tuple[Session, Served]) -> None:
    session, server = documented
    session.configure("dimension", 200, "test")
    session.configure("task_type", "CLASSIFICATION", "test")
    table = compare(TEXTS, session=session)
    assert table[["model", "task_type", "dimension"]].to_numpy().tolist() == [
        ["gemini-embedding-001", "CLASSIFICATION", 200]
    ]
    assert set(asked(server)) == {("gemini-embedding-001", "CLASSIFICATION", 200)}


def test_dimensions_that_are_no_prefixes_are_embedded_one_by_one(documented: tuple[Session, Served]) -> None:
    session, server = documented
    table = compare(TEXTS, models=["my-model"], dimensions=[128, 256], session=session)
    assert (table["requests"].tolist(), len(server.received)) == ([30, 30], 60)
    assert "Some dimensions were embedded one by one" in notes(table)
    assert "shared their requests" not in notes(table)


def test_raw_vectors_of_every_dimension_are_embedded_one_by_one(documented: tuple[Session, Served]) -> None:
    session, server = documented
    session.configure("unit_length", False, "test")
    table = compare(TEXTS, dimensions=[128, 256], session=session)
    assert (table["requests"].tolist(), len(server.received)) == ([30, 30], 60)
    assert "Some dimensions were embedded one by one" in notes(table)


def test_a_model_without_tasks_has_none_beside_one_with_the_default(documented: tuple[Session, Served]) -> None:
    session, server = documented
    models = ["gemini-embedding-001", "gemini-embedding-2"]
    table = compare(TEXTS, models=models, dimensions=[128], k=3, session=session)
    assert table["task_type"].isna().tolist() == [False, True]
    assert set(asked(server)) == {
        ("gemini-embedding-001", "SEMANTIC_SIMILARITY", 128),
        ("gemini-embedding-2", None, 128),
    }


# Figures


def test_every_figure_is_that_of_vectors_embedded_one_setting_after_the_other(
    documented: tuple[Session, Served],
) -> None:
    session, _ = documented
    models, dimensions, k = ["gemini-embedding-001", "other-model"], [256, 128, 1024], 4
    table = compare(TEXTS, models=models, task_types=TASKS, dimensions=dimensions, labels=ANIMALS, k=k, session=session)
    matrices = [
        session.embed(
            TEXTS, model=line.model, task_type=line.task_type, dimension=line.dimension, result="numpy", cache=False
        )
        for line in table.itertuples()
    ]
    expected = [independent_figures(matrices[0], matrix, ANIMALS, k) for matrix in matrices]
    np.testing.assert_allclose(table[FIGURES].to_numpy(), expected, atol=1e-6)
    assert len({tuple(np.round(line, 4)) for line in expected}) == 12, (
        "lines must differ for this test to mean anything"
    )


def test_vectors_of_the_stand_in_are_prefixes_too(session: Session) -> None:
    table = compare(TEXTS, dimensions=[3072, 128, 768], labels=ANIMALS, k=4, session=session)
    matrices = [
        session.embed(TEXTS, dimension=dimension, result="numpy", cache=False) for dimension in (3072, 128, 768)
    ]
    expected = [independent_figures(matrices[0], matrix, ANIMALS, 4) for matrix in matrices]
    np.testing.assert_allclose(table[FIGURES].to_numpy(), expected, atol=1e-6)


def test_without_labels_there_is_neither_purity_nor_silhouette(offline: Session) -> None:
    assert list(compare(TEXTS, session=offline)) == [
        "model", "task_type", "dimension", "overlap", "rank_correlation", "requests", "tokens", "seconds",
    ]  # fmt: skip


def test_rows_without_a_label_count_for_the_neighbourhoods_only(offline: Session) -> None:
    labels: list[object] = [None, float("nan"), pd.NA, *ANIMALS[3:]]
    table = compare(TEXTS, labels=labels, k=3, session=offline)
    matrix = offline.embed(TEXTS, result="numpy")
    [_, _, *expected] = independent_figures(matrix[3:], matrix[3:], ANIMALS[3:], 3)
    assert table.loc[0, ["purity", "silhouette"]].tolist() == pytest.approx(expected, abs=1e-6)
    assert "3 rows without a label count for neither purity nor silhouette." in notes(table)
    assert table.attrs["comparison"]["sample"] == {
        "overlap": 30, "rank_correlation": 30, "purity": 27, "silhouette": 27,
    }  # fmt: skip


def test_a_failed_row_drops_out_of_the_figures_of_all_settings(token: str) -> None:
    async def refuse_one_task_of_one_text(text: str) -> tuple[int, dict[str, str], bytes] | None:
        return BAD_TEXT if text == TEXTS[4] else None

    with (
        served(behind(refuse_one_task_of_one_text, documented_gateway_after(TEXTS[7]))) as server,
        Session(base_url=server.url, token=token) as session,
    ):
        session.configure("on_error", "keep", "test")
        texts: list[object] = [*TEXTS, None]
        table = compare(texts, task_types=TASKS, dimensions=[128], labels=[*ANIMALS, "cat"], k=3, session=session)
        good = [row for row in range(30) if row not in (4, 7)]
        matrices = [
            session.embed([TEXTS[row] for row in good], task_type=task, dimension=128, result="numpy") for task in TASKS
        ]
    animals = [ANIMALS[row] for row in good]
    expected = [independent_figures(matrices[0], matrix, animals, 3) for matrix in matrices]
    np.testing.assert_allclose(table[FIGURES].to_numpy(), expected, atol=1e-6)
    assert table.attrs["comparison"]["failed"] == [4, 7, 30]
    assert "3 rows without a vector in every setting are left out of all figures: row 4 (" in notes(table)
    assert "row 30 (missing)" in notes(table)


def documented_gateway_after(refused: str) -> Callable[..., Awaitable[None]]:
    """The documented gateway, which will not embed one text for its second task."""

    async def app(scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        message = await receive()
        body = json.loads(message["body"])

        async def replay() -> MutableMapping[str, Any]:
            return message

        refuses = body["content"]["parts"][0]["text"] == refused and body["taskType"] == TASKS[1]
        await (answering(BAD_TEXT) if refuses else documented_gateway)(scope, replay, send)

    return app


def test_under_stop_the_first_failing_row_ends_it_and_another_run_sends_the_rest(token: str) -> None:
    refused = {TEXTS[9]}

    async def rule(text: str) -> tuple[int, dict[str, str], bytes] | None:
        return BAD_TEXT if text in refused else None

    with (
        served(behind(rule, documented_gateway)) as server,
        Session(base_url=server.url, token=token) as session,
    ):
        with pytest.raises(GatewayError, match="Row 9"):
            compare(TEXTS, task_types=TASKS, dimensions=[128], session=session)
        refused.clear()
        compare(TEXTS, task_types=TASKS, dimensions=[128], session=session)
        # Sixty vectors, and the refused text once more.
        assert len(server.received) <= 61


def test_when_every_row_fails_figures_are_not_defined_and_the_result_says_why(token: str) -> None:
    with served(answering(BAD_TEXT)) as server, Session(base_url=server.url, token=token) as session:
        session.configure("on_error", "keep", "test")
        table = compare(TEXTS, dimensions=[128, 256], labels=ANIMALS, session=session)
    assert table[FIGURES].isna().to_numpy().all()
    assert "Too few rows have a vector in every setting" in notes(table)
    assert "and 25 more" in notes(table)


def test_of_many_rows_a_sample_is_compared_and_the_result_says_so(offline: Session) -> None:
    texts = [f"row {number} of {number % 7} kinds" for number in range(MOST_ROWS + 100)]
    table = compare(texts, dimensions=[256, 128], labels=[number % 7 for number in range(len(texts))], session=offline)
    matrix = offline.embed(texts, dimension=256, result="numpy")
    shorter = offline.embed(texts, dimension=128, result="numpy")
    assert table["overlap"].tolist() == [1.0, neighbor_overlap(matrix, shorter, 10)]
    assert table.attrs["comparison"]["sample"] == {
        "overlap": 2000, "rank_correlation": 2000, "purity": 2000, "silhouette": 2100,
    }  # fmt: skip
    assert "Overlap, rank correlation and purity are those of a random sample of 2,000 of the 2,100 rows" in notes(
        table
    )


# What is told


def test_the_chance_of_an_overlap_and_of_a_label_is_told(offline: Session) -> None:
    table = compare(TEXTS, labels=ANIMALS, k=3, session=offline)
    # 3 of 29 other rows; 5 of 29 others have a row's label.
    assert "By chance overlap would be about 0.10 and purity about 0.17." in notes(table)


@pytest.mark.parametrize(("k", "all_rows"), [(3, False), (4, True), (9, True)])
def test_a_k_that_takes_in_all_rows_is_told(offline: Session, k: int, all_rows: bool) -> None:
    table = compare(TEXTS[:5], dimensions=[128, 256], labels=list("ababa"), k=k, session=offline)
    assert (table["overlap"].tolist() == [1.0, 1.0]) == all_rows
    assert (f"With k = {k} all other rows are neighbours, so overlap is 1" in notes(table)) == all_rows
    assert ("By chance purity would be about 0.40." in notes(table)) == all_rows
    assert ("By chance overlap would be about 0.75 and purity about 0.40." in notes(table)) != all_rows


def test_offline_vectors_are_told_as_such_every_time_and_named_so_in_every_line(offline: Session) -> None:
    for _ in range(2):
        table = compare(TEXTS, task_types=TASKS, dimensions=[128, 256], session=offline)
        assert OFFLINE_NOTICE in notes(table)
        assert "lines that differ in nothing else are equal" in notes(table)
        assert set(table["model"]) == {table.attrs["comparison"]["source"]} == {"offline-lexical"}
        assert table.loc[:1, "overlap"].tolist() == table.loc[2:, "overlap"].tolist()


def test_a_gateways_vectors_are_not_called_offline(documented: tuple[Session, Served]) -> None:
    session, server = documented
    table = compare(TEXTS, session=session)
    assert table.attrs["comparison"]["source"] == server.url.removeprefix("http://")
    assert "Offline" not in notes(table)
    assert "estimates" not in notes(table)  # this one counts tokens
    assert table["tokens"].tolist() == [7 * 30]


def test_what_it_says_of_itself_is_plain_json_and_stays_with_the_frame(offline: Session) -> None:
    table = compare(TEXTS, dimensions=[128, 256], labels=ANIMALS, session=offline)
    said = json.loads(json.dumps(table.attrs))
    assert table[table["dimension"] > 128].copy().attrs == said == table.attrs
    assert {name: said["comparison"][name] for name in ("source", "k", "rows", "failed")} == {
        "source": "offline-lexical", "k": 10, "rows": 30, "failed": [],
    }  # fmt: skip


# Texts and labels


@pytest.mark.parametrize(
    "data",
    [
        tuple(TEXTS),
        np.array(TEXTS),
        pd.Series(TEXTS, index=range(100, 130), name="embedding"),
        pd.Index(TEXTS),
        pd.DataFrame({"review": TEXTS, "stars": 3, "embedding": 0.5}),
    ],
)
def test_texts_may_be_of_every_kind_that_can_be_embedded(offline: Session, data: object) -> None:
    expected = compare(TEXTS, dimensions=[128, 256], session=offline)
    assert compare(data, dimensions=[128, 256], session=offline)["overlap"].equals(expected["overlap"])


def test_texts_and_labels_may_be_columns(offline: Session) -> None:
    frame = pd.DataFrame({"other": TEXTS[::-1], 0: TEXTS, "animal": ANIMALS}, index=range(5, 35))
    expected = compare(TEXTS, labels=ANIMALS, session=offline)
    for column, labels in (("0", "animal"), ("0", frame["animal"]), ("0", pd.Categorical(ANIMALS))):
        table = compare(frame, column=column, labels=labels, session=offline)
        assert table[FIGURES].equals(expected[FIGURES])


TWO_COLUMNS = pd.DataFrame({"short": ANIMALS, "long": TEXTS, "id": range(30), "one": 1, "lists": [[1]] * 30})
USUAL = {"data": TWO_COLUMNS, "column": "long"}


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"column": None}, r"several columns of texts \(long, short\)"),
        ({"data": TWO_COLUMNS[["id"]], "column": None}, "no column of texts"),
        ({"column": "nobody"}, "no column 'nobody'; the frame has short, long, id"),
        ({"data": TEXTS}, r"A column \('long'\) can be named for a DataFrame only"),
        ({"data": TEXTS[:2], "column": None}, "needs 3 texts at least.* this is 2"),
        ({"data": "a text", "column": None}, "needs 3 texts at least.* this is 1"),
        ({"data": 5, "column": None}, "A int cannot be embedded"),
        ({"column": "id"}, "30 of 30 rows cannot be embedded"),
        ({"k": 0}, "k is 0, expected a whole number from 1 on"),
        ({"k": True}, "k is True"),
        ({"k": 2.5}, "k is 2.5"),
        ({"dimensions": [128, 64]}, "128 to 3072 values, not 64"),
        ({"dimensions": [128, "many"]}, "dimension is 'many'"),
        ({"dimensions": []}, "dimensions is empty"),
        ({"task_types": ["CLUSTERING", "GUESSING"]}, "task_type is 'GUESSING', expected one of SEMANTIC_SIMILARITY"),
        ({"models": ["gemini-embedding-001", " "]}, "model is ' '"),
        ({"models": ["gemini-embedding-001", "gemini-embedding-2"], "task_types": TASKS}, "-2 has no task types"),
        ({"labels": "nobody"}, "no column 'nobody'"),
        ({"labels": "id"}, "'id' is different for every row"),
        ({"labels": "one"}, "'one' is the same for every row"),
        ({"labels": "lists"}, "'lists' cannot be compared with others"),
        ({"labels": [None] * 30}, "The label is missing in every row"),
        ({"labels": ["a", "b"]}, "2 labels for 30 texts"),
        ({"data": TEXTS, "column": None, "labels": "animal"}, "'animal' would be a column, and this is a list"),
    ],
)
def test_what_cannot_be_compared_is_a_short_error_before_anything_is_sent(
    session: Session, gateway: Served, options: dict[str, Any], why: str
) -> None:
    given = {**USUAL, **options}
    with pytest.raises((InputError, SettingsError), match=why) as raised:
        compare(given.pop("data"), **given, session=session)
    assert len(str(raised.value).splitlines()) <= 3
    assert gateway.received == []


@pytest.mark.parametrize(
    ("name", "enough"), [("max_requests", 60), ("max_tokens", 2 * sum(map(estimated_tokens, TEXTS)))]
)
def test_a_budget_that_the_whole_grid_would_exceed_refuses_it_before_anything_is_sent(
    session: Session, gateway: Served, name: str, enough: int
) -> None:
    session.configure(name, enough - 1, "test")
    with pytest.raises(BudgetError, match="Nothing was sent"):
        compare(TEXTS, task_types=TASKS, dimensions=[128, 256], session=session)
    assert gateway.received == []
    session.configure(name, enough, "test")
    assert compare(TEXTS, task_types=TASKS, dimensions=[128, 256], session=session)["requests"].sum() == 60


# Jobs on the session's loop


def test_progress_counts_the_rows_of_all_jobs_together(session: Session) -> None:
    heard: list[ProgressEvent] = []
    grid = settings_grid([*TEXTS, TEXTS[0]], session, task_types=TASKS, dimensions=[128, 256])
    table = session.run(run_comparison(grid, session, heard.append))
    assert {event.rows for event in heard} == {60}
    done = [event.done for event in heard]
    assert (done[0], done[-1], done) == (0, 60, sorted(done))
    assert (heard[-1].requests, int(table["requests"].sum())) == (60, 60)


def test_two_comparisons_at_once_pay_for_each_text_once(session: Session, gateway: Served) -> None:
    grid = settings_grid(TEXTS, session, dimensions=[128, 256])

    async def both() -> list[pd.DataFrame]:
        return await asyncio.gather(run_comparison(grid, session), run_comparison(grid, session))

    first, second = session.run(both())
    assert len(gateway.received) == 30
    assert first["overlap"].equals(second["overlap"])


def test_without_a_session_it_is_the_environments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vn_magic.current._default_session", [])
    monkeypatch.setenv("VN_MAGIC_OFFLINE", "1")
    assert compare(TEXTS)["model"].tolist() == ["offline-lexical"]
    current_session().close()


def test_without_a_token_nothing_is_sent_and_the_cure_is_named(gateway: Served) -> None:
    with Session(base_url=gateway.url) as session, pytest.raises(VnMagicError, match="%vn login"):
        compare(TEXTS, session=session)
    assert gateway.received == []


def test_figures_that_nobody_waits_for_any_more_are_not_computed(offline: Session) -> None:
    grid = settings_grid(["a", "b", "c", "d"], offline, dimensions=[256, 128], k=1)
    jobs, is_stopped = grid.jobs(), threading.Event()
    results = [offline.run(offline.run_job(grid.requests[each.carrier])) for each in jobs]
    assert len(_table(grid, jobs, results, is_stopped)) == 2
    is_stopped.set()
    with pytest.raises(CancelledError):
        _table(grid, jobs, results, is_stopped)
