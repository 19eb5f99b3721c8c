"""The graders' environments: ``python tests/graders/environments.py [FOLDER]`` makes them, in a minute or several.

Each has a grader and this tree with its base dependencies alone, as a machine that grades has it. Tests look for them
in the user's cache folder, or in the one that ``VN_MAGIC_GRADERS`` names.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from platformdirs import user_cache_path

HERE = Path(__file__).resolve().parent
if __name__ == "__main__":
    sys.path.insert(0, str(HERE.parent))

from support.environments import Environment  # noqa: E402 - see above

GRADERS = ("nbgrader", "otter")
VARIABLE = "VN_MAGIC_GRADERS"


def default_folder() -> Path:
    """Return where tests look for the environments."""
    named = os.environ.get(VARIABLE)
    return Path(named) if named else user_cache_path("vn_magic-graders")


def environment_of(grader: str, folder: Path) -> Environment:
    """Return the environment of one of `GRADERS`, made or not."""
    return Environment(HERE / f"{grader}.txt", folder, projects=[HERE.parents[1]])


def main() -> None:
    """Make what is missing."""
    parser = argparse.ArgumentParser(description="Make an environment for each grader (1.1 GB in all).")
    parser.add_argument(
        "folder", nargs="?", type=Path, default=default_folder(), help=f"then name it in {VARIABLE} (%(default)s)"
    )
    folder: Path = parser.parse_args().folder.absolute()
    for grader in GRADERS:
        environment_of(grader, folder).make()


if __name__ == "__main__":
    main()
