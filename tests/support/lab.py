"""A real JupyterLab (or Notebook 7) with real kernels. What a person does in it is in `support.page`."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import nbformat

SECONDS = 60.0
_OUTSIDE = re.compile(r"^(VECTOR|VN_MAGIC|JUPYTER|IPYTHON)|_PROXY$", re.IGNORECASE)
# Saving widget states is off by default; switched on, it is the worst case for what a panel may leak.
_SETTINGS = {
    "@jupyterlab/apputils-extension:notification": {"fetchNews": "false", "checkForUpdates": False},
    "@jupyter-widgets/jupyterlab-manager:plugin": {"saveState": True},
}
_OPTIONS = (
    "--no-browser",
    "--allow-root",
    "--expose-app-in-browser",
    "--ServerApp.ip=127.0.0.1",
    "--ServerApp.port=0",
    "--IdentityProvider.token=",
    "--ServerApp.password=",
    "--LabApp.extension_manager=readonly",  # the other one asks PyPI
)


@dataclass(frozen=True)
class Lab:
    """A running server. All that it and its kernels write lies under ``home``."""

    url: str
    home: Path
    app: str

    def add_notebook(self, sources: Sequence[str], environ: Mapping[str, str]) -> Path:
        """Write a notebook of code cells with a kernel of its own: its cache, and these variables."""
        name = f"bench-{uuid4().hex[:8]}"
        spec = {
            "argv": [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"],
            "display_name": "Python 3",
            "language": "python",
            "env": {"VN_MAGIC_CACHE": str(self.home / "cache" / name), **environ},
        }
        (self.home / "data" / "kernels" / name).mkdir(parents=True)
        (self.home / "data" / "kernels" / name / "kernel.json").write_text(json.dumps(spec))
        notebook = nbformat.v4.new_notebook(
            cells=[nbformat.v4.new_code_cell(source) for source in sources],
            metadata={"kernelspec": {"name": name, "display_name": "Python 3", "language": "python"}},
        )
        path = self.home / "root" / f"{name}.ipynb"
        nbformat.write(notebook, path)
        return path

    def url_of(self, path: Path) -> str:
        """Return the address under which a notebook is open alone, without the panels at the side."""
        return f"{self.url}{'notebooks' if self.app == 'notebook' else 'doc/tree'}/{path.name}"

    def forget_settings(self) -> None:
        """Take back what people set in the browser (a theme): the next page is a new user's."""
        shutil.rmtree(self.home / "config" / "lab", ignore_errors=True)

    def traces(self, needle: str) -> list[str]:
        """Return the files under ``home`` that hold this text: notebooks, checkpoints, history, caches, logs."""
        found = []
        for path in self.home.rglob("*"):
            with suppress(FileNotFoundError):  # the server and its kernels take files away meanwhile
                if path.is_file() and needle.encode() in path.read_bytes():
                    found.append(str(path.relative_to(self.home)))
        return found


@contextmanager
def started_lab(home: Path, app: str = "jupyterlab") -> Iterator[Lab]:
    """Start ``jupyterlab`` or ``notebook`` on a free port of loopback, knowing nothing of this machine's settings."""
    folders = {name: home / name for name in ("config", "data", "runtime", "ipython", "root")}
    for folder in folders.values():
        folder.mkdir()
    overrides = folders["config"] / "labconfig" / "default_setting_overrides.json"
    overrides.parent.mkdir()
    overrides.write_text(json.dumps(_SETTINGS))
    environ = {name: value for name, value in os.environ.items() if not _OUTSIDE.search(name)}
    environ |= {f"JUPYTER_{name.upper()}_DIR": str(folders[name]) for name in ("config", "data", "runtime")}
    environ["IPYTHONDIR"] = str(folders["ipython"])
    with (home / "server.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", app, *_OPTIONS, f"--ServerApp.root_dir={folders['root']}"],
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        yield Lab(_answering_url(process, home), home, app)
    finally:
        process.terminate()  # which ends the kernels first
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _answering_url(process: subprocess.Popen[bytes], home: Path) -> str:
    """Wait until the server has written where it listens, and answers there."""
    info = home / "runtime" / f"jpserver-{process.pid}.json"
    deadline = time.monotonic() + SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        try:
            url = str(json.loads(info.read_text())["url"]).replace("localhost", "127.0.0.1")
            with urllib.request.urlopen(url + "api/status", timeout=5):
                return url
        except (OSError, ValueError, urllib.error.URLError):
            time.sleep(0.05)
    raise RuntimeError(f"JupyterLab did not start:\n{(home / 'server.log').read_text()}")
