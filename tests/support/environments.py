"""Environments of other people's programs: one for each file of pins, made once, outside the tree."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Environment:
    """A virtual environment that is made where it is missing, or when what it is made from has changed.

    Parameters
    ----------
    pins
        A requirements file, which also gives the name.
    folder
        Where it is kept.
    projects
        Folders with a ``pyproject.toml`` that are installed, too, so that changes in them are seen at once.
    """

    pins: Path
    folder: Path
    projects: Sequence[Path] = ()

    @property
    def home(self) -> Path:
        """Where it is, or would be."""
        made_from = self.pins.read_bytes() + sys.version.encode()
        for project in self.projects:
            needs = tomllib.loads((project / "pyproject.toml").read_text(encoding="utf-8"))["project"]["dependencies"]
            made_from += f"{project} {needs}".encode()
        return self.folder / f"{self.pins.stem}-{hashlib.sha256(made_from).hexdigest()[:12]}"

    @property
    def python(self) -> Path:
        """Its Python; the programs that came with it are in the same folder."""
        return self.home / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")

    @property
    def is_made(self) -> bool:
        """Whether it is there, with all that belongs into it."""
        return self._done.exists()

    @property
    def _done(self) -> Path:
        return self.home / "installed"  # written last: an environment that was interrupted is made again

    def make(self) -> None:
        """Make it, unless it is there.

        Raises
        ------
        RuntimeError
            When pip cannot install it.
        """
        if self.is_made:
            return
        shutil.rmtree(self.home, ignore_errors=True)
        sys.stderr.write(f"installing {self.pins.stem} into {self.home}\n")
        _call(sys.executable, "-m", "venv", str(self.home))
        projects = [argument for project in self.projects for argument in ("-e", str(project))]
        pip = (str(self.python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
        _call(*pip, "-r", str(self.pins), *projects)
        self._done.touch()


def _call(*command: str) -> None:
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    if ended.returncode:
        raise RuntimeError(f"{' '.join(command[-3:])}: {ended.stderr.strip()[-300:]}")
