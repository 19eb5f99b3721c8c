"""The record: what stays of a panel's last result in a saved or exported notebook, where no widget is alive."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

from IPython.core.displaypub import DisplayPublisher
from IPython.core.interactiveshell import InteractiveShell
from IPython.display import display

from vn_magic.embeddings import Embeddings
from vn_magic.models import OFFLINE_MODEL
from vn_magic.notebook.card import card_bundle, html_lines
from vn_magic.notebook.panel.result import PanelJob
from vn_magic.pictures import Picture

if TYPE_CHECKING:
    from vn_magic.notebook.panel.compared import Compared

_HINT = "The last result of the vn_magic panel. Run the cell again for a living panel."


class Record:
    """An output below the panel, which the panel's own style hides for as long as it is on the page.

    Parameters
    ----------
    identity
        Tells this panel's record from others on the page.
    """

    def __init__(self, identity: str) -> None:
        self._identity = f"vn-record-{identity}"
        self._publisher: DisplayPublisher | None = None
        self._bundle = {"text/html": self._html(""), "text/plain": ""}

    @property
    def style(self) -> str:
        """The rule that hides the record beside a living panel."""
        return f".{self._identity} {{ display: none; }}"

    def open(self) -> None:
        """Take a place in the output of the cell that runs now."""
        self._publisher = InteractiveShell.instance().display_pub
        display(self._bundle, display_id=self._identity, raw=True)

    def keep(self, job: PanelJob, embeddings: Embeddings, picture: Picture | None) -> None:
        """Put a result in that place: its card, its map where there can be one, and the cell that gives it again."""
        card = card_bundle(job.name, embeddings)
        html, text = [card["text/html"]], [card["text/plain"]]
        if picture is not None:
            caption = "<br>".join(map(escape, picture.text.splitlines()))
            html += [_image(picture, "map"), f"<div>{caption}</div>"]
            text += [picture.text]
        self._put(html, text, job.cell, offline=embeddings.provenance.model == OFFLINE_MODEL)

    def keep_comparison(self, result: Compared) -> None:
        """Put a comparison in that place: its table, what is said about it, its chart, and its cell."""
        lines = [result.head, *result.notes]
        html = [html_lines(lines), result.table, _image(result.picture, "chart")]
        self._put(html, [*lines, result.text, result.picture.text], result.cell, offline=result.offline)

    def _put(self, html: Sequence[str], text: Sequence[str], cell: str, *, offline: bool) -> None:
        again = "<div>After <code>%vn offline</code>, this cell gives it again:</div>" if offline else ""
        shown = f'<pre style="white-space:pre-wrap;margin:4px 0">{escape(cell)}</pre>'
        self._bundle = {
            "text/html": self._html("".join([f"<div>{_HINT}</div>", *html, again, shown])),
            "text/plain": "\n".join([*text, cell]),
        }
        if self._publisher is not None:
            # Not `update_display`: a cell that runs now under `%%capture` would take it for its own.
            self._publisher.publish(self._bundle, transient={"display_id": self._identity}, update=True)

    def _html(self, content: str) -> str:
        return f'<div class="{self._identity}">{content}</div>'


def _image(picture: Picture, name: str) -> str:
    encoded = b64encode(picture.svg.encode()).decode()
    return f'<img style="max-width:100%" alt="{name}" src="data:image/svg+xml;base64,{encoded}">'
