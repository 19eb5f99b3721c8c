"""The session end to end over a real HTTP server."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import os
import threading
import time
import weakref
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from support.engine import behind, output_of, python
from support.gateways import Served, served

from vn_magic import Embeddings, Session
from vn_magic.credentials import Token, TokenFilter
from vn_magic.exceptions import EmbeddingInterruptedError, InputError, TokenError
from vn_magic.gateway.client import GatewayClient
from vn_magic.offline import create_app, lexical


def summary_of(session: Session, texts: object, **options: Any) -> tuple[int, int]:
    """Embed, and return how many rows were new and how many cached."""
    request = session.prepare(texts, dimension=256, **options)
    embeddings: Embeddings = session.run(session.run_job(request))
    return embeddings.summary.new, embeddings.summary.cached


def threads_of_vn_magic() -> set[threading.Thread]:
    """Those of sessions that were dropped earlier are among them, and may end at any time."""
    return {thread for thread in threading.enumerate() if thread.name.startswith("vn_magic")}


def test_sends_each_distinct_text_once_and_returns_rows_in_order(session: Session, gateway: Served) -> None:
    texts = ["b", "a", "b", "c", "a"]
    frame = session.embed(texts, dimension=256)
    assert list(frame["text"]) == texts
    assert sorted(gateway.texts) == ["a", "b", "c"]
    assert np.array_equal(frame["embedding"][0], frame["embedding"][2])


def test_missing_token_is_an_error_and_never_offline_vectors(gateway: Served) -> None:
    session = Session(base_url=gateway.url)
    with pytest.raises(TokenError, match="%vn login"):
        session.embed(["a"])
    assert gateway.received == []
    session.close()


def test_the_request_on_the_wire_is_the_documented_one(session: Session, gateway: Served, token: str) -> None:
    session.embed(["What is the meaning of life?"])
    (received,) = gateway.received
    assert (received.method, received.path) == ("POST", "/v1beta/models/gemini-embedding-001:embedContent")
    assert received.headers["authorization"] == f"Bearer {token}"
    assert received.json == {
        "content": {"parts": [{"text": "What is the meaning of life?"}]},
        "output_dimensionality": 768,
        "taskType": "SEMANTIC_SIMILARITY",
    }


def test_the_result_is_a_frame_or_an_array_of_the_same_vectors(session: Session) -> None:
    frame = session.embed(["a", "b"], dimension=256)
    array = session.embed(["a", "b"], dimension=256, result="numpy")
    assert isinstance(frame, pd.DataFrame)
    assert isinstance(array, np.ndarray)
    assert list(frame.columns) == ["text", "embedding"]
    assert (array.shape, array.dtype, array.flags.c_contiguous) == ((2, 256), np.float32, True)
    assert np.array_equal(np.stack(list(frame["embedding"])), array)


def test_keep_adds_a_column_that_says_why(session: Session, gateway: Served) -> None:
    frame = session.embed(["a", None, " "], dimension=256, on_error="keep")
    assert frame["error"].tolist() == [None, "missing", "blank"]
    assert np.isnan(np.stack(list(frame["embedding"]))).all(axis=1).tolist() == [False, True, True]
    assert gateway.texts == ["a"]


def test_stop_refuses_unusable_rows_before_anything_is_sent(session: Session, gateway: Served) -> None:
    with pytest.raises(InputError, match=r"2 of 3 rows cannot be embedded: row 1 \(missing\), row 2 \(blank\)"):
        session.embed(["a", None, " "])
    assert gateway.received == []


def test_a_second_session_on_the_same_cache_sends_nothing(session: Session, gateway: Served, token: str) -> None:
    texts = [f"text {number}" for number in range(10)]
    mine = session.embed(texts, dimension=256, result="numpy")
    other = Session(base_url=gateway.url, token=token)
    theirs = other.embed(texts, dimension=256, result="numpy")
    assert np.array_equal(mine, theirs)
    assert len(gateway.texts) == 10
    other.close()


def test_another_process_on_the_same_cache_sends_nothing(session: Session, gateway: Served, token: str) -> None:
    texts = [f"text {number}" for number in range(10)]
    mine = session.embed(texts, dimension=256, result="numpy")
    script = """
