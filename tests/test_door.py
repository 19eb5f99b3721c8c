"""What leaves the package as an exception holds nothing of the inside: no frames, no headers, no token."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import pytest
from support.gateways import Served, answering, json_answer, served

from vn_magic import Session
from vn_magic.exceptions import TokenRefusedError, UnexpectedError

REFUSAL = json_answer({"error": {"message": "no", "type": "new_api_error", "code": ""}}, 401)


def _frames(error: BaseException) -> Iterator[FrameType]:
    seen: set[int] = set()
    left: list[BaseException | None] = [error]
    while left:
        step = left.pop()
        if step is None or id(step) in seen:
            continue
        seen.add(id(step))
        left += [step.__cause__, step.__context__]
        trace = step.__traceback__
        while trace is not None:
            yield trace.tb_frame
            left += [value for value in trace.tb_frame.f_locals.values() if isinstance(value, BaseException)]
            trace = trace.tb_next


def _caught(call: Callable[[], object]) -> BaseException:
    try:
        call()
    except BaseException as error:  # noqa: BLE001 - the exception is what the tests look at
        return error
    raise AssertionError("nothing was raised")


def _calls(session: Session) -> list[Callable[[], object]]:
    return [
        lambda: session.embed(["a"]),
        lambda: asyncio.run(session.aembed(["a"])),
        lambda: session.run(session.run_job(session.prepare(["a"]))),
    ]


def test_an_exception_brings_no_frame_that_has_seen_the_token(token: str) -> None:
    with served(answering(REFUSAL)) as server, Session(base_url=server.url, token=token) as session:
        for call in _calls(session):
            error = _caught(call)
            assert isinstance(error, TokenRefusedError)
            assert error.__cause__ is None
            assert error.__context__ is None
            own = [frame for frame in _frames(error) if "test_door" not in frame.f_code.co_filename]
            assert own, "the walk found nothing to look at"
            assert not [frame for frame in own if token in repr(frame.f_locals)]
            assert {frame.f_code.co_name for frame in own} <= {
                "embed",
                "aembed",
                "run",
                "guard",
                "_run",
                "run_until_complete",
            }


def test_a_fault_of_ours_is_told_in_short_and_scrubbed(token: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> None:
        secret = f"Bearer {token}"
        raise RuntimeError(f"it broke with {secret}")

    monkeypatch.setattr("vn_magic.gateway.dialect.embed_body", broken)
    with Session(base_url="http://127.0.0.1:9", token=token) as session:
        for call in _calls(session):
            error = _caught(call)
            assert isinstance(error, UnexpectedError)
            assert "RuntimeError: it broke with Bearer sk-…0c93" in str(error)
            assert not [frame for frame in _frames(error) if token in repr(frame.f_locals.get("secret"))]


def test_debug_adds_the_traceback_as_scrubbed_text(token: str) -> None:
    with served(answering(REFUSAL)) as server, Session(base_url=server.url, token=token) as session:
        session.debug = True
        error = _caught(lambda: session.embed(["a"]))
        assert isinstance(error, TokenRefusedError)
        shown = "\n".join(error._render_traceback_())
        assert "in _attempt" in shown
        assert token not in shown


def test_a_dropped_session_and_the_end_of_a_program_leave_stderr_empty(gateway: Served, token: str) -> None:
    program = (
        "import gc, vn_magic\n"
        "session = vn_magic.Session()\n"
        "session.embed(['a', 'b'])\n"
        "del session; gc.collect()\n"
        "vn_magic.embed(['c'])\n"
    )
    environ = {**os.environ, "VN_MAGIC_BASE_URL": gateway.url, "VECTORNODE_API_KEY": token}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environ, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert sorted(gateway.texts) == ["a", "b", "c"]
