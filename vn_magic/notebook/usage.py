"""``%vn usage``: what the session has used, and what of its budgets is left."""

from __future__ import annotations

from collections.abc import Sequence

from IPython.core.interactiveshell import InteractiveShell

from vn_magic.budget import Limit, session_budget
from vn_magic.notebook.card import show_lines
from vn_magic.notebook.phrases import usage_text
from vn_magic.session import Session


def usage(_words: Sequence[str], session: Session, _shell: InteractiveShell) -> None:
    """Show the session's totals, and for each of its budgets what is used, the most, and what is left."""
    settings, totals = session.settings, session.totals
    limits = session_budget(settings).limits(totals.requests, totals.tokens_taken)
    none = "no budget is set; `%config VnMagic.max_requests = 100` would set one, and max_tokens another"
    show_lines(
        [
            "usage of this session",
            usage_text(totals, settings.price_per_million, free=settings.offline),
            *(map(_limit_line, limits) if limits else [none]),
        ]
    )


def _limit_line(limit: Limit) -> str:
    used, left = limit.amount(limit.used), limit.amount(limit.left)
    return f"max_{limit.unit}: {used} of {limit.most:,} used, {left} left"
