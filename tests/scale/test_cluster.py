"""Collections on a real cluster of two worker processes: rows, rates, kills, and errors that arrive whole."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
from distributed import Client, Nanny
from faults.answers import envelope, good, vector_of
from faults.gateway import Arrival, FaultGateway, Step, fault_gateway
from faults.jobs import DIMENSION, TOKEN, WINDOW, assert_own_vectors, most_in_a_window
from support.clusters import cluster
from support.waiting import until

from vn_magic import Session
from vn_magic.cache_thread import COMMIT_ROWS
from vn_magic.exceptions import RejectedTextError, TokenError
from vn_magic.scale.collection import embed_lazily
from vn_magic.scale.workers import ClusterTask, cluster_line
from vn_magic.settings import Settings

CONCURRENCY = 8


@pytest.fixture(scope="module")
def environ(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, str]:
    """What the workers find in their environment."""
    return {"VECTORNODE_API_KEY": TOKEN, "VN_MAGIC_CACHE": str(tmp_path_factory.mktemp("cache"))}


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory, environ: Mapping[str, str]) -> Iterator[Client]:
    with cluster(tmp_path_factory.mktemp("workers"), environ, window=WINDOW) as client:
        yield client


def texts_of(name: str, count: int) -> list[str]:
    """Return texts of one test's own: the workers keep their cache."""
    return [f"{name} {number}" for number in range(count)]


def frame_of(texts: list[str]) -> pd.DataFrame:
    return pd.DataFrame({"text": texts, "number": range(len(texts))}, index=pd.RangeIndex(10, 10 + len(texts)))


def lazily(gateway: FaultGateway, texts: list[str], partitions: int, **options: Any) -> Any:
    """Return the collection that a session without a token of its own makes for these texts, as an array."""
    series = dd.from_pandas(pd.Series(texts, name="text"), npartitions=partitions)
    with Session(base_url=gateway.base_url) as session:
        return embed_lazily(session, series, **{"result": "numpy", "dimension": DIMENSION, **options})


@pytest.mark.usefixtures("client")
def test_the_result_is_that_of_one_process_and_every_text_is_asked_for_once() -> None:
    frame = frame_of(texts_of("same", 60))
    with fault_gateway(good) as gateway, Session(base_url=gateway.base_url, token="sk-alone-1234") as session:
        rows = dd.from_pandas(frame, npartitions=4)
        together = embed_lazily(session, rows, column="text", dimension=DIMENSION).compute()
        alone = session.embed(rows.compute(), column="text", dimension=DIMENSION)
        assert sorted(gateway.texts_sent_with(TOKEN)) == sorted(frame["text"])
    pd.testing.assert_frame_equal(together, alone)
    assert together.attrs == alone.attrs
    assert_own_vectors(np.stack(list(together["embedding"])), list(frame["text"]))


def test_partitions_without_rows_and_pieces_of_arrow_have_the_right_shape_on_the_workers(client: Client) -> None:
    frame = frame_of(texts_of("few", 8)).astype({"text": "string[pyarrow]"})
    some = dd.from_pandas(frame, npartitions=4)
    some = some[some["number"] >= 6]
    with fault_gateway(good) as gateway, Session(base_url=gateway.base_url) as session:
        parts = embed_lazily(session, some, column="text", dimension=DIMENSION, result="numpy")
        shapes = client.gather(client.compute(list(parts.to_delayed().ravel())))
        framed = embed_lazily(session, some, column="text", dimension=DIMENSION).compute()
    assert [part.shape for part in shapes] == [(0, DIMENSION)] * 3 + [(2, DIMENSION)]
    assert {part.dtype for part in shapes} == {np.dtype(np.float32)}
    assert list(framed.columns) == ["text", "number", "embedding"]
    assert list(framed.index) == [16, 17]


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")
def test_a_worker_that_is_killed_costs_only_the_rows_in_flight(client: Client) -> None:
    killed = threading.Event()

    def script(arrival: Arrival) -> Iterator[Step]:
        if arrival.number >= 400:  # nobody gets further before one is killed
            killed.wait(60)
        yield good(arrival)

    texts = texts_of("killed", 800)
    with fault_gateway(script) as gateway:
        [victim, *_] = client.run(os.getpid).values()
        computing = client.compute(lazily(gateway, texts, 4, concurrency=CONCURRENCY, unit_length=False))
        until(lambda: len(gateway.received) >= 400, "the middle of the job")
        os.kill(victim, signal.SIGKILL)
        killed.set()
        matrix = computing.result(timeout=120)
        asked = Counter(gateway.texts)
    assert np.array_equal(matrix, np.stack([vector_of(text, DIMENSION) for text in texts]))
    assert set(asked) == set(texts)
    assert asked.total() - len(texts) <= COMMIT_ROWS + CONCURRENCY
    client.wait_for_workers(2, timeout=60)


@pytest.mark.usefixtures("client")
def test_two_processes_together_never_exceed_the_rate_in_any_window() -> None:
    texts = texts_of("rate", 150)
    with fault_gateway(good) as gateway:
        matrix = lazily(gateway, texts, 6, requests_per_minute=60).compute()
    assert_own_vectors(matrix, texts)
    assert len(gateway.received) == len(texts)
    assert most_in_a_window([arrival.at for arrival in gateway.received], WINDOW) <= 60


