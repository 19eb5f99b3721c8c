"""What a job would send and cost, and what would keep it from that, as text for people."""

from __future__ import annotations

from collections.abc import Sequence

from vn_magic.budget import job_budget, session_budget
from vn_magic.lookup import Plan
from vn_magic.models import facts_of
from vn_magic.notebook.phrases import money_text, tokens_text
from vn_magic.progress import Totals
from vn_magic.request import Request
from vn_magic.settings import Settings
from vn_magic.texts import estimated_tokens
from vn_magic.wording import counted


def plan_lines(
    plan: Plan, texts: Sequence[str | None], request: Request, settings: Settings, totals: Totals
) -> list[str]:
    """Return what a dry run has found out.

    Parameters
    ----------
    plan, texts
        See `Session.plan_job`.
    request
        The job's.
    settings, totals
        The session's: what tokens cost, what may be sent, and what has been.
    """
    unusable = sum(text is None for text in texts)
    return forecast_lines(plan, _tokens(plan, texts), unusable, request, settings, totals)


def forecast_lines(
    plan: Plan, tokens: Sequence[int], unusable: int, request: Request, settings: Settings, totals: Totals
) -> list[str]:
    """Return the same of texts that are elsewhere: the tokens of those that are missing, and how many are of no use."""
    recipe = request.recipe
    requests = counted(request.options.requests_for(len(tokens)), "request")
    numbers = [
        f"{plan.cached:,} from cache",
        f"{plan.recorded:,} from pack" if plan.recorded else "",
        counted(plan.duplicates, "duplicate"),
        "" if plan.pack else f"{requests} would be sent",
        "" if plan.pack else tokens_text(sum(tokens), estimated=True),
        "" if plan.pack else money_text(sum(tokens), settings.price_per_million, free=settings.offline),
    ]
    lines = [
        f"dry run   {plan.rows:,} × {recipe.dimension}   {recipe.model}; nothing was sent",
        " · ".join(filter(None, numbers)),
        _obstacle(plan, sum(tokens), request, settings, totals),
        f"{counted(unusable, 'row')} cannot be embedded (missing, blank or not text)" if unusable else "",
        "" if plan.pack else _overlong(plan, tokens, request),
    ]
    return [line for line in lines if line]


def plan_text(plan: Plan, texts: Sequence[str | None], request: Request, settings: Settings, totals: Totals) -> str:
    """Return the same in one line, for the panel. Takes a while for many texts."""
    tokens = sum(_tokens(plan, texts))
    parts = [
        counted(plan.rows, "row"),
        counted(plan.duplicates, "duplicate"),
        f"{plan.cached:,} in the cache",
        f"{plan.recorded:,} in the pack" if plan.recorded else "",
        "" if plan.pack else f"{tokens_text(tokens, estimated=True)} to send",
        "" if plan.pack else money_text(tokens, settings.price_per_million, free=settings.offline),
        _obstacle(plan, tokens, request, settings, totals),
    ]
    return " · ".join(filter(None, parts))


def _tokens(plan: Plan, texts: Sequence[str | None]) -> Sequence[int]:
    return [estimated_tokens(texts[row] or "") for row in plan.missing]


def _obstacle(plan: Plan, tokens: int, request: Request, settings: Settings, totals: Totals) -> str:
    """Return why the job would end without all its rows: the pack that alone answers, or a budget."""
    missing = len(plan.missing)
    if plan.pack:
        are = counted(missing, "text is", "texts are")
        fail = "it" if missing == 1 else "they"
        return f"{are} not in the pack {plan.pack}, which alone answers: {fail} would fail" if missing else ""
    requests = request.options.requests_for(missing)
    session = session_budget(settings).exceeded(
        requests=requests, tokens=tokens, used_requests=totals.requests, used_tokens=totals.tokens_taken
    )
    job = job_budget(request.options).exceeded(requests=requests, tokens=tokens, used_requests=0, used_tokens=0)
    limit = session or job
    return f"{limit} would refuse this" if limit else ""


def _overlong(plan: Plan, tokens: Sequence[int], request: Request) -> str:
    limit = facts_of(request.recipe.model).token_limit
    long = [row for row, count in zip(plan.missing, tokens, strict=True) if limit and count > limit]
    if not limit or not long:
        return ""
    named = ", ".join(map(str, long[:5])) + (" …" if len(long) > 5 else "")
    return (
        f"{counted(len(long), 'row looks', 'rows look')} longer than the {limit:,} tokens that the model reads "
        f"(row {named}); the service cuts them without notice"
    )
