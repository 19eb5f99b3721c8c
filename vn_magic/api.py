"""The Python door: `embed` and `aembed`."""

from __future__ import annotations

from vn_magic.current import current_session
from vn_magic.frames import is_dask_collection
from vn_magic.request import EmbedOptions, Vectors
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
        A str, a list or tuple of str, a Series, an Index, an array of str, or a DataFrame with ``column``. A Dask
        Series, or a Dask DataFrame with ``column``, gives a lazy collection; see Notes.
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

    Notes
    -----
    Of a Dask collection the result is one, too: a Dask DataFrame, or a float32 Dask array whose chunks are
    ``((nan, …), (dimension,))``; one partition in, one out, with index and divisions. Only Dask's computing it sends
    (for ``.compute()`` and ``.to_parquet(folder)``, but also for ``len``, ``head`` or ``set_index``), under the
    settings that were in force here. Worker processes find a token in their own environment; that of ``%vn login`` is
    never sent to them. A rate per minute holds for all on one machine and is divided among several, ``concurrency`` is
    for each partition under way; a budget and ``refresh`` are refused. Parquet has lists of float32 and the provenance,
    so that ``pandas.read_parquet(folder).vec`` works. Embed last: a merge or a shuffle of the result drops the
    provenance, and columns of lists need ``to_parquet(schema={…})``.

    Examples
    --------
    >>> import vn_magic
    >>> session = vn_magic.Session(offline=True)
    >>> session.embed(["one text", "another text"], dimension=256, result="numpy").shape
    (2, 256)
    """
    options = EmbedOptions(
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
    session = current_session()
    if is_dask_collection(texts):
        from vn_magic.scale.collection import embed_lazily  # noqa: PLC0415 - dask is imported by those who use it

        return embed_lazily(session, texts, **options)
    return session.embed(texts, **options)


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
    """Do `embed` without blocking the caller's event loop; cancelling the task stops the job.

    Of a Dask collection it is the lazy one at once, as from `embed`; awaiting that computes nothing.
    """
    options = EmbedOptions(
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
    session = current_session()
    if is_dask_collection(texts):
        from vn_magic.scale.collection import embed_lazily  # noqa: PLC0415 - as above

        return embed_lazily(session, texts, **options)
    return await session.aembed(texts, **options)
