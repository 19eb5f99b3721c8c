"""The Python door: `embed` and `aembed`."""

from __future__ import annotations

from vn_magic.current import current_session
from vn_magic.request import Vectors
from vn_magic.settings import OnError, Result, TaskType


def embed(  # noqa: PLR0913 - as many arguments as the magic has options
    texts: object,
    *,
    column: str | None = None,
    model: str | None = None,
    dimension: int | None = None,
    task_type: TaskType | None = None,
    title: str | None = None,
    result: Result = "df",
    unit_length: bool | None = None,
    on_error: OnError | None = None,
    concurrency: int | None = None,
    requests_per_minute: int | None = None,
    batch_size: int | None = None,
    refresh: bool = False,
    cache: bool = True,
    max_requests: int | None = None,
    max_tokens: int | None = None,
) -> Vectors:
    """Turn texts into vectors: the same options and the same results as ``%embed``.

    Parameters
    ----------
    texts
        A str, a list or tuple of str, a Series, an Index, an array of str, or a DataFrame with ``column``.
    column
        The column of a DataFrame that holds the texts.
    model, dimension, task_type
        What to ask for; None means the session's setting (gemini-embedding-001, 768, SEMANTIC_SIMILARITY).
    title
        The document's title, with ``RETRIEVAL_DOCUMENT`` only.
    result
        ``df``: a DataFrame with the texts, what came with them, and ``embedding``. ``numpy``: the matrix.
    unit_length
        Whether vectors are normalised to length one; None means the session's setting (they are).
    on_error
        ``stop`` raises on the first row that cannot be embedded. ``keep`` returns all rows, NaN where it failed,
        with the reason in a column ``error``. None means the session's setting (``stop``).
    concurrency
        Requests under way at once, at most. None without a session's setting lets the gateway's answers decide:
        from 8, up to 64.
    requests_per_minute
        Never start more than this many requests in any minute, together with the other kernels of this machine that
        have such a limit. Texts of a batch count one by one.
    batch_size
        Texts in one request, 1 to 100, where the gateway has batches; where it has none they are sent one by one, and a
        notice says so. None means the session's setting (1, the documented endpoint).
    refresh
        Send every text, whatever the cache has.
    cache
        False neither reads nor writes the cache.
    max_requests, max_tokens
        The most that this call may send, whatever the session's settings of these names leave: requests with their
        retries, and input tokens, estimated where the service does not count them. None for no limit of its own. Rows
        from the cache or a pack cost nothing.

    Returns
    -------
    DataFrame or ndarray
        Rows in the order of the input, duplicates included. The array is float32, C-contiguous, ``(rows, dimension)``.

    Raises
    ------
    InputError
        When texts or options cannot be used; nothing was sent.
    TokenError
        When there is no token.
    GatewayError
        What the service answered; its subclasses say what to do. Finished rows are in the cache. A `BudgetError`
        before anything is sent, when the rows need more than is allowed; later, when retries have used up the rest.

    Examples
    --------
    >>> import vn_magic
    >>> session = vn_magic.Session(offline=True)
    >>> session.embed(["one text", "another text"], dimension=256, result="numpy").shape
    (2, 256)
    """
    return current_session().embed(
        texts,
        column=column,
        model=model,
        dimension=dimension,
        task_type=task_type,
        title=title,
        result=result,
        unit_length=unit_length,
        on_error=on_error,
        concurrency=concurrency,
        requests_per_minute=requests_per_minute,
        batch_size=batch_size,
        refresh=refresh,
        cache=cache,
        max_requests=max_requests,
        max_tokens=max_tokens,
    )


async def aembed(  # noqa: PLR0913 - as above
    texts: object,
    *,
    column: str | None = None,
    model: str | None = None,
    dimension: int | None = None,
    task_type: TaskType | None = None,
    title: str | None = None,
    result: Result = "df",
    unit_length: bool | None = None,
    on_error: OnError | None = None,
    concurrency: int | None = None,
    requests_per_minute: int | None = None,
    batch_size: int | None = None,
    refresh: bool = False,
    cache: bool = True,
    max_requests: int | None = None,
    max_tokens: int | None = None,
) -> Vectors:
    """Do `embed` without blocking the caller's event loop; cancelling the task stops the job."""
    return await current_session().aembed(
        texts,
        column=column,
        model=model,
        dimension=dimension,
        task_type=task_type,
        title=title,
        result=result,
        unit_length=unit_length,
        on_error=on_error,
        concurrency=concurrency,
        requests_per_minute=requests_per_minute,
        batch_size=batch_size,
        refresh=refresh,
        cache=cache,
        max_requests=max_requests,
        max_tokens=max_tokens,
    )
