"""Trouble half-way: what has arrived is kept, what is asked to wait waits, and nothing is paid for twice."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import MutableMapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.gateways import App, Receive, Send, answering, json_answer, served

from vn_magic import Session
from vn_magic.cache import FILE_NAME, CachedVector, EmbeddingCache
from vn_magic.exceptions import DimensionError, LongWaitError, RejectedTextError
from vn_magic.keys import CacheKey
from vn_magic.offline import create_app

VECTOR = np.arange(1, 9, dtype=np.float32)


def _key(name: str) -> CacheKey:
    return CacheKey(name.encode().ljust(20, b"\0"), len(VECTOR))


def _found(cache: EmbeddingCache, *names: str) -> set[str]:
    hits: set[str] = set()
    cache.look_up([_key(name) for name in names], lambda at, _: hits.add(names[at]), prefixes=False)
    return hits


def _keep(cache: EmbeddingCache, *names: str) -> None:
    cache.keep([CachedVector(_key(name), VECTOR, "here") for name in names])


def test_rows_on_disk_are_found_while_another_program_holds_the_write_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vn_magic.cache._BUSY_SECONDS", 0.05)
    cache = EmbeddingCache(tmp_path)
    _keep(cache, "on disk")
    holder = sqlite3.connect(tmp_path / FILE_NAME, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    _keep(cache, "meanwhile")
    assert len(cache.notices) == 1
    assert _found(cache, "on disk", "meanwhile") == {"on disk", "meanwhile"}
    holder.execute("ROLLBACK")
    holder.close()
    _keep(cache, "afterwards")
    cache.close()
    # What could not be written at once was written with the next rows.
    assert _found(EmbeddingCache(tmp_path), "on disk", "meanwhile", "afterwards") == {
        "on disk",
        "meanwhile",
        "afterwards",
    }


def test_of_several_kernels_on_a_damaged_file_one_sets_it_aside(tmp_path: Path) -> None:
    first, second = EmbeddingCache(tmp_path), EmbeddingCache(tmp_path)
    _keep(first, "before")
    assert _found(second, "before") == {"before"}
    path = tmp_path / FILE_NAME
    damaged = bytearray(path.read_bytes())
    damaged[0:4096] = b"\xff" * 4096
    path.write_bytes(damaged)
    _keep(first, "first")
    _keep(second, "second")
    assert len(list(tmp_path.glob("*.damaged-*"))) == 1
    assert _found(EmbeddingCache(tmp_path), "first", "second") == {"first", "second"}


def _rejecting(bad: str, others: int, app: App) -> App:
    """Reject one text once so many others are on their way, and answer those afterwards, as `app` does."""
    arrived, rejected = [0], asyncio.Event()

    async def rejecting(scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        message = await receive()

        async def again() -> MutableMapping[str, Any]:
            return message

        if json.loads(message["body"])["content"]["parts"][0]["text"] == bad:
            while arrived[0] < others:  # noqa: ASYNC110 - a count, and no more
                await asyncio.sleep(0.005)
            error = {"error": {"code": 400, "status": "INVALID_ARGUMENT", "message": "no"}}
            await answering(json_answer(error, 400))(scope, again, send)
            rejected.set()
        else:
            arrived[0] += 1
            await rejected.wait()
            await app(scope, again, send)

    return rejecting


def test_answers_on_their_way_when_a_row_fails_are_kept(token: str) -> None:
    texts = ["bad", *(f"good {number}" for number in range(15))]
    with served(_rejecting("bad", 15, create_app(token=token))) as server:
        for _ in range(2):
            with (
                Session(base_url=server.url, token=token) as session,
                pytest.raises(RejectedTextError, match=r"Row 0 \('bad'\)"),
            ):
                session.embed(texts, dimension=256, concurrency=16)
    # All sixteen were on their way at once; the second time only the one that has no answer is sent.
    assert sorted(server.texts) == sorted([*texts, "bad"])


@pytest.mark.parametrize("on_error", ["stop", "keep"])
def test_a_wait_beyond_a_rows_time_ends_the_job_and_is_named(token: str, on_error: Any) -> None:
    with served(answering(json_answer({}, 429, retry_after="3600"))) as server:
        with Session(base_url=server.url, token=token) as session, pytest.raises(LongWaitError, match="3,600 s"):
            session.embed([str(number) for number in range(200)], concurrency=4, on_error=on_error)
        assert len(server.received) <= 4


def test_raw_vectors_are_never_cut_from_longer_ones(token: str) -> None:
    with (
        served(create_app(token=token, drops_dimension=True)) as server,
        Session(base_url=server.url, token=token) as session,
    ):
        session.embed(["cached"], dimension=3072)
        with pytest.raises(DimensionError, match="--raw cannot cut it"):
            session.embed(["cached"], dimension=768, unit_length=False, concurrency=1)
        raw = session.embed(["cached"], dimension=768, unit_length=False, result="numpy")
        assert [len(request.json) for request in server.received] == [3, 3, 3]
        assert not np.isclose(np.linalg.norm(raw[0]), 1.0)


def test_logging_out_closes_the_connections_that_were_made_with_the_token(token: str) -> None:
    with served(create_app(token=token)) as server, Session(base_url=server.url, token=token) as session:
        session.embed(["a"])
        session.log_out()
        assert session.runtime._clients == {}
