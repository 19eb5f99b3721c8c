"""The panel as a person works it in an open notebook."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from playwright.sync_api import Locator, expect

from support.page import Notebook

SHOW = "%load_ext vn_magic\n%vn panel"


class PanelPage:
    """The panel below a cell of a notebook.

    Attributes
    ----------
    notebook
        The notebook's page.
    """

    def __init__(self, notebook: Notebook, index: int = 0) -> None:
        self.notebook = notebook
        self._index = index

    @property
    def root(self) -> Locator:
        """The panel's outermost element, on the page that is open now."""
        return self.notebook.output(self._index).locator(".vn-panel")

    def button(self, name: str) -> Locator:
        """Return the button of this name."""
        return self.root.get_by_role("button", name=name, exact=True)

    def field(self, name: str) -> Locator:
        """Return the text field of this label."""
        return self.root.get_by_role("textbox", name=name, exact=True)

    def choice(self, name: str) -> Locator:
        """Return the drop-down list of this label that is on view."""
        return self.root.get_by_role("combobox", name=name, exact=True)

    @property
    def token(self) -> Locator:
        """The field for the token."""
        return self.root.locator("input[type=password]")

    @property
    def alerts(self) -> Locator:
        """The errors on view."""
        return self.root.get_by_role("alert")

    @property
    def rows(self) -> Locator:
        """The rows on view in the table, or found as neighbours; each can be clicked."""
        return self.root.locator(".vn-rows button").filter(visible=True)

    @property
    def canvas(self) -> Locator:
        """The picture on view."""
        return self.root.locator(".vn-picture canvas")

    @property
    def picture(self) -> Locator:
        """What a screen reader is told of the picture on view."""
        return self.root.locator(".vn-picture [role=graphics-document]")

    @property
    def cell(self) -> Locator:
        """The cell that does the same."""
        return self.root.locator(".vn-cell pre")

    def drawn(self) -> None:
        """Wait until the panel stands there with all its parts: the page draws each as its code has come."""
        for name in ("Check", "Use token", "Run", "Copy cell"):
            expect(self.button(name)).to_be_visible()
        for name in ("Base URL", "Rows", "Name"):
            expect(self.field(name)).to_be_visible()
        expect(self.root.get_by_role("radio", name="Take a variable")).to_be_visible()

    def says(self, text: str) -> None:
        """Wait until the panel shows this text."""
        expect(self.root).to_contain_text(text, use_inner_text=True)

    def go_offline(self) -> None:
        """Switch to the stand-in."""
        self.root.get_by_role("checkbox", name="Offline stand-in").check()
        self.says("these vectors are lexical")

    def give_token(self, token: str) -> None:
        """Type a token, and send it by Enter."""
        self.token.press_sequentially(token)
        self.token.press("Enter")

    def type_text(self, text: str) -> None:
        """Type a text in place of what is there."""
        self.root.get_by_role("radio", name="Type or paste it").check()
        self.field("Rows").fill(text)

    def take_variable(self, name: str) -> None:
        """Choose a variable as the text."""
        self.root.get_by_role("radio", name="Take a variable").check()
        self.choice("Variable").select_option(name)

    def embed(self, text: str) -> None:
        """Embed a typed text to the end."""
        self.type_text(text)
        self.button("Run").click()
        self.says(" × ")
        expect(self.button("Run")).to_be_enabled()

    def turn_to(self, tab: str) -> None:
        """Choose what the lower part is for: Embed, Compare."""
        self.root.get_by_role("radio", name=tab, exact=True).check()
        for name in {"Embed": ["Dimension"], "Compare": ["128", "CODE_RETRIEVAL_QUERY", "Neighbours"]}[tab]:
            expect(self.root.get_by_label(name, exact=True).filter(visible=True)).to_be_visible()

    def tick(self, *options: str) -> None:
        """Tick dimensions and tasks, and none but these."""
        for box in self.root.locator(".vn-several label").filter(visible=True).all():
            box.get_by_role("checkbox").set_checked(box.inner_text().strip() in options)

    def view(self, name: str) -> None:
        """Choose how the result is looked at: Table, Map, Neighbours, Heatmap."""
        self.root.get_by_role("radio", name=name, exact=True).check()

    def find(self, query: str) -> list[str]:
        """Search for the rows nearest to a query in the view Neighbours, and return their texts."""
        self.field("Find").fill(query)
        self.button("Search").click()
        self.says(f"nearest to “{query}”")
        return self.rows.all_inner_texts()


class OpenPanel(Protocol):
    """Opens a notebook whose first cell shows the panel, with these cells below it."""

    def __call__(self, *sources: str, environ: Mapping[str, str] | None = None) -> PanelPage: ...
