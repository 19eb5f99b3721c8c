"""The card: how often it is drawn, and from what."""

from __future__ import annotations

from itertools import count
from types import SimpleNamespace

import pytest

from vn_magic.notebook import card as card_module
from vn_magic.notebook.card import Card
from vn_magic.portal import POLL_SECONDS
from vn_magic.progress import ProgressEvent


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The lines that a front end is shown."""
    lines: list[str] = []

    def note(bundle: dict[str, str], **_options: object) -> None:
        lines.append(bundle["text/plain"])

    monkeypatch.setattr(card_module, "display", note)
    monkeypatch.setattr(card_module, "update_display", note)
    return lines


@pytest.mark.parametrize("tick", [0.99 * POLL_SECONDS, POLL_SECONDS, 1.2 * POLL_SECONDS], ids=["early", "even", "late"])
def test_a_card_is_drawn_four_to_six_times_a_second_however_the_ticks_fall(
    drawn: list[str], monkeypatch: pytest.MonkeyPatch, tick: float
) -> None:
    now = 1000.0
    monkeypatch.setattr(card_module, "time", SimpleNamespace(monotonic=lambda: now))
    card = Card("x", in_kernel=True, quiet=False, kept=True)
    seconds = 10.0
    for number in count():
        now = 1000.0 + number * tick
        if now >= 1000.0 + seconds:
            break
        card.note(ProgressEvent(100, done=number))
        card.draw()
    assert 4 <= len(drawn) / seconds <= 6


def test_however_many_changes_are_noted_between_two_ticks_the_last_one_alone_is_drawn(
    drawn: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(card_module, "time", SimpleNamespace(monotonic=lambda: 1000.0))
    card = Card("x", in_kernel=True, quiet=False, kept=True)
    for done in range(1000):
        card.note(ProgressEvent(1000, done=done))
    card.draw()
    card.draw()
    assert len(drawn) == 1
    assert "999 of 1,000" in drawn[0]
