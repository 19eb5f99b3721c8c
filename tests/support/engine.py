"""What several tests of the engine need: servers that hesitate or refuse by text, and other processes."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import Any

from support.gateways import App, Message, Receive, Send, answering, json_answer, texts_in

Rule = Callable[[str], Awaitable[tuple[int, dict[str, str], bytes] | None]]

BAD_TEXT = json_answer({"error": {"message": "not this text", "type": "upstream_error", "code": 400}}, 400)
NO_BALANCE = json_answer({"error": {"message": "no money", "type": "x", "code": "insufficient_user_quota"}}, 403)


def behind(rule: Rule, app: App) -> App:
    """An app that asks the rule about every text first: it may wait, and may answer in the app's place.

    The first text of a batch that the rule answers is answered for the whole of it.
    """

    async def ruled(scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        message = await receive()  # the log before this app hands over the whole body at once

        async def replay() -> Message:
            return message

        for text in texts_in(message["body"]):
            if answer := await rule(text):
                await answering(answer)(scope, replay, send)
                return
        await app(scope, replay, send)

    return ruled


class Held:
    """An app that answers texts with "held" in them only once `go` is set."""

    def __init__(self, app: App) -> None:
        self.go = threading.Event()
        self.app = behind(self._rule, app)

    async def _rule(self, text: str) -> None:
        while "held" in text and not self.go.is_set():  # noqa: ASYNC110 - set by the test, in another thread
            await asyncio.sleep(0.01)


def python(script: str, *arguments: str, **environ: str) -> subprocess.Popen[str]:
    """Start another Python on a script, with pipes, in this environment and these variables."""
    return subprocess.Popen(
        [sys.executable, "-c", script, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **environ},
    )


def side_by_side(processes: Sequence[subprocess.Popen[str]]) -> list[tuple[str, str]]:
    """Let all go at once when each has printed ``ready``; return what each wrote to stdout and to stderr."""
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    return [process.communicate(timeout=300) for process in processes]


def output_of(script: str, *arguments: str, **environ: str) -> str:
    """Run a script in another Python to its end and return what it printed."""
    with python(script, *arguments, **environ) as process:
        out, err = process.communicate(timeout=300)
        assert process.returncode == 0, err
        return out
