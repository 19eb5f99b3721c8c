"""The graders, each in an environment of its own; where one is missing its tests are skipped, and fail under CI."""

from __future__ import annotations

import pytest
from support.environments import Environment
from support.missing import missing

from graders.environments import default_folder, environment_of
from graders.recording import Recorded, record


def _grader(name: str) -> Environment:
    environment = environment_of(name, default_folder())
    if not environment.is_made:
        missing(f"an environment with {name}, made by `python tests/graders/environments.py`,")
    return environment


@pytest.fixture(scope="session")
def nbgrader() -> Environment:
    return _grader("nbgrader")


@pytest.fixture(scope="session")
def otter() -> Environment:
    return _grader("otter")


@pytest.fixture(scope="session")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    """The lesson, recorded from `vn-magic serve`, which has ended since."""
    return record(tmp_path_factory.mktemp("teacher"))
