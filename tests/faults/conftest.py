"""What the tests of faults share."""

from __future__ import annotations

from dataclasses import fields

import pytest

from vn_magic.gateway.retry import RetryPolicy

QUICK = {"attempts": 3, "limited_attempts": 3, "connection_attempts": 2, "first_backoff": 0.01, "longest_backoff": 0.02}


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> RetryPolicy:
    """Sessions of this test try a row three times, and wait for some milliseconds between."""
    defaults = tuple(QUICK.get(item.name, item.default) for item in fields(RetryPolicy))
    monkeypatch.setattr(RetryPolicy.__init__, "__defaults__", defaults)
    policy = RetryPolicy()
    assert all(getattr(policy, name) == value for name, value in QUICK.items())
    return policy
