"""What a job has done, does and would do, as lines of text for people."""

from __future__ import annotations

import math
from collections.abc import Sequence

from vn_magic.embeddings import Embeddings, Provenance
from vn_magic.lookup import Plan
from vn_magic.models import OFFLINE_MODEL, facts_of
from vn_magic.progress import ProgressEvent
from vn_magic.settings import FIRST_CONCURRENCY, JobOptions, Recipe
from vn_magic.texts import estimated_tokens

_BAR_CELLS = 24


def progress_line(name: str, event: ProgressEvent) -> str:
    """Return one line about a running job."""
    filled = _BAR_CELLS * event.done // max(event.rows, 1)
    return f"{name}   {'█' * filled}{'░' * (_BAR_CELLS - filled)}   {progress_text(event)}"


def progress_text(event: ProgressEvent) -> str:
    """Return what a running job has done, how fast, and how long the rest will take at that rate."""
    new = event.done - event.cached - event.failed
    rate = new / event.seconds if event.seconds > 0 else 0.0
    left = (event.rows - event.done) / rate if rate else 0.0
    parts = [
        f"{event.done:,} of {event.rows:,} rows",
        f"{event.cached:,} from cache" if event.cached else "",
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


def counted(number: int, one: str, many: str = "") -> str:
    """Return ``1 request``, ``1,024 requests``."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def size_text(size: int) -> str:
    """Return a number of bytes as people read it."""
    return f"{size / 1e6:,.1f} MB" if size >= 1e6 else f"{size / 1e3:,.0f} kB"


def final_lines(name: str, embeddings: Embeddings) -> list[str]:
    """Return the two lines that say what was done, and the session's notices."""
    of, did = embeddings.provenance, embeddings.summary
    tokens = f"{'≈' if did.tokens_estimated else ''}{counted(did.tokens, 'token')}" if did.new else ""
    numbers = [
        f"{did.new:,} new, {did.cached:,} from cache",
        counted(did.duplicates, "duplicate") if did.duplicates else "",
        f"{did.failed:,} failed, see the column `error`" if did.failed else "",
        tokens,
        f"{counted(did.requests, 'request')}, {counted(did.retries, 'retry', 'retries')}",
        f"up to {did.concurrency} at once" if did.concurrency > FIRST_CONCURRENCY else "",
        f"{did.seconds:.2f} s",
        place_of(of),
    ]
    return [head_line(name, embeddings), " · ".join(filter(None, numbers)), *did.notices]


def head_line(name: str, embeddings: Embeddings) -> str:
    """Return what a result is: its name, its shape, and how its vectors were made."""
    of = embeddings.provenance
    rows, dimension = embeddings.matrix.shape
    length = "unit length" if of.unit_length else "raw"
    return f"{name}   {rows:,} × {dimension}   {' · '.join(filter(None, (of.model, of.task_type, length)))}"


def place_of(provenance: Provenance) -> str:
    """Return where vectors come from; of the stand-in's, what they are not."""
    return "offline stand-in: lexical, not semantic" if provenance.model == OFFLINE_MODEL else provenance.source


def plan_lines(plan: Plan, texts: Sequence[str | None], recipe: Recipe, options: JobOptions) -> list[str]:
    """Return what a dry run has found out."""
    missing = [text for row in plan.missing if (text := texts[row]) is not None]
    unusable = sum(text is None for text in texts)
    tokens = [estimated_tokens(text) for text in missing]
    requests = math.ceil(len(missing) / options.texts_per_request)
    lines = [
        f"dry run   {plan.rows:,} × {recipe.dimension}   {recipe.model}; nothing was sent",
        " · ".join(
            (
                f"{plan.cached:,} from cache",
                counted(plan.duplicates, "duplicate"),
                f"{counted(requests, 'request')} would be sent",
                f"≈{sum(tokens):,} tokens",
            )
        ),
    ]
    if unusable:
        lines.append(f"{counted(unusable, 'row')} cannot be embedded (missing, blank or not text)")
    limit = facts_of(recipe.model).token_limit
    long = [row for row, count in zip(plan.missing, tokens, strict=True) if limit and count > limit]
    if long:
        named = ", ".join(map(str, long[:5])) + (" …" if len(long) > 5 else "")
        lines.append(
            f"{counted(len(long), 'row looks', 'rows look')} longer than the {limit:,} tokens that the model reads "
            f"(row {named}); the service cuts them without notice"
        )
    return lines
