"""Fixtures for all tests: every test has its own cache and an environment without anybody's token."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

pytest.register_assert_rewrite("faults", "support")  # before anything imports them: they assert, too

from support.gateways import Served, served  # noqa: E402 - see above

from vn_magic import Session  # noqa: E402 - see above
from vn_magic.offline import create_app  # noqa: E402 - see above

TOKEN = "sk-canary-7d1e5b0c93"

# Who is started in the background inherits that Ctrl-C is ignored, and hands it on to all its children.
signal.signal(signal.SIGINT, signal.default_int_handler)

# How long an example takes is the machine's affair: one that stands still for a moment has found no fault.
settings.register_profile("unhurried", settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("unhurried")


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in (
        "VECTORNODE_API_KEY",
        "VECTOR_ENGINE_API_KEY",
        "VECTORNODE_API_KEY_FILE",
        "VN_MAGIC_BASE_URL",
        "VECTORNODE_BASE_URL",
        "VECTOR_ENGINE_BASE_URL",
        "VN_MAGIC_OFFLINE",
        "VN_MAGIC_PACK",
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "ALL_PROXY",
    ):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    monkeypatch.setenv("VN_MAGIC_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv("JUPYTER_CONFIG_DIR", str(tmp_path / "jupyter"))


@pytest.fixture
def token() -> str:
    return TOKEN


@pytest.fixture
def gateway(token: str) -> Iterator[Served]:
    """The stand-in served over HTTP, asking for the token, as the documented gateway does."""
    with served(create_app(token=token)) as server:
        yield server


@pytest.fixture
def session(gateway: Served, token: str) -> Iterator[Session]:
    """A session that talks to `gateway` over the wire."""
    session = Session(base_url=gateway.url, token=token)
    yield session
    session.close()


@pytest.fixture
def offline() -> Iterator[Session]:
    """A session on the stand-in inside the process."""
    session = Session(offline=True)
    yield session
    session.close()
