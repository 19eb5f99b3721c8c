"""What happened to one row of a job, told section by section."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from vn_magic.cache import CachedVector
from vn_magic.classroom.curl import LONGEST_BODY, Command, curl
from vn_magic.credentials import TOKEN_VARIABLES
from vn_magic.exceptions import TokenError
from vn_magic.explore.labels import shortened
from vn_magic.gateway.dialect import Dialect
from vn_magic.gateway.envelopes import quote
from vn_magic.keys import KeyRing
from vn_magic.lookup import Lookup
from vn_magic.models import OFFLINE_MODEL, facts_of
from vn_magic.pack import Recorded
from vn_magic.session import Session
from vn_magic.settings import host_of, origin_of
from vn_magic.texts import estimated_tokens
from vn_magic.trace import MOST_EXCHANGES, Exchange, Outcome, Trace
from vn_magic.wording import counted

SERVED_STAND_IN = "http://127.0.0.1:8787"
"""Where `vn-magic serve` listens unless it is told otherwise."""

Section = tuple[str, Sequence[str]]
"""A heading and the lines beside it; a command has no heading."""

_VARIABLE = f"${TOKEN_VARIABLES[0]}"
_TEXT_WIDTH = 80
_WORDS_BEFORE_CUT = 30
# The estimate is a rule of thumb: above this part of the limit, the real count may be beyond it.
_NEAR = 0.75
_UNIT_TOLERANCE = 1e-6


@dataclass(frozen=True, slots=True)
class Row:
    """A row of a job, and what is kept of it now.

    Parameters
    ----------
    session, job, number
        Whose row it is, counted from 0.
    text
        Its text; empty where it has none that could be sent.
    outcome, exchange
        What became of it, and its latest request, as far as that is remembered.
    cached, recorded
        What the cache has of it now, and what the job's pack has.
    """

    session: Session
    job: Trace
    number: int
    text: str
    outcome: Outcome
    exchange: Exchange | None
    cached: CachedVector | None
    recorded: Recorded | None

    @classmethod
    def of(cls, job: Trace, number: int, session: Session) -> Self:
        """Return a row of a job. The cache is asked only if the job had one."""
        text = job.texts[number] or ""
        lookup = Lookup([text], job.recipe, job.origin, session.runtime.cache)
        had_cache = job.options.use_cache and not (job.pack and job.pack.strict)
        cached = session.run(lookup.find({0: lookup.key(0)})).get(0) if text and had_cache else None
        recorded = job.pack.pack.find(text, job.recipe) if job.pack else None
        return cls(session, job, number, text, job.outcome(number), job.exchange(number), cached, recorded)

    @property
    def is_offline(self) -> bool:
        """Whether the stand-in inside the process was asked."""
        return self.job.origin.source == OFFLINE_MODEL

    @property
    def only_pack(self) -> str:
        """The name of the pack that alone answered, if one did."""
        return self.job.pack.pack.name if self.job.pack is not None and self.job.pack.strict else ""

    @property
    def error(self) -> str:
        """Why it has no vector."""
        return self.job.errors.get(self.number) or self.job.errors[self.job.first(self.number)]

    def short(self, text: str, width: int) -> str:
        """Return the beginning of a text in quotes. Masked before: half a token would not be known as one."""
        return repr(shortened(self.session.tokens.scrub(text), width))


def row_sections(row: Row) -> Iterator[Section]:
    """Yield what can be told of a row. A token may be in it where a gateway's words or a name have one."""
    yield f"row {row.number}", [*_text_lines(row)]
    if not row.text:
        yield "sent", [f"nothing: it was refused before ({row.error})"]
        return
    command = _command(row)
    yield "sent", [_sent_line(row)]
    yield "", command.lines
    yield "its token", [_token_line(row), *command.remarks, *_file_lines(row)]
    yield "came back", [*_answer_lines(row)]
    if row.outcome not in (Outcome.FAILED, Outcome.NONE):
        yield "vector", [*_vector_lines(row)]
    yield "tokens", [*_length_lines(row)]
    yield "cache", [*_cache_lines(row)]


def _text_lines(row: Row) -> Iterator[str]:
    if not row.text:
        yield "has no text"
        return
    yield f"{row.short(row.text, _TEXT_WIDTH)} ({counted(len(row.text), 'character')})"
    first = row.job.first(row.number)
    if first != row.number:
        yield f"repeats row {first}: embedded once, for both"


def _sent_line(row: Row) -> str:
    if row.exchange is not None:
        others = row.exchange.texts - 1
        request = f"one request with {counted(others, 'other text')}" if others else "a request of its own"
        return f"in {request}{', to the stand-in inside this process' if row.is_offline else ''}:"
    if row.job.was_sent(row.number):
        return f"yes; only the latest {MOST_EXCHANGES:,} requests are remembered. Alone it is asked for like this:"
    why = {
        Outcome.CACHED: "the cache had it",
        Outcome.RECORDED: "the pack had it",
        Outcome.FAILED: f"the pack {row.only_pack} alone answered" if row.only_pack else "see what came back",
    }
    return f"nothing: {why.get(row.outcome, 'its turn did not come')}. It would be asked for like this:"


def _command(row: Row) -> Command:
    base_url, scrub = SERVED_STAND_IN if row.is_offline else row.job.origin.key, row.session.tokens.scrub
    if row.exchange is not None:
        return curl(base_url + row.exchange.path, row.exchange.body, scrub)
    # What a client asks first, before it has learned how this gateway differs from its documentation.
    question = Dialect(host_of(base_url), scrub, longest_wait=0.0).question([row.text], row.job.recipe)
    return curl(base_url + question.path, question.body, scrub)