import json, sys
import vn_magic
matrix = vn_magic.embed(json.loads(sys.argv[1]), dimension=256, result="numpy")
print(json.dumps(matrix.astype(float).tolist()))
"""
    out = output_of(script, json.dumps(texts), VN_MAGIC_BASE_URL=gateway.url, VECTORNODE_API_KEY=token)
    assert np.array_equal(np.array(json.loads(out), dtype=np.float32), mine)
    assert len(gateway.texts) == 10


def test_what_another_process_embedded_is_found_by_this_one(session: Session, gateway: Served, token: str) -> None:
    script = "import vn_magic; vn_magic.embed(['theirs', 'too'], dimension=256)"
    output_of(script, VN_MAGIC_BASE_URL=gateway.url, VECTORNODE_API_KEY=token)
    assert summary_of(session, ["theirs", "mine", "too"]) == (1, 2)
    assert sorted(gateway.texts) == ["mine", "theirs", "too"]


def test_vectors_of_one_gateway_do_not_answer_for_another(session: Session, gateway: Served, offline: Session) -> None:
    session.embed(["a"], dimension=256)
    assert summary_of(offline, ["a"]) == (1, 0)
    assert len(gateway.texts) == 1


def test_nothing_is_opened_before_the_first_use_and_nothing_is_left_after_close(gateway: Served, token: str) -> None:
    before = threads_of_vn_magic()
    session = Session(base_url=gateway.url, token=token)
    assert threads_of_vn_magic() <= before
    session.close()
    session.embed(["a"], dimension=256)
    assert len(threads_of_vn_magic() - before) == 2
    session.close()
    session.close()
    assert threads_of_vn_magic() <= before


def test_a_closed_session_opens_again_with_settings_token_and_cache(session: Session, gateway: Served) -> None:
    session.configure("dimension", 256, "this test")
    for round_ in range(3):
        array = session.embed(["always", f"round {round_}"], result="numpy")
        assert array.shape == (2, 256)
        session.close()
    assert gateway.texts.count("always") == 1
    assert len(gateway.texts) == 4


def test_several_threads_use_one_session_at_once(session: Session, gateway: Served) -> None:
    results: dict[int, np.ndarray] = {}

    def work(number: int) -> None:
        texts = [f"{number}/{row}" for row in range(15)]
        results[number] = session.embed(texts, dimension=256, unit_length=False, result="numpy")

    workers = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    for number, matrix in results.items():
        expected = [lexical.embed(f"{number}/{row}", 256).astype(np.float32) for row in range(15)]
        assert np.array_equal(matrix, expected)
    assert len(gateway.texts) == 60
    assert (session.totals.new, session.totals.requests) == (60, 60)


FORK = """
import os, signal, sys
import numpy as np
import vn_magic

signal.alarm(50)  # of the parent alone
session = vn_magic.Session(offline=sys.argv[1] == "offline")
before = session.embed(["a", "b"], dimension=256, result="numpy")
child = os.fork()
if child == 0:
    again = session.embed(["b", "child"], dimension=256, result="numpy")
    fine = np.array_equal(again[0], before[1]) and session.runtime.cache.info().rows == 3
    if sys.argv[2] == "close":
        session.close()
    if fine:
        sys.exit(0)  # through atexit, as a worker that ends by itself
    os._exit(3)
