from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.engine import Held
from support.gateways import Served
from support.panels import Desk, desk

from vn_magic.offline import create_app


@pytest.fixture(scope="session")
def shared_desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    """A kernel for many panels, one after another; `Desk.sit_down` begins anew."""
    folder = tmp_path_factory.mktemp("desk")
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("VECTOR", "VN_MAGIC"))}
    with desk({**clean, "IPYTHONDIR": str(folder / "ipython"), "VN_MAGIC_CACHE": str(folder / "cache")}) as shared:
        yield shared


@pytest.fixture
def panel(shared_desk: Desk, tmp_path: Path) -> Iterator[Desk]:
    """A fresh panel of an offline session with a cache of its own."""
    shared_desk.sit_down(VN_MAGIC_OFFLINE="1", VN_MAGIC_CACHE=str(tmp_path / "cache"))
    yield shared_desk
    assert [content for content in shared_desk.outputs() if content.get("name") == "stderr"] == []


@pytest.fixture
def online(shared_desk: Desk, gateway: Served, token: str, tmp_path: Path) -> Iterator[Desk]:
    """A fresh panel of a session that talks to `gateway`, with the token in its environment."""
    shared_desk.sit_down(
        VN_MAGIC_BASE_URL=gateway.url, VECTORNODE_API_KEY=token, VN_MAGIC_CACHE=str(tmp_path / "cache")
    )
    yield shared_desk
    assert [content for content in shared_desk.outputs() if content.get("name") == "stderr"] == []


@pytest.fixture
def held(token: str) -> Held:
    """The stand-in, which answers texts with "held" in them only when it may."""
    return Held(create_app(token=token))
