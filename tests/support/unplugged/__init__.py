"""Another machine: an empty home, nobody's token, no network but loopback."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from support.unplugged.hook.sitecustomize import NOTES

_HOOK = Path(__file__).parent / "hook"
_PATIENCE = 900.0
# A network of its own begins with a loopback that is down. SIOCSIFFLAGS, with IFF_UP and IFF_RUNNING:
_LOOPBACK_UP = """
import fcntl, os, socket, struct, sys
with socket.socket() as any_socket:
    fcntl.ioctl(any_socket, 0x8914, struct.pack("16sh22x", b"lo", 0x41))
os.execv(sys.argv[1], sys.argv[1:])
"""


@dataclass(frozen=True)
class Machine:
    """A machine whose programs know nothing of this one but its files.

    Where the system grants it (Linux, to those who may make namespaces) there is no network behind it; everywhere,
    its Python programs are refused what is not loopback, and what they tried is written down.

    Parameters
    ----------
    home
        An empty folder.
    """

    home: Path

    def run(self, program: Path, *arguments: str, cwd: Path, **environ: str) -> subprocess.CompletedProcess[str]:
        """Run a program there to its end, with its neighbours in reach and these variables besides."""
        own = {
            "HOME": str(self.home),
            "LANG": "C.UTF-8",
            "PATH": os.pathsep.join([str(program.parent), os.defpath]),
            "PYTHONPATH": str(_HOOK),
            NOTES: str(self._notes),
        }
        return subprocess.run(
            [*network_of_its_own(), str(program), *arguments],
            cwd=cwd,
            env=own | environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_PATIENCE,
            check=False,
        )

    @property
    def attempts(self) -> list[str]:
        """What its Python programs tried to reach, and were refused."""
        return self._notes.read_text().splitlines() if self._notes.exists() else []

    @property
    def _notes(self) -> Path:
        return self.home.with_name(f"{self.home.name}-attempts.txt")


@cache
def network_of_its_own() -> tuple[str, ...]:
    """Return the beginning of a command that has a network of its own, or nothing where that is not granted."""
    unshare = shutil.which("unshare")
    if unshare is None:
        return ()
    beginning = (unshare, "--map-root-user", "--net", sys.executable, "-c", _LOOPBACK_UP)
    tried = subprocess.run([*beginning, sys.executable, "-c", ""], capture_output=True, check=False)
    return beginning if tried.returncode == 0 else ()
