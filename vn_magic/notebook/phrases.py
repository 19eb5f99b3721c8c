"""What a job does and has done, and what a session has used, as lines of text for people."""

from __future__ import annotations

from decimal import Decimal

from vn_magic.embeddings import Embeddings, Provenance
from vn_magic.models import OFFLINE_MODEL
from vn_magic.progress import JobSummary, ProgressEvent, Totals
from vn_magic.settings import FIRST_CONCURRENCY
from vn_magic.wording import counted

_BAR_CELLS = 24


def progress_line(name: str, event: ProgressEvent) -> str:
    """Return one line about a running job."""
    filled = _BAR_CELLS * event.done // max(event.rows, 1)
    return f"{name}   {'█' * filled}{'░' * (_BAR_CELLS - filled)}   {progress_text(event)}"


def progress_text(event: ProgressEvent) -> str:
    """Return what a running job has done, how fast, and how long the rest will take at that rate."""
    new = event.done - event.cached - event.recorded - event.failed
    rate = new / event.seconds if event.seconds > 0 else 0.0
    left = (event.rows - event.done) / rate if rate else 0.0
    parts = [
        f"{event.done:,} of {event.rows:,} rows",
        f"{event.cached:,} from cache" if event.cached else "",
        f"{event.recorded:,} from pack" if event.recorded else "",
        f"{rate:.0f} rows/s" if rate >= 1 else f"{60 * rate:.0f} rows/min" if rate else "",
        f"{event.concurrency} at once" if event.concurrency else "",
        counted(event.retries, "retry", "retries") if event.retries else "",
        f"{event.failed:,} failed" if event.failed else "",
        f"waiting {event.waiting}" if event.waiting else "",
        f"≈{duration_text(left)} left" if left >= 1 else "",
    ]
    return " · ".join(filter(None, parts))


def duration_text(seconds: float) -> str:
    """Return a number of seconds as people say it: ``8 s``, ``3 min``, ``1 h 20 min``."""
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"


def size_text(size: int) -> str:
    """Return a number of bytes as people read it."""
    return f"{size / 1e6:,.1f} MB" if size >= 1e6 else f"{size / 1e3:,.0f} kB"


def tokens_text(tokens: int, *, estimated: bool) -> str:
    """Return ``140 tokens``, marked where not all of them were counted by the service."""
    return f"{'≈' if estimated else ''}{counted(tokens, 'token')}"


def money_text(tokens: int, price: float | None, *, free: bool = False) -> str:
    """Return ``≈0.0021 at 0.15 a million tokens``; nothing where there is no price or nothing to pay.

    Parameters
    ----------
    tokens
        How many.
    price
        Of a million tokens, in a currency that only the user knows.
    free
        Whether the stand-in serves them: then it is what they would cost elsewhere.
    """
    if price is None or not tokens:
        return ""
    cost = tokens * price / 1e6
    # Two digits that say something, however small it is.
    amount = f"{cost:,.2f}" if round(cost, 2) >= 1 else f"{Decimal(f'{cost:.1e}'):f}"
    return f"{'would be ' if free else ''}≈{amount} at {price:,.6g} a million tokens"


def usage_text(totals: Totals, price: float | None, *, free: bool) -> str:
    """Return what a session has used; see `money_text`."""
    parts = (
        f"{counted(totals.requests, 'request')}, {counted(totals.retries, 'retry', 'retries')}",
        f"{counted(totals.new, 'row')} new, {totals.cached:,} from cache, {totals.recorded:,} from packs",
        tokens_text(totals.tokens, estimated=totals.tokens_estimated),
        money_text(totals.tokens, price, free=free),
    )
    return " · ".join(filter(None, parts))


def final_lines(name: str, embeddings: Embeddings) -> list[str]:
    """Return the two lines that say what was done, and the session's notices."""
    return summary_lines(name, embeddings.provenance, embeddings.summary)


def summary_lines(name: str, of: Provenance, did: JobSummary) -> list[str]:
    """Return the same of a job whose result is elsewhere."""
    numbers = [
        f"{did.new:,} new, {did.cached:,} from cache" + (f", {did.recorded:,} from pack" if did.recorded else ""),
        counted(did.duplicates, "duplicate") if did.duplicates else "",
        f"{did.failed:,} failed, see the column `error`" if did.failed else "",
        tokens_text(did.tokens, estimated=did.tokens_estimated) if did.new else "",
        money_text(did.tokens, did.price_per_million, free=of.model == OFFLINE_MODEL),
        f"{counted(did.requests, 'request')}, {counted(did.retries, 'retry', 'retries')}",
        f"up to {did.concurrency} at once" if did.concurrency > FIRST_CONCURRENCY else "",
        f"{did.seconds:.2f} s",
        place_of(of),
    ]
    return [_head(name, did.rows, of), " · ".join(filter(None, numbers)), *did.notices]


def head_line(name: str, embeddings: Embeddings) -> str:
    """Return what a result is: its name, its shape, and how its vectors were made."""
    return _head(name, len(embeddings), embeddings.provenance)


def _head(name: str, rows: int, of: Provenance) -> str:
    length = "unit length" if of.unit_length else "raw"
    return f"{name}   {rows:,} × {of.dimension}   {' · '.join(filter(None, (of.model, of.task_type, length)))}"


def place_of(provenance: Provenance) -> str:
    """Return where vectors come from; of the stand-in's, what they are not."""
    return "offline stand-in: lexical, not semantic" if provenance.model == OFFLINE_MODEL else provenance.source
