"""A real ipykernel, driven as a front end drives it."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from queue import Empty
from typing import Any

from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.manager import start_new_kernel

_ANSI = re.compile(r"\x1b\[[0-9;]*m")


@dataclass
class Reply:
    """What a cell left: its outputs as a notebook would store them, and how it ended."""

    status: str
    messages: list[dict[str, Any]] = field(default_factory=list)
    answer: dict[str, Any] = field(default_factory=dict)  # to this client alone; `?` shows its help in it

    def _of(self, kind: str) -> list[dict[str, Any]]:
        return [message["content"] for message in self.messages if message["msg_type"] == kind]

    def stream(self, name: str) -> str:
        return "".join(content["text"] for content in self._of("stream") if content["name"] == name)

    @property
    def stdout(self) -> str:
        return self.stream("stdout")

    @property
    def stderr(self) -> str:
        return self.stream("stderr")

    @property
    def result(self) -> dict[str, str] | None:
        results = self._of("execute_result")
        return results[0]["data"] if results else None

    @property
    def displays(self) -> list[dict[str, str]]:
        """What stays on screen: a display per display id, in its last form."""
        shown: dict[str, dict[str, str]] = {}
        for number, message in enumerate(self.messages):
            if message["msg_type"] in ("display_data", "update_display_data"):
                content = message["content"]
                shown[content.get("transient", {}).get("display_id", str(number))] = content["data"]
        return list(shown.values())

    @property
    def card(self) -> str:
        return "\n".join(data.get("text/plain", "") for data in self.displays)

    @property
    def error(self) -> list[str]:
        """The lines of the error output, without colours."""
        errors = self._of("error")
        return [_ANSI.sub("", line) for line in errors[0]["traceback"]] if errors else []


class Kernel:
    """A kernel and a client of it. `run` asserts nothing: a reply has everything."""

    def __init__(self, manager: Any, client: BlockingKernelClient) -> None:
        self.manager = manager
        self.client = client

    def run(self, code: str, timeout: float = 60.0, *, stdin: str | None = None) -> Reply:
        """Run a cell; where it asks for input, answer with ``stdin``. Without that nobody can be asked."""
        message_id = self.client.execute(code, allow_stdin=stdin is not None)
        if stdin is not None:
            self.client.get_stdin_msg(timeout=timeout)
            self.client.input(stdin)
        return self.finish(message_id, timeout)

    def finish(self, message_id: str, timeout: float = 60.0) -> Reply:
        """Collect a cell's output until the kernel is idle again."""
        reply = Reply("")
        deadline = time.monotonic() + timeout
        while True:
            message = self.client.get_iopub_msg(timeout=max(0.1, deadline - time.monotonic()))
            if message["parent_header"].get("msg_id") != message_id:
                continue
            reply.messages.append(message)
            if message["msg_type"] == "status" and message["content"]["execution_state"] == "idle":
                break
        while True:
            answer = self.client.get_shell_msg(timeout=max(0.1, deadline - time.monotonic()))
            if answer["parent_header"].get("msg_id") == message_id:
                reply.status, reply.answer = answer["content"]["status"], answer
                return reply

    def start(self, code: str) -> str:
        """Start a cell and return its message id."""
        message_id: str = self.client.execute(code)
        return message_id

    def wait_for(self, message_id: str, kind: str, timeout: float = 60.0) -> dict[str, Any]:
        """Wait for the first message of a kind from a running cell."""
        deadline = time.monotonic() + timeout
        while True:
            message = self.client.get_iopub_msg(timeout=max(0.1, deadline - time.monotonic()))
            if message["parent_header"].get("msg_id") == message_id and message["msg_type"] == kind:
                found: dict[str, Any] = message
                return found

    def complete(self, code: str, position: int | None = None) -> list[str]:
        """Return what the kernel offers at a position (the end by default)."""
        message_id = self.client.complete(code, position)
        while True:
            answer = self.client.get_shell_msg(timeout=60)
            if answer["parent_header"].get("msg_id") == message_id:
                matches: list[str] = answer["content"]["matches"]
                return matches

    def drain(self) -> list[dict[str, Any]]:
        """Return whatever is still waiting on IOPub."""
        messages = []
        while True:
            try:
                messages.append(self.client.get_iopub_msg(timeout=0.5))
            except Empty:
                return messages


@contextmanager
def kernel(*, environ: dict[str, str]) -> Iterator[Kernel]:
    """Start a kernel with this environment and end it."""
    manager, client = start_new_kernel(kernel_name="python3", env=environ)
    try:
        yield Kernel(manager, client)
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
