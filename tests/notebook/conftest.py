from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from support.kernels import Kernel, kernel


@pytest.fixture
def fresh_kernel() -> Iterator[Kernel]:
    """A kernel of this test alone, with the extension loaded."""
    with kernel(environ=dict(os.environ)) as started:
        assert started.run("%load_ext vn_magic").status == "ok"
        yield started


@pytest.fixture(scope="module")
def shared_kernel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kernel]:
    """A kernel for tests that leave nothing behind; the session is offline."""
    folder = tmp_path_factory.mktemp("kernel")
    environ = {
        **{name: value for name, value in os.environ.items() if not name.startswith("VECTOR")},
        "VN_MAGIC_CACHE": str(folder / "cache"),
        "VN_MAGIC_OFFLINE": "1",
        "IPYTHONDIR": str(folder / "ipython"),
    }
    with kernel(environ=environ) as started:
        assert started.run("%load_ext vn_magic").status == "ok"
        yield started