def _token_line(row: Row) -> str:
    if row.is_offline:
        return f"none was sent. `vn-magic serve` takes this request, and prints what {_VARIABLE} must hold for it."
    base_url = row.job.origin.key
    try:
        found = row.session.tokens.find(origin_of(base_url))
    except TokenError:
        found = None
    if found is None:
        return f"{_VARIABLE} must hold one for {host_of(base_url)}; the session has none now."
    held = f"{_VARIABLE} must hold {found.token.masked}"
    return f"{held}, as it does here." if found.source == _VARIABLE else f"{held}, the one from {found.source}."


def _file_lines(row: Row) -> Iterator[str]:
    if row.exchange is not None and len(row.exchange.body) > LONGEST_BODY:
        body = f"vn_magic.current_session().last_job.exchange({row.number}).body"
        yield f'Python writes it by `open("body.json", "wb").write({body})`.'


def _answer_lines(row: Row) -> Iterator[str]:
    exchange = row.exchange
    attempts = counted(exchange.attempts, "attempt") if exchange is not None else ""
    if row.outcome not in (Outcome.NEW, Outcome.FAILED):
        if exchange is None:
            yield "nothing, as nothing was sent"
        elif row.outcome is Outcome.NONE:
            yield f"{attempts} without a vector: the job has ended before, or is still running"
        else:
            yield f"{attempts} without a vector: meanwhile another job or kernel had brought it into the cache"
        return
    if exchange is not None:
        status = f"HTTP {exchange.status}" if exchange.status is not None else "no answer"
        request_id = f"request id {quote(exchange.request_id)}" if exchange.request_id else ""
        yield ", ".join(filter(None, (status, request_id, attempts)))
    if row.outcome is Outcome.FAILED:
        yield from row.error.splitlines()
    else:
        yield _values(exchange.length, row) if exchange is not None else "a vector"


def _values(length: int, row: Row) -> str:
    asked = row.job.recipe.dimension
    if length == asked:
        return f"{length:,} values, as many as were asked for"
    return f"{length:,} values; {asked:,} were asked for, so the first {asked:,} are the vector"


def _vector_lines(row: Row) -> Iterator[str]:
    recipe = row.job.recipe
    stored = row.recorded if row.outcome is Outcome.RECORDED else row.cached
    if row.job.norms is not None:
        norm = float(row.job.norms[row.number])
    elif stored is not None:
        norm = float(np.linalg.norm(stored.vector[: recipe.dimension].astype(np.float64)))
    else:
        norm = np.nan
    if np.isnan(norm):
        yield "norm not known: the job has not come to its end"
    elif abs(norm - 1) < _UNIT_TOLERANCE:
        yield "norm 1: it was unit length before"
    elif recipe.unit_length:
        yield f"norm {norm:.6g} before normalisation, which divides each value by it"
    else:
        yield f"norm {norm:.6g}, and left so (raw)"
    if row.outcome is Outcome.RECORDED and row.recorded is not None and row.job.pack is not None:
        yield f"{row.job.pack.pack.name} has {_values(len(row.recorded.vector), row)} ({row.recorded.group.source})"


def _length_lines(row: Row) -> Iterator[str]:
    model, exchange = row.job.recipe.model, row.exchange
    limit, estimate = facts_of(model).token_limit, estimated_tokens(row.text)
    counted = exchange.tokens if exchange is not None else None
    tokens = estimate if counted is None else counted
    told = f"≈{tokens:,}, by estimate" if counted is None else f"{tokens:,}, counted by the service"
    if counted is not None and exchange is not None and exchange.texts > 1:
        told = f"≈{tokens:,}, its share of what the service counted for the request"
    if limit is None:
        yield f"{told}; how many {model} reads is not known here"
        return
    told = f"{told}; {model} reads {limit:,}"
    # A service that counts after it has cut says the limit itself.
    if tokens > limit or counted == limit:
        yield f"{told}: the rest is likely cut, without notice"
        yield from _cut_lines(row, round(limit * estimate / tokens))
    elif counted is None and tokens > _NEAR * limit:
        yield f"{told}: so near that its end may be cut, without notice"
    else:
        yield f"{told}: nothing is cut"
    if row.is_offline:
        yield "(The stand-in reads all of it.)"


def _cut_lines(row: Row, limit: int) -> Iterator[str]:
    """Say where the text comes to so many estimated tokens."""
    text = row.text
    end = bisect_left(range(len(text)), limit, key=lambda at: estimated_tokens(text[:at]))
    if end < len(text):
        is_clean = row.session.tokens.scrub(text) == text  # else the words might begin within a token
        words = f", after {shortened(text[max(0, end - _WORDS_BEFORE_CUT) : end])!r}" if is_clean else ""
        yield f"by estimate near character {end:,} of {len(text):,}{words}"


def _cache_lines(row: Row) -> Iterator[str]:
    recipe, options, origin = row.job.recipe, row.job.options, row.job.origin.key
    title = f"title {row.short(recipe.title, 40)}" if recipe.title is not None else "no title"
    yield f"key {KeyRing(origin, recipe).key(row.text).digest.hex()}, made of"
    yield f"{origin}, {recipe.model}, {recipe.task_type or 'no task'}, {title}, {recipe.dimension:,} values"
    yield "and the text to the letter; unit length takes no part"
    if row.only_pack:
        yield f"not asked: the pack {row.only_pack} alone answered"
        return
    if not options.use_cache:
        yield "neither asked nor filled (--no-cache)"
        return
    if options.refresh:
        yield "not asked (--refresh), only filled"
    elif row.outcome is not Outcome.NONE:
        yield "it was a hit" if row.outcome is Outcome.CACHED else "it was a miss"
    if row.cached is None:
        yield "now it does not have it"
    else:
        yield f"now it has {_values(len(row.cached.vector), row)} ({row.cached.source})"