_, status = os.waitpid(child, 0)
after = session.embed(["child", "parent", "a"], dimension=256, result="numpy")
assert np.array_equal(after[2], before[0])
print(os.waitstatus_to_exitcode(status), session.runtime.cache.info().rows)
session.close()
"""


forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")


@forks
@pytest.mark.parametrize(
    ("place", "ending"),
    [
        ("offline", "close"),
        ("offline", "exit"),
        ("gateway", "close"),
        ("gateway", "exit"),
    ],
)
def test_a_session_works_in_a_forked_child_and_in_its_parent_after_it(
    gateway: Served, token: str, place: str, ending: str
) -> None:
    out = output_of(FORK, place, ending, VN_MAGIC_BASE_URL=gateway.url, VECTORNODE_API_KEY=token)
    assert out == "0 4\n"
    assert sorted(gateway.texts) == ([] if place == "offline" else ["a", "b", "child", "parent"])


FORKS = """
import os, signal, threading
import vn_magic

session = vn_magic.Session(base_url="http://127.0.0.1:9", token="sk-nobody-0123456789")
done = threading.Event()

def busy():
    while not done.is_set():
        session.find_token()
        session.configure("dimension", 256, "a test")
        session.tokens.unmask()

threading.Thread(target=busy).start()
endings = set()
for _ in range(30):
    child = os.fork()
    if child == 0:
        signal.alarm(30)
        session.find_token()
        session.runtime
        os._exit(0)
    endings.add(os.waitpid(child, 0)[1])
    if endings != {0}:
        break
done.set()
print(endings)
"""


@forks
def test_a_forked_child_can_use_a_session_that_another_thread_was_using_as_it_forked() -> None:
    assert output_of(FORKS) == "{0}\n"


FORK_AND_GARBAGE = """
import faulthandler, gc, os, threading
import vn_magic

def opened():
    session = vn_magic.Session(offline=True)
    session.runtime.cache._run(lambda cache: cache._in_file(lambda file: None, None)).result()
    return session

faulthandler.dump_traceback_later(50, exit=True)
gc.disable()
kept, dropped = opened(), opened()
guard = dropped.runtime.cache._cache._guard
dropped.itself = dropped
del dropped
at_work = threading.Event()

def fork_has_begun():
    free = guard.acquire(blocking=False)
    if free:
        guard.release()
    return not free

def work(cache):
    def in_file(_file):
        at_work.set()
        while not fork_has_begun():
            pass
        gc.collect()  # in this thread, as it may be in any
        return "done"
    return cache._in_file(in_file, None)

working = kept.runtime.cache._run(work)
at_work.wait()
if os.fork() == 0:
    os._exit(0)
os.wait()
print(working.result())
"""


@forks
def test_a_dropped_session_that_is_collected_at_work_while_the_process_forks_stops_nobody() -> None:
    assert output_of(FORK_AND_GARBAGE) == "done\n"


DROPPED = """
import gc, threading
import vn_magic, vn_magic.cache_thread
from vn_magic.cache import EmbeddingCache

commit = EmbeddingCache.keep
went_on, in_vain = threading.Event(), []

def slowly(self, rows):
    if not went_on.wait(30):
        in_vain.append(rows)  # whoever would set it waits for this commit
    commit(self, rows)

session = vn_magic.Session()
session.embed(["a", "b"], dimension=256)
EmbeddingCache.keep = slowly
cached = vn_magic.Session()
from vn_magic.cache import CachedVector
from vn_magic.keys import CacheKey
import numpy as np
for number in range(10):
    cached.runtime.cache.keep(CachedVector(CacheKey(b"%d" % number, 4), np.ones(4, np.float32), "a test"))
