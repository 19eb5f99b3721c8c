"""The Python door: `vn_magic.embed`, `vn_magic.aembed`, and the session behind them."""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Iterator
from importlib.metadata import version
from typing import Any

import numpy as np
import pandas as pd
import pytest
from support.engine import NO_BALANCE, behind, output_of
from support.gateways import Served, answering, served

import vn_magic
from vn_magic import Session, aembed, current, current_session, embed
from vn_magic.exceptions import BalanceError, BudgetError, InputError, SettingsError, TokenError, VnMagicError
from vn_magic.offline import create_app
from vn_magic.request import EmbedOptions

TEXTS = ["b", "a", "b", "c"]


@pytest.fixture(autouse=True)
def no_default_session(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Every test begins as a fresh Python does, without a session and without a shell."""
    sessions: list[Session] = []
    monkeypatch.setattr(current, "_default_session", sessions)
    yield
    for session in sessions:
        session.close()


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch, gateway: Served, token: str) -> Served:
    """A gateway and a token, as the environment names them."""
    monkeypatch.setenv("VN_MAGIC_BASE_URL", gateway.url)
    monkeypatch.setenv("VECTORNODE_API_KEY", token)
    return gateway


def matrix_of(frame: Any) -> np.ndarray:
    assert isinstance(frame, pd.DataFrame)
    return np.stack(list(frame["embedding"]))


# What is public


def test_public_are_these_names_and_no_others() -> None:
    assert sorted(vn_magic.__all__) == [
        "EmbedPanel",
        "Embeddings",
        "Provenance",
        "Session",
        "VnMagicError",
        "__version__",
        "aembed",
        "current_session",
        "embed",
        "load",
        "load_ipython_extension",
        "require",
        "unload_ipython_extension",
    ]


@pytest.mark.parametrize("name", [name for name in vn_magic.__all__ if name != "__version__"])
def test_every_public_name_is_documented_down_to_its_methods(name: str) -> None:
    thing = getattr(vn_magic, name)
    own = vars(thing) if inspect.isclass(thing) else {}
    public = {f"{name}.{part}": value for part, value in own.items() if not part.startswith("_")}
    documented = {
        part: bool(inspect.getdoc(value.__func__ if isinstance(value, classmethod | staticmethod) else value))
        for part, value in {name: thing, **public}.items()
        if callable(value) or isinstance(value, property | classmethod | staticmethod)
    }
    assert documented
    assert [part for part, has_one in documented.items() if not has_one] == []


def test_every_argument_of_embed_is_documented() -> None:
    section = inspect.cleandoc(embed.__doc__ or "").split("Parameters\n----------\n")[1].split("\nReturns\n")[0]
    described = [name for line in section.splitlines() if line and line[0] != " " for name in line.split(", ")]
    assert described == list(inspect.signature(embed).parameters)


def test_embed_and_aembed_take_the_same_arguments_with_the_same_defaults() -> None:
    one, other = inspect.signature(embed), inspect.signature(aembed)
    assert one == other
    assert not inspect.iscoroutinefunction(embed)
    assert inspect.iscoroutinefunction(aembed)


def test_the_session_s_own_methods_take_the_same_options() -> None:
    options = [name for name, p in inspect.signature(embed).parameters.items() if p.kind is p.KEYWORD_ONLY]
    assert sorted(options) == sorted(EmbedOptions.__annotations__)


def test_the_version_is_the_one_that_is_installed() -> None:
    assert vn_magic.__version__ == version("vn_magic")


# embed


def test_embed_gives_a_frame_or_an_array_of_the_same_vectors(environment: Served) -> None:
    frame, array = embed(TEXTS, dimension=256), embed(TEXTS, dimension=256, result="numpy")
    assert isinstance(array, np.ndarray)
    assert np.array_equal(matrix_of(frame), array)
    assert frame["text"].tolist() == TEXTS
    assert sorted(environment.texts) == ["a", "b", "c"]


@pytest.mark.parametrize("door", ["embed", "aembed"])
def test_every_argument_reaches_the_wire_or_the_job(environment: Served, door: str) -> None:
    arguments: dict[str, Any] = {
        "column": "body",
        "model": "offline-lexical",
        "dimension": 128,
        "task_type": "RETRIEVAL_DOCUMENT",
        "title": "A title",
        "result": "numpy",
        "unit_length": False,
        "on_error": "keep",
        "concurrency": 1,
        "requests_per_minute": 600,
        "batch_size": 1,  # more would be another path; see below
        "refresh": True,
        "cache": True,
        "max_requests": 2,
        "max_tokens": 2,
    }
    assert set(arguments) == set(EmbedOptions.__annotations__)
    frame = pd.DataFrame({"body": ["x", None, "y"]})
    for _ in range(2):
        result = embed(frame, **arguments) if door == "embed" else asyncio.run(aembed(frame, **arguments))
    assert isinstance(result, np.ndarray)
    assert np.isnan(result).all(axis=1).tolist() == [False, True, False]
    assert (np.abs(np.linalg.norm(result[[0, 2]], axis=1) - 1) > 0.1).all()
    assert environment.texts == ["x", "y", "x", "y"]
    assert {request.path for request in environment.received} == {"/v1beta/models/offline-lexical:embedContent"}
    for request in environment.received:
        assert request.json["taskType"] == "RETRIEVAL_DOCUMENT"
        assert request.json["title"] == "A title"
        assert request.json["output_dimensionality"] == 128


def test_texts_go_together_where_the_call_or_the_session_says_so(environment: Served) -> None:
    session = current_session()
    embed(["a", "b"], dimension=128, batch_size=2)
    session.configure("batch_size", 3, "this test")
    embed(["c", "d", "e"], dimension=128)
    embed(["f", "g"], dimension=128, batch_size=1)
    assert [request.texts for request in environment.received] == [["a", "b"], ["c", "d", "e"], ["f"], ["g"]]


def test_without_the_cache_every_call_sends(environment: Served) -> None:
    for _ in range(2):
        embed(["a"], dimension=128, cache=False)
    assert environment.texts == ["a", "a"]


def test_a_frame_keeps_its_index_and_columns_and_is_not_changed(environment: Served) -> None:
    frame = pd.DataFrame({"body": ["x", "y"], "n": [1, 2]}, index=["r", "s"])
    before = frame.copy()
    result = embed(frame, column="body", dimension=128)
    assert isinstance(result, pd.DataFrame)
    assert list(result.columns) == ["body", "n", "embedding"]
    assert result.index.tolist() == ["r", "s"]
    pd.testing.assert_frame_equal(frame, before)
    assert len(environment.texts) == 2


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"dimension": 64}, InputError, "gives vectors of 128 to 3072 values, not 64"),
        ({"dimension": -1}, SettingsError, "dimension is -1"),
        ({"task_type": "SOMETHING"}, SettingsError, "task_type is 'SOMETHING', expected one of SEMANTIC_SIMILARITY"),
        ({"title": "T"}, InputError, "only with the task RETRIEVAL_DOCUMENT"),
        ({"model": "gemini-embedding-2", "task_type": "CLUSTERING"}, InputError, "has no task types"),
        ({"on_error": "ignore"}, SettingsError, "on_error is 'ignore'"),
        ({"concurrency": 0}, SettingsError, "concurrency is 0"),
        ({"batch_size": 101}, SettingsError, "batch_size is 101, expected at most 100: no service takes more"),
        ({"max_requests": -1}, SettingsError, "max_requests is -1, expected a whole number from 0 on"),
        ({"max_tokens": 2.5}, SettingsError, "max_tokens is 2.5, expected a whole number from 0 on"),
        ({"max_requests": 0}, BudgetError, "budget of 0 requests does not allow 1"),
        ({"max_tokens": 0}, BudgetError, "budget of 0 tokens does not allow ≈1"),
        ({"column": "body"}, InputError, "for a DataFrame only"),
    ],
    ids=str,
)
def test_impossible_arguments_are_refused_before_anything_is_sent(
    environment: Served, arguments: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message) as caught:
        embed(["a"], **arguments)
    assert len(str(caught.value).splitlines()) <= 3
    assert environment.received == []


def test_no_token_is_an_error_of_two_lines_with_both_cures(gateway: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VN_MAGIC_BASE_URL", gateway.url)
    with pytest.raises(TokenError) as caught:
        embed(["a"])
    assert len(str(caught.value).splitlines()) == 2
    assert "%vn login" in str(caught.value)
    assert "%vn offline" in str(caught.value)


def test_errors_leave_short_and_without_the_inside(token: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with served(answering(NO_BALANCE)) as server:
        monkeypatch.setenv("VN_MAGIC_BASE_URL", server.url)
        monkeypatch.setenv("VECTORNODE_API_KEY", token)
        with pytest.raises(BalanceError) as caught:
            embed(["a"])
    assert isinstance(caught.value, VnMagicError)
    assert caught.value.__cause__ is caught.value.__context__ is None
    assert len(str(caught.value).splitlines()) <= 3


# aembed


def test_aembed_gives_what_embed_gives(environment: Served) -> None:
    frame = asyncio.run(aembed(TEXTS, dimension=256))
    assert np.array_equal(matrix_of(frame), matrix_of(embed(TEXTS, dimension=256)))
    assert len(environment.texts) == 3


def test_embed_works_inside_a_running_loop_and_aembed_leaves_that_loop_free(
    token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, let_go = threading.Event(), threading.Event()

    async def hold(_text: str) -> None:
        asked.set()
        assert await asyncio.to_thread(let_go.wait, 20)

    async def cell() -> tuple[Any, Any]:
        waiting = asyncio.create_task(aembed(["a"], dimension=128))
        assert await asyncio.to_thread(asked.wait, 20)  # this loop runs on while the request is held
        assert not waiting.done()
        let_go.set()
        return await waiting, embed(["a"], dimension=128)  # and an ordinary call in a running loop works too

    with served(behind(hold, create_app(token=token))) as server:
        monkeypatch.setenv("VN_MAGIC_BASE_URL", server.url)
        monkeypatch.setenv("VECTORNODE_API_KEY", token)
        awaited, called = asyncio.run(cell())
        assert np.array_equal(matrix_of(awaited), matrix_of(called))
        assert server.texts == ["a"]


def test_aembed_serves_several_tasks_and_several_loops_with_one_session(environment: Served) -> None:
    async def several() -> list[Any]:
        return await asyncio.gather(*(aembed([f"{n}", "shared"], dimension=128, result="numpy") for n in range(4)))

    first, second = asyncio.run(several()), asyncio.run(several())
    assert all(np.array_equal(one, other) for one, other in zip(first, second, strict=True))
    assert set(environment.texts) == {"0", "1", "2", "3", "shared"}
    assert len(current._default_session) == 1


def test_a_cancelled_task_stops_its_job_sends_nothing_more_and_keeps_what_arrived(
    token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = [f"text {number}" for number in range(50)]
    begun, let_go = threading.Event(), threading.Event()

    async def hold_from_the_tenth_on(text: str) -> None:
        if int(text.split()[1]) >= 10:
            begun.set()
            await asyncio.to_thread(let_go.wait, 20)

    async def cancel_when_held() -> None:
        job = asyncio.create_task(aembed(texts, dimension=128, concurrency=2))
        assert await asyncio.to_thread(begun.wait, 20)
        job.cancel()
        with pytest.raises(asyncio.CancelledError):
            await job

    async def others_to_end() -> None:
        if others := asyncio.all_tasks() - {asyncio.current_task()}:
            await asyncio.wait(others)

    with served(behind(hold_from_the_tenth_on, create_app(token=token))) as server:
        monkeypatch.setenv("VN_MAGIC_BASE_URL", server.url)
        monkeypatch.setenv("VECTORNODE_API_KEY", token)
        asyncio.run(cancel_when_held())
        session = current_session()
        session.run(others_to_end())  # on their own loop, where the job hears of it later than the one who cancelled it
        let_go.set()
        kept, sent = session.runtime.cache.info().rows, session.totals.requests
        assert kept >= 9
        assert sent <= 10 + 2
        embed(texts, dimension=128)  # comes after all that the cancelled job could still have sent
        assert session.totals.requests == sent + 50 - kept
        assert len(server.texts) <= session.totals.requests


# The session


def test_the_default_session_is_made_once_under_many_threads() -> None:
    together = threading.Barrier(8)
    found: list[Session] = []

    def ask() -> None:
        together.wait()
        found.append(current_session())

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert len({id(session) for session in found}) == 1
    assert len(current._default_session) == 1


def test_the_default_session_is_made_from_the_environment_at_first_use(
    monkeypatch: pytest.MonkeyPatch, gateway: Served
) -> None:
    monkeypatch.setenv("VN_MAGIC_OFFLINE", "1")
    assert current_session().settings.offline
    monkeypatch.setenv("VN_MAGIC_BASE_URL", gateway.url)
    assert current_session().settings.base_url != gateway.url


def test_an_environment_that_cannot_be_read_is_an_error_each_time_and_makes_no_session(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("VN_MAGIC_OFFLINE", "perhaps")
    for _ in range(2):
        with pytest.raises(SettingsError, match="VN_MAGIC_OFFLINE"):
            current_session()
    monkeypatch.setenv("VN_MAGIC_OFFLINE", "1")
    assert current_session().settings.offline


def test_outside_of_a_shell_ipython_is_not_imported_and_nothing_is_opened() -> None:
    script = """
import sys, threading
import vn_magic
vn_magic.current_session()
heavy = {"IPython", "ipywidgets", "matplotlib", "starlette", "uvicorn"} & set(sys.modules)
print(sorted(heavy), threading.active_count())
"""
    assert output_of(script) == "[] 1\n"


def test_an_embedding_script_ends_by_itself() -> None:
    script = "import vn_magic; print(vn_magic.embed(['a'], dimension=128, result='numpy').shape)"
    assert output_of(script, VN_MAGIC_OFFLINE="1") == "(1, 128)\n"


def test_the_session_of_a_shell_that_loaded_the_extension_is_the_current_one() -> None:
    script = """
from IPython.core.interactiveshell import InteractiveShell as Shell
import vn_magic
outside = vn_magic.current_session()
Shell.instance().run_line_magic("load_ext", "vn_magic")
inside = vn_magic.current_session()
print(inside is outside, isinstance(inside, vn_magic.Session), vn_magic.current_session() is inside)
"""
    assert output_of(script, VN_MAGIC_OFFLINE="1") == "False True True\n"
