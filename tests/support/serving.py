"""The stand-in in a process of its own, as ``vn-magic serve`` starts it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import vn_magic


class Serving:
    """A process that runs `serve`, and what it has printed. ``files`` is how many it may have open."""

    def __init__(self, environ: Mapping[str, str], *, files: int | None = None, **options: Any) -> None:
        arguments = {"drops_dimension": False, "no_batch": False, "play": None} | options
        limit = f"import resource\nresource.setrlimit(resource.RLIMIT_NOFILE, ({files}, {files}))\n" if files else ""
        code = (
            f"{limit}import os\nfrom vn_magic.offline.serve import serve\n"
            f"raise SystemExit(serve(0, environ=os.environ, **{arguments!r}))"
        )
        clean = {name: value for name, value in os.environ.items() if name != "VECTORNODE_API_KEY"}
        self.process = subprocess.Popen(
            [sys.executable, "-c", code],
            cwd=Path(vn_magic.__file__).parents[1],
            env=clean | dict(environ),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
        )
        assert self.process.stdout is not None
        self.lines: list[str] = []
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))
            if line.startswith("vn-magic stand-in on "):
                break

    def exported(self, name: str) -> str:
        """Return the value that the printed `export name=` line gives."""
        [value] = [line.split("=", 1)[1] for line in self.lines if line.startswith(f"export {name}=")]
        return value

    def stop(self, signal: int) -> tuple[int, str, str]:
        """Send a signal; return the exit code, all of stdout and all of stderr."""
        self.process.send_signal(signal)
        rest, errors = self.process.communicate(timeout=60)
        return self.process.returncode, "\n".join(self.lines) + rest, errors

    def close(self) -> None:
        """End it, if it has not ended yet."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()
