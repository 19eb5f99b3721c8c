"""A table file to one with vectors, group by group: memory does not grow with it, and the result is whole or absent."""

from __future__ import annotations

import io
import time
from array import array
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from vn_magic.embeddings import Embeddings, Provenance
from vn_magic.exceptions import BudgetError, InputError, ProvenanceError
from vn_magic.files import whole_file
from vn_magic.frames import Source
from vn_magic.lookup import Plan
from vn_magic.progress import JobSummary, ProgressEvent
from vn_magic.request import Request
from vn_magic.scale.table_files import TableFiles
from vn_magic.scale.tables import Group, GroupSize, Table, Write, Writer
from vn_magic.session import Session
from vn_magic.texts import NAMED_ROWS, checked_texts, estimated_tokens, unusable
from vn_magic.wording import counted

# A group's rows at most, and about the bytes of its vectors and of what the file has for it. Between two groups the
# gateway waits for the last answers of the one, so groups of ten texts would be slow, and one of all would not fit.
GROUP_ROWS = 16_384
GROUP_BYTES = 64_000_000
_SUMMED = ("rows", "new", "cached", "recorded", "failed", "duplicates", "requests", "retries", "tokens")


class Watcher(Protocol):
    """Follows a job on a file."""

    def checked(self, rows: int) -> None:
        """Note that so many rows were looked at, and that nothing is sent yet."""

    def tell(self, notices: Sequence[str]) -> None:
        """Show what the user should see at once, and once: a job on a file may take days."""

    def note(self, event: ProgressEvent) -> None:
        """Take note of progress, of the whole file; called on the session's loop."""

    def draw(self) -> None:
        """Show it; called some ten times a second in the thread that runs the job."""


@dataclass(frozen=True, slots=True)
class FilePlan:
    """What a job on a file would do; see `vn_magic.lookup.Plan`.

    ``tokens`` belong to the rows of ``plan.missing``. Of ``groups`` each is planned by itself: a text that comes again
    in another is counted as if it were new.
    """

    plan: Plan
    tokens: array[int]
    unusable: int
    groups: int


