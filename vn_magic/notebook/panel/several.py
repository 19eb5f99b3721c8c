"""Several: options of which any number may be chosen, each a check box."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from html import escape

import ipywidgets as widgets

from vn_magic.notebook.panel.tasks import Message, Tasks

# More of them would not fit beside each other.
_SHORT_CHARACTERS = 6


class Several:
    """Check boxes under a heading. A list that wants Ctrl held down would be a riddle to most people.

    Parameters
    ----------
    title
        What is chosen.
    options
        For each option what stands on the hover.
    chosen
        The options that are ticked at first.
    on_change
        Called whenever one has been ticked or not.
    tasks
        Runs what widgets call.
    """

    def __init__(
        self,
        title: str,
        options: Mapping[str, str],
        chosen: Collection[str],
        on_change: Callable[[], None],
        tasks: Tasks,
    ) -> None:
        self._boxes = [
            widgets.Checkbox(
                value=option in chosen, description=option, tooltip=tooltip, indent=False, layout={"width": "auto"}
            )
            for option, tooltip in options.items()
        ]
        self._note = Message()
        heading = widgets.HTML(f'<div class="vn-group">{escape(title)}</div>')
        boxes = widgets.HBox(self._boxes)
        boxes.add_class("vn-several")
        if max(map(len, options)) > _SHORT_CHARACTERS:
            boxes.add_class("vn-long")
        self.widget = widgets.VBox([heading, boxes, self._note.widget])
        for box in self._boxes:
            box.observe(tasks.callback(on_change), "value")

    @property
    def chosen(self) -> tuple[str, ...]:
        """The options that are ticked, in their order; none while they cannot be chosen."""
        return tuple(box.description for box in self._boxes if box.value and not box.disabled)

    def offer(self, *, offered: bool, otherwise: str) -> None:
        """Let people choose, or not, and say what holds where nothing is chosen."""
        for box in self._boxes:
            box.disabled = not offered
        self._note.say([] if self.chosen else [otherwise])
