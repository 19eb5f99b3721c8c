"""The peers' environments: one for each requirements file."""

from __future__ import annotations

from pathlib import Path

from platformdirs import user_cache_path
from support.environments import Environment

REQUIREMENTS = Path(__file__).parent / "candidates"


def default_folder() -> Path:
    """Return where the environments are kept unless told otherwise."""
    return user_cache_path("vn_magic-benchmarks")


def python_of(name: str, folder: Path) -> Path:
    """Return the Python of a peer's environment, which is made where it is missing or its pins have changed.

    Raises
    ------
    RuntimeError
        When pip cannot install it.
    """
    environment = Environment(REQUIREMENTS / f"{name}.txt", folder)
    environment.make()
    return environment.python
