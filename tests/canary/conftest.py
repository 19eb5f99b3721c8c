"""A kernel that was given a token at its prompt, with a second client that listens."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty
from typing import Any

import pytest
from jupyter_client.blocking.client import BlockingKernelClient
from support.gateways import Served, served
from support.hunt import CANARY, Hunt
from support.kernels import Kernel, Reply, kernel
from support.panels import Desk, desk

from vn_magic.offline import create_app

PREPARED = f"""
import sys
sys.path.append({str(Path(__file__).parents[1])!r})
%load_ext vn_magic
import vn_magic
"""


@dataclass
class LoggedIn:
    """A kernel whose session holds the canary, and what may be searched for it."""

    kernel: Kernel
    gateway: Served
    folder: Path
    said: list[dict[str, Any]] = field(default_factory=list)

    def run(self, *cells: str) -> Reply:
        """Run cells, keep what everybody hears of them, and return the reply to the last."""
        for cell in cells:
            reply = self.kernel.run(cell)
            self.said += reply.messages
        return reply

    def see(self, expression: str) -> str:
        """Return what an expression prints, which stays out of the hunt only as long as it names no token."""
        reply = self.run(f"print({expression})")
        assert reply.status == "ok", reply.error
        return reply.stdout.strip()


def environment(folder: Path, **more: str) -> dict[str, str]:
    """Return an environment for a kernel that knows of no token and writes below a folder."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("VECTOR", "VN_MAGIC"))}
    own = {name: str(folder / name.lower()) for name in ("IPYTHONDIR", "VN_MAGIC_CACHE", "JUPYTER_CONFIG_DIR")}
    return clean | own | more


@pytest.fixture
def hunt() -> Hunt:
    return Hunt()


@pytest.fixture(scope="module")
def logged_in(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LoggedIn]:
    """One kernel for a module's tests; each of them brings the session back to the gateway, if it leaves it."""
    folder = tmp_path_factory.mktemp("logged-in")
    with (
        served(create_app(token=CANARY)) as gateway,
        kernel(environ=environment(folder, VN_MAGIC_BASE_URL=gateway.url)) as started,
    ):
        one = LoggedIn(started, gateway, folder)
        assert one.run(PREPARED).status == "ok"
        one.run(f"%cd -q {folder}")
        login = started.run("%vn login", stdin=CANARY)
        one.said += login.messages
        assert "accepted" in login.card
        one.run("session = vn_magic.current_session()", "df = vn_magic.embed(['one', 'two'])")
        assert gateway.received[-1].headers["authorization"] == f"Bearer {CANARY}"
        yield one


@pytest.fixture(scope="module")
def panel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Desk, Served]]:
    """A panel whose field was given the canary, and the gateway that takes it."""
    folder = tmp_path_factory.mktemp("panel")
    own = {"IPYTHONDIR": str(folder / "ipython"), "VN_MAGIC_CACHE": str(folder / "cache")}
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("VECTOR", "VN_MAGIC"))}
    with served(create_app(token=CANARY)) as gateway, desk(clean | own) as at:
        at.sit_down(VN_MAGIC_BASE_URL=gateway.url, VN_MAGIC_CACHE=str(folder / "cache"))
        at.enter_token(CANARY)
        at.until("p._session.find_token() is not None")
        yield at, gateway


class Listener:
    """A second client of a kernel: it hears what is published, and what would be asked of it."""

    def __init__(self, heard_by: Kernel) -> None:
        # Not the manager's: its clients share an identity, and would take each other's answers.
        self._client = BlockingKernelClient(connection_file=heard_by.manager.connection_file)
        self._client.load_connection_file()
        self._client.start_channels(hb=False, control=False)
        deadline = time.monotonic() + 60
        while not self._hears():  # what is published before its subscription has arrived is lost to it
            assert time.monotonic() < deadline, "the second client hears nothing"
            heard_by.run("pass")

    def _hears(self) -> bool:
        try:
            self._client.iopub_channel.get_msg(timeout=0.2)
        except Empty:
            return False
        return True

    def heard(self) -> Sequence[dict[str, Any]]:
        """Return what has come since the last look, on all channels.

        The end is marked by a question: what the kernel published before its answer has arrived before it.
        """
        question, messages = self._client.kernel_info(), []
        while True:
            message = self._client.iopub_channel.get_msg(timeout=60)
            if message["parent_header"].get("msg_id") != question:
                messages.append(message)
            elif message["content"].get("execution_state") == "idle":
                break
        for channel in (self._client.stdin_channel, self._client.shell_channel):
            with suppress(Empty):
                while True:
                    messages.append(channel.get_msg(timeout=0.5))
        return messages

    def close(self) -> None:
        self._client.stop_channels()


@pytest.fixture
def listener(logged_in: LoggedIn) -> Iterator[Listener]:
    one = Listener(logged_in.kernel)
    yield one
    one.close()
