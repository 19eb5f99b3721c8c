import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn

import vn_magic
from vn_magic.offline import create_app
from vn_magic.offline.serve import listen


@pytest.fixture(scope="session")
def stand_in() -> Iterator[Callable[..., httpx.Client]]:
    """Serve `create_app(**options)` over HTTP on loopback; call it with the options, get a client of it.

    The app keeps no state, so tests that ask for the same options share a server.
    """
    served: list[tuple[uvicorn.Server, threading.Thread, httpx.Client]] = []

    @cache
    def serve(**options: Any) -> httpx.Client:
        listener = listen(0)
        server = uvicorn.Server(
            uvicorn.Config(create_app(**options), log_level="error", lifespan="off", ws="none", server_header=False)
        )
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        base_url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        client = httpx.Client(base_url=base_url, trust_env=False, timeout=60)
        served.append((server, thread, client))
        return client

    yield serve
    for server, _, client in served:
        client.close()
        server.should_exit = True
    for _, thread, _ in served:
        thread.join(60)
        assert not thread.is_alive()


class Serving:
    """A process that runs `serve`, and what it has printed."""

    def __init__(self, environ: Mapping[str, str], *, files: int | None = None, **options: Any) -> None:
        arguments = {"drops_dimension": False, "no_batch": False, "play": None} | options
        limit = f"import resource\nresource.setrlimit(resource.RLIMIT_NOFILE, ({files}, {files}))\n" if files else ""
        code = (
            f"{limit}import os\nfrom vn_magic.offline.serve import serve\n"
            f"raise SystemExit(serve(0, environ=os.environ, **{arguments!r}))"
        )
        clean = {name: value for name, value in os.environ.items() if name != "VECTORNODE_API_KEY"}
        self.process = subprocess.Popen(
            [sys.executable, "-c", code],
            cwd=Path(vn_magic.__file__).parents[1],
            env=clean | dict(environ),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
        )
        assert self.process.stdout is not None
        self.lines: list[str] = []
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))
            if line.startswith("vn-magic stand-in on "):
                break

    def exported(self, name: str) -> str:
        """Return the value that the printed `export name=` line gives."""
        [value] = [line.split("=", 1)[1] for line in self.lines if line.startswith(f"export {name}=")]
        return value

    def stop(self, signal: int) -> tuple[int, str, str]:
        """Send a signal; return the exit code, all of stdout and all of stderr."""
        self.process.send_signal(signal)
        rest, errors = self.process.communicate(timeout=60)
        return self.process.returncode, "\n".join(self.lines) + rest, errors


@pytest.fixture
def serving() -> Iterator[Callable[..., Serving]]:
    """Start `serve` in a process of its own; call it with the environment to add and the options.

    ``files`` is how many it may have open.
    """
    yield from _starting()


@pytest.fixture(scope="module")
def serving_for_module() -> Iterator[Callable[..., Serving]]:
    """The same, for a process that a module's tests share."""
    yield from _starting()


def _starting() -> Iterator[Callable[..., Serving]]:
    started: list[Serving] = []

    def start(environ: Mapping[str, str] | None = None, **options: Any) -> Serving:
        started.append(Serving(environ or {}, **options))
        return started[-1]

    yield start
    for one in started:
        if one.process.poll() is None:
            one.process.kill()
        one.process.communicate()
