"""One open notebook, driven as a person's browser drives it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from jupyter_client.blocking.client import BlockingKernelClient
from playwright.sync_api import Browser, Locator, Route, WebSocketRoute

from support.lab import SECONDS, Lab

_FOREIGN = re.compile(r"^(?!(?:https?|wss?)://127\.0\.0\.1[:/])(?:https?|wss?):", re.IGNORECASE)
_PANEL = "const panel = window.jupyterapp?.shell?.currentWidget;"
_EVERYTHING = """() => {
  const seen = [];
  const walk = (root) => {
    seen.push(root.documentElement ? root.documentElement.outerHTML : root.innerHTML);
    for (const element of root.querySelectorAll('*')) {
      if ('value' in element) seen.push(String(element.value));
      if (element.shadowRoot) walk(element.shadowRoot);
    }
  };
  walk(document);
  return [...seen, JSON.stringify({...sessionStorage}), JSON.stringify({...localStorage}), window.name];
}"""


class Bystander:
    """A second client of a kernel: it sees what every client sees."""

    def __init__(self, client: BlockingKernelClient) -> None:
        self._client = client

    def drain(self) -> list[dict[str, Any]]:
        """Return all messages on IOPub so far.

        The end is marked by a question on the control channel, which is answered while a cell runs, too: what the
        kernel published before that answer has arrived before it.
        """
        question = self._client.session.msg("kernel_info_request", {})
        self._client.control_channel.send(question)
        messages = []
        while True:
            message = self._client.get_iopub_msg(timeout=SECONDS)
            if message["parent_header"].get("msg_id") != question["header"]["msg_id"]:
                messages.append(message)
            elif message["content"].get("execution_state") == "idle":
                return messages


class Notebook:
    """One notebook in a browser context of its own.

    Attributes
    ----------
    page
        Playwright's page.
    foreign
        Addresses outside of 127.0.0.1 that the page asked for; none was let through.
    complaints
        Errors on the page's console, and exceptions that nobody caught.
    """

    def __init__(self, lab: Lab, browser: Browser, path: Path) -> None:
        self.lab = lab
        self.path = path
        self.foreign: list[str] = []
        self.complaints: list[str] = []
        self._browser = browser

    def open(self) -> None:
        """Open the page as a new user, and wait until its kernel is connected."""
        self.lab.forget_settings()
        self._context = self._browser.new_context(
            viewport={"width": 1280, "height": 900}, permissions=["clipboard-read", "clipboard-write"]
        )
        self._context.set_default_timeout(SECONDS * 1000)
        self._context.route(_FOREIGN, self._refuse)
        self._context.route_web_socket(_FOREIGN, self._refuse_socket)
        self.page = self._context.new_page()
        self.page.on("console", lambda said: self.complaints.append(said.text) if said.type == "error" else None)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.goto(self.lab.url_of(self.path))
        self._wait_for_kernel()

    def _refuse(self, route: Route) -> None:
        self.foreign.append(route.request.url)
        route.abort()

    def _refuse_socket(self, socket: WebSocketRoute) -> None:
        self.foreign.append(socket.url)
        socket.close()

    def _wait_for_kernel(self) -> None:
        """Wait until the kernel has answered this page; its idle mark says less."""
        self.page.wait_for_function(
            "window.jupyterapp?.shell?.currentWidget?.sessionContext?.session?.kernel?.connectionStatus === 'connected'"
        )
        self.evaluate(
            """
            await Promise.all([window.jupyterapp.restored, panel.context.ready, panel.sessionContext.ready]);
            await panel.sessionContext.session.kernel.info;
            """
        )

    def evaluate(self, script: str, argument: Any = None) -> Any:
        """Run the body of an async function in the page; it finds ``panel`` (a NotebookPanel) and ``argument``."""
        # Playwright waits for ever for a promise, and some of JupyterLab's are never kept once a connection has broken.
        late = f"new Promise((_, refuse) => setTimeout(() => refuse(new Error('no end')), {10 * SECONDS * 1000}))"
        work = f"(async () => {{ {_PANEL} {script} }})()"
        return self.page.evaluate(f"(argument) => Promise.race([{work}, {late}])", argument)

    def cell(self, index: int) -> Locator:
        """Return the locator of a cell."""
        return self.page.locator(f'.jp-Notebook-cell[data-windowed-list-index="{index}"]')

    def output(self, index: int) -> Locator:
        """Return the locator of what a cell shows below it."""
        return self.cell(index).locator(".jp-Cell-outputWrapper")

    def run(self, index: int, timeout: float = SECONDS) -> list[dict[str, Any]]:
        """Run a cell to its end and return its outputs. An error is an output, too.

        The page may draw them a moment later: what is looked at there is waited for with `expect`.
        """
        self.start(index)
        return self.finish(index, timeout)

    def start(self, index: int) -> None:
        """Start a cell."""
        self.evaluate(
            """
            window.benchRunning ??= new Set();
            panel.content.deselectAll();
            panel.content.activeCellIndex = argument;
            window.benchRunning.add(argument);
            const run = window.jupyterapp.commands.execute('notebook:run-cell');
            run.finally(() => window.benchRunning.delete(argument));
            """,
            index,
        )

    def finish(self, index: int, timeout: float = SECONDS) -> list[dict[str, Any]]:
        """Wait until a started cell has ended and return its outputs."""
        self.page.wait_for_function(
            "(index) => !window.benchRunning.has(index)", arg=index, timeout=timeout * 1000, polling=20
        )
        return self.outputs(index)

    def run_code(self, source: str, timeout: float = SECONDS) -> list[dict[str, Any]]:
        """Append a cell, run it to its end, and return its outputs."""
        return self.run(self.append(source), timeout)

    def append(self, source: str) -> int:
        """Append a cell and return its index."""
        index: int = self.evaluate(
            """
            const notebook = panel.content.model.sharedModel;
            notebook.insertCell(notebook.cells.length, {cell_type: 'code', source: argument});
            return notebook.cells.length - 1;
            """,
            source,
        )
        return index

    def outputs(self, index: int) -> list[dict[str, Any]]:
        """Return a cell's outputs as the page holds them, in the notebook format."""
        outputs: list[dict[str, Any]] = self.evaluate(
            "return panel.content.model.cells.get(argument).toJSON().outputs", index
        )
        return outputs

    def save(self) -> None:
        """Save the notebook."""
        self.evaluate("await panel.context.save()")

    def saved(self) -> dict[str, Any]:
        """Return the notebook as it lies on the disk."""
        notebook: dict[str, Any] = json.loads(self.path.read_text(encoding="utf-8"))
        return notebook

    def restart_kernel(self) -> None:
        """Restart the kernel, without the question whether one is sure."""
        self.evaluate("await panel.sessionContext.restartKernel()")
        self._wait_for_kernel()

    def interrupt(self) -> None:
        """Interrupt the kernel, as the Stop button does."""
        self.evaluate("await panel.sessionContext.session.kernel.interrupt()")

    def set_theme(self, theme: str) -> None:
        """Change the theme: ``JupyterLab Dark``, ``JupyterLab Light``, ``JupyterLab Dark High Contrast``."""
        self.evaluate("await window.jupyterapp.commands.execute('apputils:change-theme', {theme: argument})", theme)
        self.page.wait_for_function("(theme) => document.body.dataset.jpThemeName === theme", arg=theme)

    def resize(self, width: int, height: int = 900) -> None:
        """Change the size of the page, in CSS pixels."""
        self.page.set_viewport_size({"width": width, "height": height})

    def screenshot(self, path: Path) -> None:
        """Save a picture of what is visible."""
        self.page.screenshot(path=path)

    def clipboard(self) -> str:
        """Return the text on the clipboard."""
        text: str = self.page.evaluate("() => navigator.clipboard.readText()")
        return text

    def everything_stored(self) -> str:
        """Return all that the page holds: DOM, values of fields, storages, cookies, IndexedDB, the notebook's model."""
        parts = [text for frame in self.page.frames for text in frame.evaluate(_EVERYTHING)]
        parts += [json.dumps(self._context.storage_state(indexed_db=True)), json.dumps(self._context.cookies())]
        parts += [self.evaluate("return JSON.stringify(panel.content.model.toJSON())")]
        return "\n".join(parts)

    @contextmanager
    def second_client(self) -> Iterator[Bystander]:
        """Connect another client to the same kernel; it listens when this returns."""
        kernel_id = self.evaluate("return panel.sessionContext.session.kernel.id")
        client = BlockingKernelClient(connection_file=str(self.lab.home / "runtime" / f"kernel-{kernel_id}.json"))
        client.load_connection_file()
        client.start_channels(hb=False)  # by its heart a kernel that stands still for a second is dead
        try:
            client.wait_for_ready(timeout=SECONDS)
            yield Bystander(client)
        finally:
            client.stop_channels()

    def reopen(self) -> None:
        """Shut the kernel down and open the saved notebook in a fresh browser context, with a fresh kernel."""
        self.close()
        self.open()

    def close(self) -> None:
        """Shut the kernel down and close the page."""
        try:
            self.evaluate("await panel?.sessionContext?.shutdown()")
        finally:
            self._context.close()


class OpenNotebook(Protocol):
    """Opens a notebook of these cells, whose kernel has these variables besides the server's."""

    def __call__(self, *sources: str, environ: Mapping[str, str] | None = None) -> Notebook: ...
