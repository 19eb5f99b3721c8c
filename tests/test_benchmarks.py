"""The benchmarks' own judges: the gateway that nobody may fool, and the table of targets."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from benchmarks.bodies import variant_of, vectors
from benchmarks.catalogue import BY_HAND, CANDIDATES, OURS, ZERO_768
from benchmarks.environments import REQUIREMENTS
from benchmarks.local import CARDS, Figures
from benchmarks.processes import Gateway, gateway
from benchmarks.protocol import check
from benchmarks.report import report
from benchmarks.rounds import Results, Row
from benchmarks.targets import Target, targets

MODEL = "/v1beta/models/gemini-embedding-001"
RIGHT = {"content": {"parts": [{"text": "a text"}]}, "output_dimensionality": 768}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with gateway(tmp_path_factory.mktemp("benchmarks")) as started:
        yield started


def ask(served: Gateway, path: str, body: object, token: str = "sk-benchmark") -> Any:
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    request = urllib.request.Request(served.urls[0] + path, json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


@pytest.mark.parametrize("dimension", [768, 3072])
def test_a_text_gets_its_own_vector_at_full_precision(served: Gateway, dimension: int) -> None:
    answer = ask(served, f"{MODEL}:embedContent", {**RIGHT, "output_dimensionality": dimension})
    assert np.array_equal(np.array(answer["embedding"]["values"], np.float32), vectors(dimension)[variant_of("a text")])


def test_a_batch_gets_its_vectors_in_order_and_is_counted_as_its_texts(served: Gateway) -> None:
    before = served.count()
    texts = [f"text {number}" for number in range(100)]
    requests = [{"model": "models/gemini-embedding-001", **RIGHT, "content": {"parts": [{"text": t}]}} for t in texts]
    rows = [each["values"] for each in ask(served, f"{MODEL}:batchEmbedContents", {"requests": requests})["embeddings"]]
    counted = served.count() - before
    check(np.array(rows, np.float32), texts, 768)
    assert (counted.requests, counted.texts) == (1, 100)


@pytest.mark.parametrize(
    ("path", "body", "token"),
    [
        (f"{MODEL}:embedContent", RIGHT, ""),
        ("/v1beta/models/another:embedContent", RIGHT, "sk-benchmark"),
        (f"{MODEL}:embedContent", {}, "sk-benchmark"),
        (f"{MODEL}:embedContent", {**RIGHT, "outputDimensionality": 768}, "sk-benchmark"),
        (f"{MODEL}:embedContent", {**RIGHT, "output_dimensionality": 7}, "sk-benchmark"),
        (f"{MODEL}:embedContent", {"content": {"parts": [{"text": " "}]}}, "sk-benchmark"),
        (f"{MODEL}:embedContent", {"content": {"parts": [{"text": "a"}, {"text": "b"}]}}, "sk-benchmark"),
        (f"{MODEL}:batchEmbedContents", {"requests": [RIGHT] * 101}, "sk-benchmark"),
        (f"{MODEL}:batchEmbedContents", {"requests": []}, "sk-benchmark"),
    ],
)
def test_a_wrong_request_is_a_400_and_is_not_counted(served: Gateway, path: str, body: object, token: str) -> None:
    before = served.count()
    with pytest.raises(urllib.error.HTTPError) as raised:
        ask(served, path, body, token)
    assert raised.value.code == 400
    assert (served.count() - before).texts == 0


def test_rows_that_changed_places_are_found_out() -> None:
    texts = [f"text {number}" for number in range(20)]
    matrix = vectors(768)[[variant_of(text) for text in texts]]
    check(matrix, texts, 768)
    with pytest.raises(ValueError, match="not the vectors of their texts"):
        check(matrix[::-1], texts, 768)


@pytest.mark.parametrize(
    ("target", "verdict"),
    [
        (Target("", 1.0, 1.0), "met"),
        (Target("", 1.1, 1.0), "missed"),
        (Target("", 5.0, 4.0, at_least=True), "met"),
        (Target("", 3.0, 4.0, at_least=True), "missed"),
        (Target("", None, 1.0), "not run"),
        (Target("", 1.0, None), ""),
    ],
)
def test_a_target_is_met_missed_not_run_or_only_told(target: Target, verdict: str) -> None:
    assert target.verdict == verdict


def test_a_target_is_the_ratio_of_the_medians_of_the_rounds() -> None:
    results = Results()
    for name, costs in ((OURS, (1.0, 3.0, 9.0)), (BY_HAND, (1.5, 1.4, 8.0))):
        results.rows[ZERO_768, name] = [Row(10, cost, 1.0, 0.0, 10, 0.1) for cost in costs]
    found = {target.what: target for target in targets(results, Figures())}
    assert found["CPU, 768 values: aiohttp + msgspec by hand"].measured == pytest.approx(2.0)


def test_growth_off_its_line_is_found_in_percent() -> None:
    costs = dict(zip(CARDS.values(), (1.0, 13.0, 100.0), strict=True))
    found = {target.what: target for target in targets(Results(), Figures({k: {"cpu": v} for k, v in costs.items()}))}
    assert found["CPU at 10k texts: off the line from 1k to 100k"].measured == pytest.approx(30.0)


def test_every_failure_is_named_with_its_reason_below_tables_of_110_columns() -> None:
    results, figures = Results(failures={"a peer": "it broke"}), Figures(failures={"start": "no three rows"})
    for each in CANDIDATES:
        results.rows[ZERO_768, each.name] = [Row(1600, 0.5, 1.0, 12.0, 1600, 0.1)]
    text = report(results, figures, 5, judged=True)
    assert "FAILED a peer: it broke" in text
    assert "FAILED start: no three rows" in text
    assert max(len(line) for line in text.splitlines() if line.startswith("|")) <= 110


@pytest.mark.parametrize("environment", sorted({each.environment for each in CANDIDATES} - {""}))
def test_peers_are_pinned(environment: str) -> None:
    pins = (REQUIREMENTS / f"{environment}.txt").read_text(encoding="utf-8").splitlines()
    assert pins
    assert all("==" in pin for pin in pins)
