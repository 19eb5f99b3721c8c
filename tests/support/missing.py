"""What a test needs of the machine beyond ``pip install -e ".[test]"``."""

from __future__ import annotations

import os
from typing import NoReturn

import pytest


def missing(what: str) -> NoReturn:
    """Skip for want of this; under CI fail."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"{what} is missing, and CI must not go without these tests", pytrace=False)
    pytest.skip(f"{what} is missing")