def machines() -> int:
    """Return how many machines the task that calls this has found."""
    task = ClusterTask.here()
    assert task is not None
    return task.machines()


@pytest.fixture
def second_machine(client: Client, environ: Mapping[str, str]) -> Iterator[None]:
    """A worker at another address, which is what tells machines apart."""
    if sys.platform != "linux":
        pytest.skip("needs a second address of loopback")

    async def start() -> Nanny:
        return await Nanny(client.scheduler.address, host="127.0.0.2", nthreads=1, env=dict(environ))

    worker = client.sync(start)
    yield
    client.sync(worker.close)


@pytest.mark.usefixtures("second_machine")
def test_over_several_machines_the_rate_is_divided_by_their_number(client: Client) -> None:
    texts = texts_of("divided", 45)
    with fault_gateway(good) as gateway:
        counted = [client.submit(machines, workers=[worker], pure=False) for worker in client.nthreads()]
        assert client.gather(counted) == [2, 2, 2]
        # They share a file, being one machine in truth: half of the rate is what all of them together keep.
        assert_own_vectors(lazily(gateway, texts, 4, requests_per_minute=41).compute(), texts)
    assert most_in_a_window([arrival.at for arrival in gateway.received], WINDOW) <= 20
    told = {rate: cluster_line(Settings(requests_per_minute=rate)) for rate in (600, 1)}
    assert told[600] == "Dask: 2 machines, 3 workers; requests_per_minute 600 is 300 on each"
    assert told[1] == "Dask: 2 machines, 3 workers; requests_per_minute 1 is 1 on each, 2 together: each needs one"


def test_on_the_clients_own_loop_nobody_waits_for_the_scheduler_to_tell_about_it(client: Client) -> None:
    async def line() -> str | None:
        return cluster_line(Settings(requests_per_minute=600))

    told = "Dask: an asynchronous client; requests_per_minute 600 is divided by the number of machines"
    assert client.sync(line) == told


def test_what_is_cancelled_stops_and_its_finished_rows_are_kept(client: Client) -> None:
    cancelled = threading.Event()

    def script(arrival: Arrival) -> Iterator[Step]:
        if arrival.number >= 200:
            cancelled.wait(60)
        yield good(arrival)

    texts = texts_of("cancelled", 400)
    with fault_gateway(script) as gateway:
        lazy = lazily(gateway, texts, 2, concurrency=CONCURRENCY)
        future = client.compute(lazy)
        until(lambda: len(gateway.received) >= 200, "the middle of the job")
        client.cancel(future)
        until(lambda: not any(client.run(lambda dask_worker: len(dask_worker.active_threads)).values()), "the stop")
        assert len(gateway.received) < len(texts)
        cancelled.set()
        assert_own_vectors(lazy.compute(), texts)
        assert len(gateway.received) - len(texts) <= 2 * (COMMIT_ROWS + CONCURRENCY)


@pytest.mark.usefixtures("client")
def test_an_error_arrives_whole_short_and_clean_and_counts_rows_in_its_partition() -> None:
    def script(arrival: Arrival) -> bytes:
        return envelope("malformed request") if arrival.text == "refused 7" else good(arrival)

    with fault_gateway(script) as gateway, pytest.raises(RejectedTextError) as caught:
        lazily(gateway, texts_of("refused", 8), 2).compute()
    error = caught.value
    assert str(error).startswith("Row 3 of this partition ('refused 7'): The gateway rejected this text.")
    assert (error.status, error.code, error.request_id) == (500, "invalid_request", "20260516-faults")
    assert error._render_traceback_() == f"RejectedTextError: {error}".splitlines()
    assert len(str(error).splitlines()) <= 3


def change_environment(**changes: str | None) -> None:
    """Set variables of the process that calls this, or take them away."""
    for name, value in changes.items():
        os.environ.pop(name, None)
        if value is not None:
            os.environ[name] = value


@pytest.mark.parametrize("cure", ["VECTORNODE_API_KEY", "VECTORNODE_API_KEY_FILE"])
def test_workers_without_a_token_name_both_cures_and_each_of_them_helps(
    client: Client, tmp_path: Path, cure: str
) -> None:
    (tmp_path / "token").write_text("sk-workers-own-1234")
    value = str(tmp_path / "token") if cure.endswith("FILE") else "sk-workers-own-1234"
    client.run(change_environment, VECTORNODE_API_KEY=None)
    try:
        with fault_gateway(good) as gateway, Session(base_url=gateway.base_url, token=TOKEN) as session:
            series = dd.from_pandas(pd.Series(texts_of(cure, 4)), npartitions=2)
            lazy = embed_lazily(session, series, result="numpy", dimension=DIMENSION)
            with pytest.raises(TokenError) as caught:
                lazy.compute()
            assert len(str(caught.value).splitlines()) <= 3
            cures = "set VECTORNODE_API_KEY, or VECTORNODE_API_KEY_FILE, in the environment of the workers"
            assert cures in str(caught.value)
            assert gateway.received == []
            client.run(change_environment, **{cure: value})
            assert_own_vectors(lazy.compute(), texts_of(cure, 4))
            assert sorted(gateway.texts_sent_with("sk-workers-own-1234")) == texts_of(cure, 4)
    finally:
        client.run(change_environment, VECTORNODE_API_KEY_FILE=None, VECTORNODE_API_KEY=TOKEN)
