"""The panel and its results where its kernel is gone: restarted, saved and opened again, exported."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, expect
from support.lab import SECONDS
from support.panel_page import OpenPanel, PanelPage

LINES = "roses are red\nviolets are <b>blue</b>\nsugar is sweet"
_SAVING = "@jupyter-widgets/jupyterlab-manager:saveWidgetState"


def test_after_a_restart_the_old_panel_does_no_harm_and_its_cell_gives_a_new_one(panel: OpenPanel) -> None:
    page = panel()
    page.go_offline()
    page.embed(LINES)
    page.notebook.restart_kernel()
    expect(page.root).to_have_class(re.compile("jupyter-widgets-disconnected"))
    outputs = page.notebook.outputs(0)
    page.button("Run").click()
    page.notebook.run_code("1")
    assert page.notebook.outputs(0) == outputs
    page.notebook.run(0)
    page.go_offline()
    page.embed(LINES)
    page.says("0 new, 3 from cache")
    assert set(page.notebook.complaints) <= {"Cannot send"}  # ipywidgets' own word for a widget without its kernel
    assert page.notebook.foreign == []


def _saved(panel: OpenPanel, *, state: bool) -> PanelPage:
    page = panel()
    if not state:
        is_on = "(command) => window.jupyterapp.commands.isToggled(command)"
        page.notebook.page.wait_for_function(is_on, arg=_SAVING)  # else its setting has not been read yet
        page.notebook.evaluate("await window.jupyterapp.commands.execute(argument)", _SAVING)
        page.notebook.page.wait_for_function(f"(command) => !({is_on})(command)", arg=_SAVING)
    page.go_offline()
    page.embed(LINES)
    page.view("Map")
    expect(page.canvas).to_be_visible()
    page.notebook.save()
    assert ("widgets" in page.notebook.saved()["metadata"]) is state
    return page


def test_a_notebook_without_widget_state_shows_table_and_picture_when_opened_again(panel: OpenPanel) -> None:
    notebook = _saved(panel, state=False).notebook
    notebook.reopen()
    _expect_record(notebook.output(0))
    expect(notebook.output(0)).not_to_contain_text("Loading widget")
    assert notebook.foreign == []


def test_a_notebook_with_widget_state_shows_the_picture_and_says_that_its_panel_is_dead(panel: OpenPanel) -> None:
    page = _saved(panel, state=True)
    page.notebook.reopen()
    expect(page.canvas).to_be_visible()
    page.says("vectors   3 × 768")
    page.notebook.page.wait_for_function(
        "(root) => getComputedStyle(root, '::before').content.includes('lost its kernel')",
        arg=page.root.element_handle(),
    )
    assert page.notebook.foreign == []


@pytest.mark.parametrize("state", [True, False])
def test_an_exported_notebook_shows_table_and_picture_without_a_network(
    panel: OpenPanel, chromium: Browser, tmp_path: Path, *, state: bool
) -> None:
    notebook = _saved(panel, state=state).notebook
    command = [sys.executable, "-m", "nbconvert", "--to", "html", "--output-dir", str(tmp_path), str(notebook.path)]
    subprocess.run(command, check=True, capture_output=True)
    with chromium.new_context() as context:
        context.set_default_timeout(SECONDS * 1000)
        context.route("http*://**", lambda route: route.abort())
        exported = context.new_page()
        exported.goto((tmp_path / f"{notebook.path.stem}.html").as_uri())
        _expect_record(exported.locator(".jp-Cell-outputWrapper").first)


def _expect_record(output: Locator) -> None:
    """Expect the card, three rows and the map, each to be seen."""
    expect(output.get_by_text("vectors   3 × 768")).to_be_visible()
    for line in LINES.splitlines():
        expect(output.locator("td").get_by_text(line)).to_be_visible()
    picture = output.get_by_role("img", name="map")
    expect(picture).to_be_visible()
    picture.page.wait_for_function("(image) => image.naturalWidth > 0", arg=picture.element_handle())
    expect(output).to_contain_text("These two axes keep 100 % of the variance")
