"""What the panel's widgets call: short work at once, long work on the session's loop, errors in the panel alone."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import Future
from html import escape
from typing import Any

import ipywidgets as widgets

from vn_magic.door import presentable
from vn_magic.session import Session


class Message:
    """A few lines in the panel, marked for screen readers as news."""

    def __init__(self) -> None:
        self.widget = widgets.HTML()
        self.clear()

    def say(self, lines: Sequence[str]) -> None:
        """Show lines of plain text."""
        self._show("status", "vn-note", lines)

    def tick(self, line: str) -> None:
        """Show a line that changes several times a second, and is no news each time."""
        self._show("none", "vn-note", [line])

    def fail(self, error: BaseException) -> None:
        """Show an error as a cell would."""
        render = getattr(error, "_render_traceback_", None)
        lines = render() if render else traceback.format_exception_only(error)
        self._show("alert", "vn-error", lines)

    def clear(self) -> None:
        """Show nothing."""
        self._show("status", "vn-note", [])

    def _show(self, role: str, kind: str, lines: Sequence[str]) -> None:
        text = "".join(f"<div>{escape(line)}</div>" for line in lines)
        self.widget.value = f'<div class="{kind}" role="{role}">{text}</div>'
        self.widget.layout.display = None if text else "none"


class Tasks:
    """Runs work for widgets. A widget's callback that raised would write into the cell that runs just then.

    Parameters
    ----------
    session
        Whose loop is used, and who knows what must be masked.
    message
        Where errors are shown.
    """

    def __init__(self, session: Session, message: Message) -> None:
        self._session = session
        self.message = message

    def callback(self, work: Callable[[], None]) -> Callable[[object], None]:
        """Return ``work`` as a callback of a widget."""

        def called(_event: object) -> None:
            try:
                work()
            except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - whatever it is, it is shown in the panel
                self._show(error)

        return called

    def start(self, work: Callable[[], Coroutine[Any, Any, None]]) -> Future[None]:
        """Start long work on the session's loop; a callback never waits, or the kernel would."""

        async def started() -> None:
            try:
                await work()  # made here: a coroutine that is cancelled before its start would be a warning on stderr
            except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - as above
                self._show(error)

        return self._session.runtime.portal.submit(started())

    def _show(self, error: BaseException) -> None:
        self.message.fail(presentable(error, self._session.tokens.scrub, debug=self._session.debug))
