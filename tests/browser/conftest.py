"""Fixtures for tests in a real browser. What is missing here is skipped with its reason, and fails under CI."""

from __future__ import annotations

import os
import shutil
import subprocess
import tarfile
from collections.abc import Callable, Generator, Iterator, Mapping
from pathlib import Path
from typing import cast

import pytest
from playwright.sync_api import Browser, Locator, expect, sync_playwright
from support.lab import SECONDS, Lab, started_lab
from support.missing import missing
from support.page import Notebook, OpenNotebook
from support.panel_page import SHOW, OpenPanel, PanelPage

AXE = "axe-core@4.10.3"
_TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]
# JupyterLab's body is 0 px high and hides its overflow. Browsers apply that to the window; axe-core takes it at its
# word, thinks that all text is hidden, and never looks at a contrast.
_RUN_AXE = """async (element, values) => {
  document.body.style.overflow = 'visible';
  try {
    return await axe.run(element, {runOnly: {type: 'tag', values}});
  } finally {
    document.body.style.overflow = '';
  }
}"""
_ARGUMENTS = (
    "--no-sandbox",  # it needs what containers do not grant, and the pages are ours
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    # Playwright stops a page's requests; this stops what the browser itself would like to ask.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """One server for all tests. VN_MAGIC_BROWSER_APP=notebook takes Notebook 7 in JupyterLab's place."""
    app = os.environ.get("VN_MAGIC_BROWSER_APP", "jupyterlab")
    with started_lab(tmp_path_factory.mktemp("lab"), app) as started:
        yield started


# Not for the session: playwright leaves its event loop running in the main thread, and tests elsewhere have their own.
@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """A browser; every notebook gets a context of its own in it."""
    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if path is None:
        missing("chromium (Debian: apt-get install chromium)")
    expect.set_options(timeout=SECONDS * 1000)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=_ARGUMENTS, timeout=SECONDS * 1000)
        yield browser
        browser.close()


@pytest.fixture
def opened(tmp_path: Path) -> list[Notebook]:  # noqa: ARG001 - where pictures of failures go
    """The notebooks that a test has opened."""
    return []


@pytest.fixture
def notebook(lab: Lab, chromium: Browser, opened: list[Notebook]) -> Iterator[OpenNotebook]:
    """Open notebooks; at the end their kernels and pages are closed."""

    def open_notebook(*sources: str, environ: Mapping[str, str] | None = None) -> Notebook:
        opened.append(one := Notebook(lab, chromium, lab.add_notebook(sources, environ or {})))
        one.open()
        return one

    yield open_notebook
    for one in opened:
        one.close()


@pytest.fixture
def panel(notebook: OpenNotebook) -> OpenPanel:
    """Open notebooks whose first cell shows the panel."""

    def open_panel(*sources: str, environ: Mapping[str, str] | None = None) -> PanelPage:
        page = notebook(SHOW, *sources, environ=environ)
        assert [output["output_type"] for output in page.run(0)] == ["display_data", "display_data"]
        shown = PanelPage(page)
        shown.drawn()
        return shown

    return open_panel


@pytest.fixture(scope="session")
def axe(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Locator], list[str]]:
    """A function that returns what axe-core calls serious or critical in a part of a page that has text."""
    npm = shutil.which("npm")
    if npm is None:
        missing("npm (which fetches axe-core)")
    folder = tmp_path_factory.mktemp("axe")
    packed = subprocess.run([npm, "pack", AXE], cwd=folder, capture_output=True, text=True, check=False)
    if packed.returncode:
        missing(f"{AXE} (npm: {packed.stderr.strip()})")
    with tarfile.open(next(folder.glob("*.tgz"))) as archive:
        member = archive.extractfile("package/axe.min.js")
        assert member is not None
        source = member.read().decode()

    def violations(part: Locator) -> list[str]:
        part.page.evaluate(source)
        found = part.evaluate(_RUN_AXE, _TAGS)
        looked_at = {rule["id"] for kind in ("passes", "violations", "incomplete") for rule in found[kind]}
        assert "color-contrast" in looked_at, f"axe-core saw no text there, only {sorted(looked_at)}"
        return [
            f"{violation['id']} ({violation['impact']}): {node['failureSummary']}\n{node['html']}"
            for violation in found["violations"]
            if violation["impact"] in ("serious", "critical")
            for node in violation["nodes"]
        ]

    return violations


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show what the pages looked like when a test failed."""
    report = yield
    if report.failed and call.when == "call" and isinstance(item, pytest.Function) and "opened" in item.funcargs:
        for number, one in enumerate(cast("list[Notebook]", item.funcargs["opened"]), 1):
            picture = cast("Path", item.funcargs["tmp_path"]) / f"failed-{number}.png"
            one.screenshot(picture)
            said = "\n".join([str(picture), *one.complaints, *(f"blocked: {url}" for url in one.foreign)])
            report.sections.append(("screenshot and console", said))
    return report
