"""One partition where there is no cluster: in the process of the session that made the collection, and elsewhere."""

from __future__ import annotations

import pickle
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from traceback import walk_tb
from typing import Any

import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
from faults.answers import envelope, good
from faults.gateway import HANG, Arrival, Step, fault_gateway
from faults.jobs import DIMENSION, TOKEN, assert_own_vectors, texts_of
from support.clients import raw_server
from support.gateways import Served
from support.packs import pack_file, recording
from support.waiting import until

from vn_magic import Session, current
from vn_magic.exceptions import (
    InputError,
    PackError,
    ProvenanceError,
    RejectedTextError,
    RequirementError,
    TokenError,
    UpstreamError,
)
from vn_magic.scale.collection import embed_lazily
from vn_magic.scale.partition import PartitionJob, embed_partition
from vn_magic.scale.sessions import _opened, expected_provenance, session_with
from vn_magic.scale.workers import cluster_line, share_of
from vn_magic.settings import Settings


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch, session: Session) -> Session:
    """The session of this process, which holds a token; without this fixture the process has none."""
    monkeypatch.setattr(current, "_default_session", [session])
    return session


@pytest.fixture(autouse=True)
def fresh_process(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Every test begins and ends without a session of the process."""
    monkeypatch.setattr(current, "_default_session", [])
    yield
    _opened.cache_clear()


def job_of(session: Session, texts: Any = (), *, column: str | None = None, **options: Any) -> PartitionJob:
    """Return the job of a call of a session for texts like these."""
    like = pd.Series(list(texts), dtype="string") if column is None else texts
    request = session.prepare(like, **{"dimension": DIMENSION, "column": column, **options})
    return PartitionJob.of(session, request, expected_provenance(session, request.recipe), column)


def test_a_job_is_plain_values_without_a_token(session: Session, token: str) -> None:
    job = job_of(session)
    assert pickle.loads(pickle.dumps(job)) == job
    assert token.encode() not in pickle.dumps(job)


def test_at_home_the_session_answers_with_its_token_and_counts(home: Session, gateway: Served) -> None:
    embed_partition(pd.Series(["a", "b", "a"]), job_of(home))
    assert home.totals.requests == len(gateway.received) == 2


def test_a_process_without_a_session_or_a_token_names_both_cures() -> None:
    with fault_gateway(good) as other, Session(base_url=other.base_url) as session, pytest.raises(TokenError) as caught:
        embed_partition(pd.Series(["a"]), job_of(session))
    assert other.received == []
    told = str(caught.value).splitlines()
    assert told[0].startswith("A process of Dask: There is no token for 127.0.0.1")
    assert told[1].startswith("Next: set VECTORNODE_API_KEY, or VECTORNODE_API_KEY_FILE, in the environment")
    assert len(told) == 3


@pytest.mark.usefixtures("home")
def test_another_place_than_that_of_the_session_never_hears_its_token(token: str) -> None:
    with fault_gateway(good) as other, Session(base_url=other.base_url) as session, pytest.raises(TokenError) as caught:
        embed_partition(pd.Series(["a"]), job_of(session))
    assert other.received == []
    told = str(caught.value).splitlines()
    assert told[0].startswith("There is no token for 127.0.0.1")
    assert told[1] == f"Next: set the base URL back to {other.base_url}, or make the collection again."
    assert token not in str(caught.value)
    assert {frame.f_code.co_name for frame, _ in walk_tb(caught.tb)} & {"run_request", "run_job", "client"} == set()


def test_threads_of_one_process_share_a_session_and_each_place_has_its_own() -> None:
    start = threading.Barrier(8)

    def found(timeout: float) -> Session:
        start.wait(60)
        return session_with((("base_url", "https://places.example"), ("request_timeout", timeout)))

    with ThreadPoolExecutor(8) as pool:
        patient, hasty = set(pool.map(found, [60.0] * 8)), set(pool.map(found, [1.0] * 8))
    assert (len(patient), len(hasty), len(patient | hasty)) == (1, 1, 2)
    assert hasty.pop().settings.request_timeout == 1.0


@pytest.mark.parametrize("dtype", ["object", "string[pyarrow]", "string[python]", "category"])
@pytest.mark.parametrize("rows", [0, 3])
def test_pieces_of_any_dtype_and_size_have_the_shape_that_was_asked_for(
    offline: Session, dtype: str, rows: int
) -> None:
    frame = pd.DataFrame({"n": range(rows), "text": pd.Series(["a", "b c", "d"][:rows], dtype=dtype)})
    matrix = embed_partition(frame, job_of(offline, frame, column="text", result="numpy"))
    assert (matrix.shape, matrix.dtype) == ((rows, DIMENSION), np.float32)
    framed = embed_partition(frame, job_of(offline, frame, column="text"))
    assert isinstance(framed, pd.DataFrame)
    assert framed.dtypes.astype(str).to_dict() == {**frame.dtypes.astype(str).to_dict(), "embedding": "object"}
    assert framed.attrs["vn_magic"]["embedding"]["dimension"] == DIMENSION


def test_rows_in_errors_are_those_of_the_partition(offline: Session) -> None:
    with pytest.raises(InputError) as caught:
        embed_partition(pd.Series(["a", None, "row 5: b", " "]), job_of(offline))
    told = "2 of 4 rows cannot be embedded: row 1 of this partition (missing), row 3 (blank). Nothing of this partition"
    assert str(caught.value).startswith(told)
    kept = embed_partition(pd.Series(["a", None]), job_of(offline, on_error="keep"))
    assert isinstance(kept, pd.DataFrame)
    assert list(kept["error"]) == [None, "missing"]


def test_where_a_pack_alone_answered_nobody_is_asked_elsewhere(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, gateway: Served, session: Session, token: str
) -> None:
    path = pack_file(tmp_path / "lesson.vnpack", recording(["a"], DIMENSION))
    session.use_pack(path, strict=True, source="a test")
    job = job_of(session)
    monkeypatch.setenv("VECTORNODE_API_KEY", token)
    with pytest.raises(PackError, match=r"and here no pack\..*\nNext: set VN_MAGIC_PACK alike for the kernel and"):
        embed_partition(pd.Series(["a"]), job)
    monkeypatch.setattr(current, "_default_session", [session])
    assert len(embed_partition(pd.Series(["a"]), job)) == 1
    assert gateway.received == []


def test_a_pack_in_the_place_of_whom_the_collection_was_made_for_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, gateway: Served, session: Session
) -> None:
    job = job_of(session)
    monkeypatch.setenv("VN_MAGIC_PACK", str(pack_file(tmp_path / "other.vnpack", recording(["a"], DIMENSION))))
    with pytest.raises(PackError, match=r"^Where .* made no pack answers, and here the pack other.vnpack alone\."):
        embed_partition(pd.Series(["a"]), job)
    assert gateway.received == []


def test_a_pack_names_its_own_maker_for_partitions_without_rows_too(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, gateway: Served
) -> None:
    monkeypatch.setenv("VN_MAGIC_PACK", str(pack_file(tmp_path / "lesson.vnpack", recording(["a"], DIMENSION))))
    with Session(base_url=gateway.url) as session:
        job = job_of(session)
        with_rows, without = (embed_partition(pd.Series(texts, dtype="object"), job) for texts in (["a"], []))
    assert isinstance(with_rows, pd.DataFrame)
    assert isinstance(without, pd.DataFrame)
    assert with_rows.attrs == without.attrs != {}
    assert job.expected.source not in gateway.url


@pytest.mark.parametrize("result", ["df", "numpy"])
def test_vectors_of_another_maker_than_the_collection_names_are_no_result(
    monkeypatch: pytest.MonkeyPatch, result: Any
) -> None:
    with fault_gateway(good) as gateway, Session(base_url=gateway.base_url, token=TOKEN) as home:
        monkeypatch.setattr(current, "_default_session", [home])
        job = job_of(home, result=result)
        other = replace(job, expected=replace(job.expected, source="elsewhere.example"))
        with pytest.raises(ProvenanceError, match=r"^The collection was made for other vectors than have come:"):
            embed_partition(pd.Series(["a"]), other)
        assert len(embed_partition(pd.Series(["a"]), job)) == 1
        assert gateway.texts == ["a"], "paid for once, and kept"


def test_a_partition_without_vectors_does_not_say_whose_they_are_where_two_may_sign(home: Session) -> None:
    job = job_of(home)
    with_rows, without = (embed_partition(pd.Series(texts, dtype="object"), job) for texts in (["a"], []))
    assert isinstance(with_rows, pd.DataFrame)
    assert isinstance(without, pd.DataFrame)
    assert with_rows.vec.provenance.source == "offline-lexical"  # as the stand-in signs over HTTP
    assert without.attrs == {}


def test_what_the_notebook_has_forbidden_meanwhile_holds_for_its_own_process(
    home: Session, gateway: Served, monkeypatch: pytest.MonkeyPatch, token: str
) -> None:
    monkeypatch.setenv("VECTORNODE_API_KEY", token)
    job = job_of(home)
    home.configure("base_url", "https://elsewhere.example", "a test")
    home.configure("max_requests", 1, "a test")
    with pytest.raises(InputError, match="This session has a budget, which does not count requests to the place"):
        embed_partition(pd.Series(["a"]), job)
    home.configure("max_requests", None, "a test")
    home.unmet = "This notebook needs a pack."
    with pytest.raises(RequirementError, match="needs a pack"):
        embed_partition(pd.Series(["a"]), job)
    assert gateway.received == []


def test_notices_are_shown_once_where_the_result_was_asked_for(
    gateway: Served, token: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "no folder").write_text("")
    monkeypatch.setenv("VN_MAGIC_CACHE", str(tmp_path / "no folder"))
    with Session(base_url=gateway.url, token=token) as session:
        monkeypatch.setattr(current, "_default_session", [session])
        for text in ("a", "b"):
            embed_partition(pd.Series([text]), job_of(session))
    told = capsys.readouterr()
    assert told.out.count("cannot be used") == 1
    assert "lexical" not in told.out
    assert told.err == ""


def test_an_error_takes_nothing_along_although_distributed_pickles_causes_and_frames(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with raw_server(lambda request: request) as url, Session(base_url=url, token=TOKEN) as home:
        monkeypatch.setattr(current, "_default_session", [home])
        home.configure("row_timeout", 0.01, "a test")
        with pytest.raises(UpstreamError) as caught:
            embed_partition(pd.Series(["a"]), job_of(home))
    with_causes = ValueError("outer")
    with_causes.__cause__ = KeyError("inner")
    assert b"inner" in pickle.dumps(with_causes), "else this shows nothing"
    assert TOKEN.encode() not in pickle.dumps(caught.value)


def test_partitions_of_a_computation_that_has_failed_stop_sending(monkeypatch: pytest.MonkeyPatch) -> None:
    waiting: set[str | None] = set()

    def script(arrival: Arrival) -> Iterator[Step]:
        if arrival.text == "text 0":
            until(lambda: len(waiting) == 3, "a request of every other partition")
            yield envelope("malformed request")
            return
        waiting.add(arrival.text)
        try:
            yield HANG  # ends when the client leaves
        finally:
            waiting.remove(arrival.text)

    with fault_gateway(script) as gateway, Session(base_url=gateway.base_url, token=TOKEN) as home:
        monkeypatch.setattr(current, "_default_session", [home])
        rows = dd.from_pandas(pd.Series(texts_of(40)), npartitions=4)
        lazy = embed_lazily(home, rows, dimension=DIMENSION, result="numpy", concurrency=1)
        with pytest.raises(RejectedTextError, match=r"^Row 0 of this partition \('text 0'\)"):
            lazy.compute(scheduler="threads", num_workers=4)
        until(lambda: not waiting, "the end of what was under way")
        assert len(gateway.received) == 4


@pytest.mark.parametrize("scheduler", ["threads", "synchronous"])
def test_dask_without_a_cluster_gives_every_row_its_own_vector(monkeypatch: pytest.MonkeyPatch, scheduler: str) -> None:
    texts = texts_of(40)
    with fault_gateway(good) as gateway, Session(base_url=gateway.base_url, token=TOKEN) as home:
        monkeypatch.setattr(current, "_default_session", [home])
        rows = dd.from_pandas(pd.Series(texts), npartitions=3)
        lazy = embed_lazily(home, rows, dimension=DIMENSION, result="numpy")
        assert_own_vectors(lazy.compute(scheduler=scheduler), texts)
        assert len(gateway.received) == home.totals.requests == 40


@pytest.mark.parametrize(
    ("rate", "machines", "share"), [(600, 1, 600), (600, 2, 300), (601, 2, 300), (3, 3, 1), (2, 3, 1), (1, 50, 1)]
)
def test_a_rate_is_divided_among_machines_in_whole_texts_of_which_each_gets_one(
    rate: int, machines: int, share: int
) -> None:
    assert share_of(rate, machines) == share


def test_without_a_client_there_is_nothing_to_say_about_a_cluster() -> None:
    assert cluster_line(Settings()) is None
