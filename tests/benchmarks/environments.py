"""The peers' environments: one for each requirements file, made once, outside the tree."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

from platformdirs import user_cache_path

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
    pins = REQUIREMENTS / f"{name}.txt"
    digest = hashlib.sha256(pins.read_bytes() + sys.version.encode()).hexdigest()[:12]
    home = folder / f"{name}-{digest}"
    python = home / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    done = home / "installed"  # written last: an environment that was interrupted is made again
    if not done.exists():
        shutil.rmtree(home, ignore_errors=True)
        sys.stderr.write(f"installing {name} into {home}\n")
        _call(sys.executable, "-m", "venv", str(home))
        _call(str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", str(pins))
        done.touch()
    return python


def _call(*command: str) -> None:
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    if ended.returncode:
        raise RuntimeError(f"{' '.join(command[-3:])}: {ended.stderr.strip()[-300:]}")