del session, cached
gc.collect()
went_on.set()
print("waited" if in_vain else "went on")
"""


def test_what_a_dropped_session_has_left_is_committed_in_quiet_before_the_process_ends(
    gateway: Served, token: str
) -> None:
    with python(DROPPED, VN_MAGIC_BASE_URL=gateway.url, VECTORNODE_API_KEY=token) as process:
        told = process.communicate(timeout=60)
    assert told == ("went on\n", "")
    session = Session(offline=True)
    assert session.runtime.cache.info().rows == 12
    session.close()


def test_a_dropped_session_leaves_no_thread_and_nothing_that_remembers_it() -> None:
    before = set(threading.enumerate())
    session = Session(offline=True)
    session.embed(["a"], dimension=256)
    runtime = weakref.ref(session.runtime)
    mine = set(threading.enumerate()) - before
    del session
    gc.collect()
    for thread in mine:
        thread.join(20)
    assert not any(thread.is_alive() for thread in mine)
    gc.collect()
    assert runtime() is None


# The mask of the log


@pytest.fixture
def logged_late(monkeypatch: pytest.MonkeyPatch, token: str, caplog: pytest.LogCaptureFixture) -> list[str]:
    """What a client logs while it is closed: its headers, as aiohttp and asyncio do when something is wrong."""
    close, told = GatewayClient.close, caplog.messages

    async def close_and_tell(self: GatewayClient) -> None:
        await asyncio.sleep(0.01)
        logging.getLogger("asyncio").error("unclosed: %s", {"Authorization": f"Bearer {token}"})
        told.append(caplog.records[-1].getMessage())
        await close(self)

    monkeypatch.setattr(GatewayClient, "close", close_and_tell)
    return told


@pytest.mark.parametrize("ending", ["close", "log_out", "probe"])
def test_what_is_logged_while_connections_are_closed_is_masked(
    gateway: Served, token: str, logged_late: list[str], ending: str
) -> None:
    session = Session(base_url=gateway.url, token=None if ending == "probe" else token)
    if ending == "probe":
        session.run(session.probe(Token(token)))
    else:
        session.embed(["a"], dimension=256)
        session.close() if ending == "close" else session.log_out()
    give_up = time.monotonic() + 20
    while not logged_late and time.monotonic() < give_up:
        session.runtime.portal.run(asyncio.sleep(0.01))  # the closing that was begun goes on meanwhile
    assert logged_late == ["unclosed: {'Authorization': 'Bearer sk-…0c93'}"]
    session.close()
    assert [each for each in logging.getLogger("asyncio").filters if isinstance(each, TokenFilter)] == []


def test_a_job_whose_session_is_closed_meanwhile_says_so(token: str) -> None:
    asked = threading.Event()

    async def never(_text: str) -> None:
        asked.set()
        await asyncio.sleep(3600)

    with served(behind(never, create_app(token=token))) as server, ThreadPoolExecutor(1) as pool:
        session = Session(base_url=server.url, token=token)
        job = pool.submit(session.embed, ["a"])
        assert asked.wait(20)
        session.close()
        with pytest.raises(EmbeddingInterruptedError, match=r"because the session was closed\. Rows that had arrived"):
            job.result(20)


def test_the_offline_notice_is_told_once_a_session(offline: Session) -> None:
    def notices() -> tuple[str, ...]:
        return offline.run(offline.run_job(offline.prepare(["a"], dimension=256))).summary.notices

    (notice,) = notices()
    assert "lexical, not semantic" in notice
    assert notices() == ()


def test_an_unwritable_cache_is_one_notice_and_no_failure(gateway: Served, token: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way", encoding="utf-8")
    environ = {"VN_MAGIC_CACHE": str(tmp_path / "file" / "cache")}
    session = Session(base_url=gateway.url, token=token, environ=environ)
    told = [session.run(session.run_job(session.prepare(["a", "b"], dimension=256))).summary for _ in range(2)]
    assert [summary.cached for summary in told] == [0, 2]
    assert len([notice for notice in told[0].notices if "in memory only" in notice]) == 1
    assert told[1].notices == ()
    session.close()


LOGGED_OUT_AT_THE_END = """
import sys
from vn_magic import Session

session = Session(base_url=sys.argv[1], token=sys.stdin.readline().strip())
session.embed(["a"])
session.log_out()
"""


def test_a_program_that_ends_right_after_a_logout_says_nothing_on_stderr(gateway: Served, token: str) -> None:
    with python(LOGGED_OUT_AT_THE_END, gateway.url) as program:
        assert program.communicate(token + "\n", timeout=60) == ("", "")