def group_size(dimension: int) -> GroupSize:
    """Return how much of a file is in memory at once."""
    return GroupSize(max(1, min(GROUP_ROWS, GROUP_BYTES // (4 * dimension))), GROUP_BYTES)


def embed_file(
    session: Session, files: TableFiles, request: Request, watcher: Watcher
) -> tuple[Provenance, JobSummary]:
    """Write the rows of a file, in their order, with a column ``embedding`` to another, which is then moved in place.

    The file is read twice: once to see that all of it can be used, before anything is sent, and once to be embedded.

    Parameters
    ----------
    session
        Whose settings, token and cache are used.
    files
        What to read and write.
    request
        Recipe and options; it has no texts.
    watcher
        Told of progress.

    Raises
    ------
    InputError
        When a file or a row cannot be used; rows are counted from 0, lines from 1.
    EmbeddingInterruptedError
        On Ctrl-C.
    VnMagicError
        See `Session.run_job`. What has arrived is in the cache.
    """
    table, writer = files.opened()
    # Of no texts: what is wrong with token, address or options is told now, and who would sign where there are no rows.
    opening = session.run_request(request)
    watcher.tell(opening.summary.notices)
    with _written(files.target) as file:
        files.check_target()  # once more: another run may just have been done
        rows = _survey(table, writer, request, watcher)
        writer.check(table)
        with_errors = request.options.on_error == "keep"
        run = _Run(session, request, rows, watcher, opening)
        write: Write | None = None
        with ExitStack() as stack:
            for group in table.groups(group_size(request.recipe.dimension)):
                embeddings = run.embed(group)
                write = write or stack.enter_context(
                    writer.writing(file, table, run.provenance, with_errors=with_errors)
                )
                write(group, embeddings)
            if write is None:
                stack.enter_context(writer.writing(file, table, run.provenance, with_errors=with_errors))
    return run.provenance, run.summary


def plan_file(session: Session, files: TableFiles, request: Request, watcher: Watcher) -> FilePlan:
    """Return what `embed_file` would send, without sending or writing anything.

    Raises
    ------
    InputError
        As `embed_file`.
    """
    table, writer = replace(files, replaces=True).opened()
    _survey(table, writer, request, watcher)
    writer.check(table)
    missing, tokens = array("q"), array("q")
    rows = duplicates = cached = recorded = useless = groups = 0
    pack = ""
    for group in table.groups(group_size(request.recipe.dimension), texts_only=True):
        plan, texts = session.run(session.plan_job(replace(request, source=Source(group.texts), first_row=rows)))
        missing.extend(rows + row for row in plan.missing)
        tokens.extend(estimated_tokens(texts[row] or "") for row in plan.missing)
        rows, duplicates, groups = rows + plan.rows, duplicates + plan.duplicates, groups + 1
        cached, recorded, pack = cached + plan.cached, recorded + plan.recorded, plan.pack
        useless += sum(text is None for text in texts)
    return FilePlan(Plan(rows, duplicates, cached, missing, recorded, pack), tokens, useless, groups)


class _Run:
    """Embeds one group after another, and adds up what was done.

    Parameters
    ----------
    request
        Recipe and options of all.
    rows
        Of the whole file.
    opening
        What came of no rows.
    """

    def __init__(self, session: Session, request: Request, rows: int, watcher: Watcher, opening: Embeddings) -> None:
        self._session = session
        self._request = request
        self._rows = rows
        self._watcher = watcher
        self._began = time.monotonic()
        self._is_signed = False
        self.provenance, self.summary = opening.provenance, replace(opening.summary, notices=())

    def embed(self, group: Group) -> Embeddings:
        """Embed the next group.

        Raises
        ------
        VnMagicError
        """
        options, done = self._request.options, self.summary
        left = replace(
            options,
            max_requests=_less(options.max_requests, done.requests),
            max_tokens=_less(options.max_tokens, done.tokens),
        )
        request = replace(self._request, source=Source(group.texts), options=left, first_row=done.rows)
        try:
            embeddings = self._session.run_request(request, self._note, self._watcher.draw)
        except BudgetError:
            if left == options:
                raise
            raise self._used_up() from None
        self._watcher.tell(embeddings.summary.notices)
        self._check_maker(embeddings)
        self.summary = _together(done, embeddings.summary, time.monotonic() - self._began)
        return embeddings

    def _note(self, event: ProgressEvent) -> None:
        done = self.summary
        self._watcher.note(
            ProgressEvent(
                rows=self._rows,
                done=done.rows + event.done,
                cached=done.cached + event.cached,
                recorded=done.recorded + event.recorded,
                failed=done.failed + event.failed,
                requests=done.requests + event.requests,
                retries=done.retries + event.retries,
                concurrency=event.concurrency,
                waiting=event.waiting,
                seconds=time.monotonic() - self._began,
            )
        )

    def _used_up(self) -> BudgetError:
        """Tell of the whole budget, not of what was left of it for a group."""
        options, done = self._request.options, self.summary
        limits = ((options.max_requests, done.requests, "request"), (options.max_tokens, done.tokens, "token"))
        told = ", ".join(f"{used:,} of {counted(most, unit)}" for most, used, unit in limits if most is not None)
        cure = "run it again for the rest, with a budget of its own" if options.use_cache else "raise the budget"
        return BudgetError(f"The budget does not allow the rows from {done.rows} on ({told} used).\nNext: {cure}.")

    def _check_maker(self, embeddings: Embeddings) -> None:
        """Refuse a group of another maker than the ones before; one without a vector is nobody's."""
        if len(embeddings.errors) == len(embeddings):
            return
        if self._is_signed and embeddings.provenance != self.provenance:
            raise ProvenanceError(
                f"The rows from {self.summary.rows} on are of another maker than those before:\n"
                f"  {self.provenance}\n  {embeddings.provenance}\n"
                "Next: run it again with --refresh, so that all are computed anew."
            )
        self.provenance, self._is_signed = embeddings.provenance, True


def _survey(table: Table, writer: Writer, request: Request, watcher: Watcher) -> int:
    """Look at all rows before any is sent; return how many there are.

    Raises
    ------
    InputError
        When the file cannot be read to its end, or under ``stop`` rows cannot be sent.
    """
    reasons: dict[int, str] = {}
    rows = useless = 0
    for group in table.groups(group_size(request.recipe.dimension), texts_only=True):
        writer.learn(group)
        texts, refused = checked_texts(group.texts, "keep")
        if len(reasons) < NAMED_ROWS:
            reasons.update((rows + row, reason) for row, reason in refused.items())
        useless += len(refused)
        rows += len(texts)
        watcher.checked(rows)
    if useless and request.options.on_error == "stop":
        raise unusable(reasons, useless, rows)
    return rows


@contextmanager
def _written(path: Path) -> Iterator[io.BufferedWriter]:
    """Open the target as a whole file; what the disk has to say is told in short."""
    try:
        with whole_file(path) as file:
            yield file
    except OSError as error:
        raise InputError(
            f"{path.name!r} cannot be written: {error.strerror or error}.\n"
            "Next: choose a folder that exists, with room for it."
        ) from None


def _together(before: JobSummary, now: JobSummary, seconds: float) -> JobSummary:
    return replace(
        now,
        **{name: getattr(before, name) + getattr(now, name) for name in _SUMMED},
        concurrency=max(before.concurrency, now.concurrency),
        tokens_estimated=before.tokens_estimated or now.tokens_estimated,
        seconds=seconds,
        notices=(),
    )


def _less(most: int | None, used: int) -> int | None:
    return None if most is None else max(0, most - used)
