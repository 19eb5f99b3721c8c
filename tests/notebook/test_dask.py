"""`%embed` of a Dask collection in a real kernel, on the stand-in inside the process."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from support.gateways import Served
from support.kernels import Kernel, kernel

FRAME = """\
import dask, pandas as pd, dask.dataframe as dd
reviews = pd.DataFrame({'review': ['good', 'bad', 'good', 'fair'], 'stars': [5, 1, 4, 3]}, index=[7, 8, 9, 9])
ddf = dd.from_pandas(reviews, npartitions=2)
"""
OF = "lazy, 2 partitions   offline-lexical · SEMANTIC_SIMILARITY · 128 values · unit length"


@pytest.fixture(scope="module")
def with_frames(shared_kernel: Kernel) -> Kernel:
    """The kernel of this module, with a Dask DataFrame `ddf`."""
    reply = shared_kernel.run(FRAME)
    assert (reply.status, reply.stderr) == ("ok", "")
    return shared_kernel


def _value(kernel: Kernel, expression: str) -> str:
    reply = kernel.run(expression)
    assert reply.result is not None, reply.error
    assert reply.stderr == ""
    return reply.result["text/plain"]


def test_a_line_returns_the_lazy_collection_and_shows_nothing(with_frames: Kernel) -> None:
    reply = with_frames.run("vectors = %embed --dim 128 ddf.review")
    assert (reply.status, reply.stderr, reply.card, reply.result) == ("ok", "", "", None)
    assert _value(with_frames, "type(vectors) is dd.DataFrame, vectors.npartitions, list(vectors.columns)") == (
        "(True, 2, ['review', 'embedding'])"
    )
    with_frames.run("single = %embed -q --dim 128 ddf.review.compute()\ncomputed = vectors.compute()")
    assert _value(
        with_frames, "bool((computed.vec.matrix == single.vec.matrix).all()), list(computed.index), computed.attrs"
    ) == _value(with_frames, "True, list(single.index), single.attrs")


def test_a_name_is_bound_with_one_line_that_says_it_is_lazy(with_frames: Kernel) -> None:
    reply = with_frames.run("%embed -o bound --dim 128 ddf -c review")
    assert reply.card == f"bound   {OF}; nothing is sent before Dask computes it"
    assert (reply.stderr, reply.result) == ("", None)
    assert _value(with_frames, "list(bound.columns), bound.compute().vec.matrix.shape") == (
        "(['review', 'stars', 'embedding'], (4, 128))"
    )
    assert with_frames.run("%embed -q -o hushed --dim 128 ddf.review").card == ""
    assert _value(with_frames, "hushed.npartitions") == "2"


def test_as_numpy_is_a_lazy_array(with_frames: Kernel) -> None:
    with_frames.run("X = %embed --as numpy --dim 128 ddf.review")
    assert _value(with_frames, "str(X.chunks), X.dtype.name, X.compute().shape") == (
        "('((nan, nan), (128,))', 'float32', (4, 128))"
    )


def test_a_dry_run_says_in_one_line_what_is_known_and_computes_nothing(with_frames: Kernel) -> None:
    watched = with_frames.run(
        "asked = []\n"
        "watched = ddf.review.map_partitions(lambda part: asked.append(len(part)) or part, meta=('review', 'str'))"
    )
    assert watched.status == "ok"
    reply = with_frames.run("%embed --dry-run -o never --dim 128 watched")
    assert reply.card == f"dry run   {OF}; nothing was sent. Rows and tokens are known only when it is computed"
    assert reply.stderr == ""
    assert _value(with_frames, "asked, 'never' in dir()") == "([], False)"


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("%embed ddf", "A DataFrame needs the column of its texts; it has 'review', 'stars'"),
        ("%embed ddf -c text", "There is no column 'text'; the frame has 'review', 'stars'"),
        ("%embed --dry-run ddf -c stars", "The column 'stars' has no texts but int64"),
        ("%embed --dim 64 ddf.review", "128 to 3072 values, not 64"),
        ("%embed --max-requests 5 ddf.review", "This call has a budget (max_requests, max_tokens)"),
        ("%embed ddf.index", "A Dask Index cannot be embedded"),
        ("%embed dask.delayed(list)(ddf.review)", "This collection of Dask (Delayed"),
        ("%embed -o list ddf.review", "'list' is a Python builtin"),
    ],
)
def test_a_mistake_is_told_in_at_most_two_lines_and_stops_run_all(with_frames: Kernel, line: str, told: str) -> None:
    reply = with_frames.run(line)
    assert (reply.status, reply.stderr) == ("error", "")
    assert told in "\n".join(reply.error)
    assert len(reply.error) <= 2


def test_tab_offers_the_collection_and_its_columns(with_frames: Kernel) -> None:
    assert "ddf" in with_frames.complete("%embed dd")
    assert with_frames.complete("%embed ddf -c ") == ["review", "stars"]


@pytest.fixture
def logged_in(gateway: Served, token: str) -> Iterator[Kernel]:
    """A kernel whose user has logged in; nothing of it is in the environment."""
    with kernel(environ={**os.environ, "VN_MAGIC_BASE_URL": gateway.url}) as started:
        started.run("%load_ext vn_magic")
        assert started.run("%vn login", stdin=token).status == "ok"
        yield started


def test_threads_of_the_kernel_use_its_login_once_the_collection_is_computed(
    logged_in: Kernel, gateway: Served, token: str
) -> None:
    logged_in.run(FRAME)
    logged_in.run("vectors = %embed --dim 128 ddf.review")
    assert gateway.texts == []
    reply = logged_in.run("computed = vectors.compute()")
    assert (reply.status, reply.stdout, reply.stderr) == ("ok", "", "")
    assert set(gateway.texts) == {"bad", "fair", "good"}
    assert _value(logged_in, f"{token!r}.encode() in __import__('pickle').dumps(vectors)") == "False"
