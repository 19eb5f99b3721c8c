"""What the tests of faults share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from functools import partial

import pytest

from faults.jobs import WINDOW
from vn_magic.gateway.client import GatewayClient
from vn_magic.gateway.retry import RetryPolicy

BRISK = {"first_backoff": 0.002, "longest_backoff": 0.02}
QUICK = {"attempts": 3, "limited_attempts": 3, "connection_attempts": 2, "first_backoff": 0.01, "longest_backoff": 0.02}


def _with_defaults(monkeypatch: pytest.MonkeyPatch, changed: Mapping[str, float]) -> RetryPolicy:
    defaults = tuple(changed.get(item.name, item.default) for item in fields(RetryPolicy))
    monkeypatch.setattr(RetryPolicy.__init__, "__defaults__", defaults)
    policy = RetryPolicy()
    assert all(getattr(policy, name) == value for name, value in changed.items())
    return policy


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> RetryPolicy:
    """Sessions of this test try a row three times, and wait for some milliseconds between."""
    return _with_defaults(monkeypatch, QUICK)


@pytest.fixture
def brisk(monkeypatch: pytest.MonkeyPatch) -> RetryPolicy:
    """Sessions of this test are as persistent as ever, but wait for milliseconds where they would for seconds."""
    return _with_defaults(monkeypatch, BRISK)


@pytest.fixture
def short_window(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let clients of this test count their rate by half a second instead of a minute."""
    monkeypatch.setattr("vn_magic.gateway.client.GatewayClient", partial(GatewayClient, window=WINDOW))
