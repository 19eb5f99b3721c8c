"""A gateway that lets texts through as the test turns it, so that a job can be looked at while it runs."""

from __future__ import annotations

import asyncio

from playwright.sync_api import Locator

_ROWS_DONE = r"""([element, of, before]) => {
  const [, done] = element.innerText.match(new RegExp(`([0-9,]+) of ${of} rows`)) ?? [];
  const number = done && Number(done.replace(',', ''));
  return number > before && number;
}"""


class Turnstile:
    """A rule that lets so many texts through and holds the others back."""

    def __init__(self) -> None:
        self.passed = 0
        self.allowed = 0

    async def __call__(self, _text: str) -> tuple[int, dict[str, str], bytes] | None:
        while self.passed >= self.allowed:  # noqa: ASYNC110 - the test turns it from another thread
            await asyncio.sleep(0.01)
        self.passed += 1
        return None


def rows_done(part: Locator, of: int, more_than: int) -> int:
    """Wait until a part of a page shows a number of finished rows larger than this one, and return it."""
    found = part.page.wait_for_function(_ROWS_DONE, arg=[part.element_handle(), f"{of:,}", more_than])
    return int(found.json_value())
