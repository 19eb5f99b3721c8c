"""The last job, and one of its rows in full: what was sent, what came back, and what the cache has of it."""

from __future__ import annotations

from collections.abc import Iterator

from vn_magic.classroom.row_story import Row, Section, row_sections
from vn_magic.exceptions import InputError
from vn_magic.explore.labels import shortened
from vn_magic.lookup import distinct_rows
from vn_magic.models import OFFLINE_MODEL, facts_of
from vn_magic.session import Session
from vn_magic.texts import estimated_tokens
from vn_magic.trace import Outcome, Trace
from vn_magic.wording import counted

_NAMED_ROWS = 5
_HEADING_WIDTH = 10


def explained(session: Session, number: int | None = None) -> str:
    """Return what can be told of the session's last job, or of one of its rows, without any token.

    Parameters
    ----------
    session
        Whose job it was; its cache is asked what it has of the row now.
    number
        The row, counted from 0. None tells of the job, and of the row that is worth a look: the first that failed,
        else the first whose request is remembered, else the first.

    Raises
    ------
    InputError
        When there was no job, or it has no such row.
    """
    job = session.last_job
    if job is None:
        raise InputError("No job has run in this session, so there is nothing to explain.\nNext: `%%embed` something.")
    rows = len(job.texts)
    if number is not None and not 0 <= number < rows:
        there = f"its rows are 0 to {rows - 1}" if rows else "it has none"
        raise InputError(f"The last job has no row {number}: {there}.\nNext: `%vn explain` shows the job.")
    told = []
    if number is None:
        number, why = _telling_row(job)
        other = rows - 1 if number < rows - 1 else 0
        choice = [f"Row {number} is {why}; `%vn explain {other}` shows row {other}."] if rows > 1 else []
        told.append(_written(("last job", [*_job_lines(job, session), *choice])))
    if rows:
        told.append("\n".join(map(_written, row_sections(Row.of(job, number, session)))))
    return session.tokens.scrub("\n\n".join(told))


def _telling_row(job: Trace) -> tuple[int, str]:
    if job.errors:
        return min(tuple(job.errors)), "the first that failed"  # a copy: the job may be running
    if job.first_remembered is not None:
        return job.first_remembered, "the first whose request is remembered"
    return 0, "the first; none was sent"


def _written(section: Section) -> str:
    """Return a section with its heading beside it; without one it is a command, and stands at the margin."""
    heading, lines = section
    if not heading:
        return "\n".join(["", *lines, ""])
    margin = [heading, *[""] * (len(lines) - 1)]
    return "\n".join(f"{beside:<{_HEADING_WIDTH}} {line}" for beside, line in zip(margin, lines, strict=True))


def _job_lines(job: Trace, session: Session) -> Iterator[str]:
    rows, recipe = len(job.texts), job.recipe
    first, twins = distinct_rows(job.texts)
    yield f"{counted(rows, 'row')}: {', '.join(_counts(job, twins)) or 'nothing came of them'}"
    title = f"title {shortened(session.tokens.scrub(recipe.title), 40)!r}" if recipe.title is not None else ""
    length = "unit length" if recipe.unit_length else "raw"
    made = (recipe.model, recipe.task_type or "no task", title, f"{recipe.dimension:,} values", length)
    yield " · ".join(filter(None, made))
    yield _place(job)
    limit = facts_of(recipe.model).token_limit
    long = [row for row in first if limit is not None and estimated_tokens(job.texts[row] or "") > limit]
    if long:
        named = ", ".join(map(str, long[:_NAMED_ROWS])) + (" …" if len(long) > _NAMED_ROWS else "")
        yield f"by estimate longer than the {limit:,} tokens that {recipe.model} reads: row {named}"
    if job.norms is None:
        yield "It has not come to its end: it failed, was stopped, or is still running."


def _counts(job: Trace, twins: dict[int, list[int]]) -> Iterator[str]:
    errors = set(job.errors)
    counts = {
        "new": job.count(Outcome.NEW),
        "from cache": job.count(Outcome.CACHED),
        "from the pack": job.count(Outcome.RECORDED),
        "failed": len(errors) + sum(len(twins[row]) for row in errors & twins.keys()),
    }
    yield from (f"{count:,} {what}" for what, count in counts.items() if count)
    if repeated := sum(map(len, twins.values())):
        yield counted(repeated, "duplicate")


def _place(job: Trace) -> str:
    pack = job.pack.pack.name if job.pack is not None else ""
    if job.pack is not None and job.pack.strict:
        return f"the pack {pack} alone: no token, no network"
    after = f", after the pack {pack}" if pack else ""
    if job.origin.source == OFFLINE_MODEL:
        return f"offline stand-in inside this process: lexical, not semantic{after}"
    return f"{job.origin.source}, by the base URL {job.origin.key}{after}"
