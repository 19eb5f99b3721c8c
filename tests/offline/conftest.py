import threading
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import Any

import httpx
import pytest
import uvicorn
from support.serving import Serving

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
        one.close()
