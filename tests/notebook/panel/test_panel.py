"""Running the panel in a real kernel: one job at a time, the same result as the cell, errors in the panel alone."""

from __future__ import annotations

import re

import pytest
from support.engine import BAD_TEXT, Held, behind
from support.gateways import Served, served
from support.panels import Desk
from support.waiting import until

from vn_magic.offline import create_app

BODY = "roses are red\nviolets are blue\nsugar is sweet"


def test_typed_text_becomes_a_frame_under_the_name_that_was_chosen(panel: Desk) -> None:
    panel.type("_text._body", BODY)
    panel.type("_settings._out", "poem")
    panel.run()
    assert panel.see("[list(poem.text), poem.vec.matrix.shape]") == [BODY.splitlines(), [3, 768]]
    assert "poem   3 × 768" in panel.said("_tasks.message.widget")
    assert panel.outputs() == []


def test_a_column_of_a_frame_is_embedded_and_the_frame_keeps_its_index(panel: Desk) -> None:
    panel.kernel.run(
        "reviews = pd.DataFrame({'shop': ['A', 'B'], 'review': ['it was good', 'it was bad']}, index=[7, 9])"
    )
    panel.choose("_text._kind", "Take a variable")
    assert panel.see("[p._text._name.value, p._text._column.value]") == ["reviews", "review"]
    panel.run()
    assert panel.see("[list(vectors.columns), list(vectors.index)]") == [["shop", "review", "embedding"], [7, 9]]
    assert panel.see("list(reviews.columns)") == ["shop", "review"]


def test_a_new_variable_leaves_the_chosen_variable_and_column_alone(panel: Desk) -> None:
    panel.kernel.run("a = ['a text']\nb = pd.DataFrame({'long': ['a long text'], 'short': ['x'], 'other': ['y']})")
    panel.choose("_text._kind", "Take a variable")
    panel.choose("_text._name", "b")
    panel.choose("_text._column", "short")
    panel.kernel.run("_first = 0; before = ['another']")
    assert panel.see("[list(p._text._name.options)[1:], p._text._name.value, p._text._column.value]") == [
        [["a", "a"], ["b", "b"], ["before", "before"]], "b", "short",
    ]  # fmt: skip
    assert panel.see("p._cell.code") == "vectors = %embed -c short b"


_SAME = """\
def same(a, b):
    if isinstance(a, np.ndarray):
        alike = type(b) is type(a) and a.dtype == b.dtype and a.flags.writeable == b.flags.writeable
        return alike and np.array_equal(a, b)
    pd.testing.assert_frame_equal(a.drop(columns='embedding'), b.drop(columns='embedding'))
    assert list(a.columns) == list(b.columns) and a.attrs == b.attrs and a.attrs
    return np.array_equal(np.stack(a.embedding), np.stack(b.embedding))
texts = ['one', 'two', 'one']
series = pd.Series(['a', 'b'], index=[3, 1], name='word')
frame = pd.DataFrame({'-x': ['a text', 'b text'], "it's": ['c', 'd']}, index=['i', 'j'])
"""


@pytest.mark.parametrize(
    ("variable", "column", "result"),
    [("texts", None, 0), ("series", None, 0), ("frame", "-x", 0), ("frame", "it's", 0), ("texts", None, 1)],
)
def test_the_panels_cell_gives_the_same_result_and_sends_nothing(
    online: Desk, gateway: Served, variable: str, column: str | None, result: int
) -> None:
    online.kernel.run(_SAME)
    online.choose("_text._kind", "Take a variable")
    online.choose("_text._name", variable)
    if column:
        online.choose("_text._column", column)
    online.type("_settings._dimension", 256)
    online.choose("_settings._result", ["DataFrame, text and vector", "numpy array, float32"][result])
    online.run()
    sent = len(gateway.texts)
    assert sent == 2
    cell = online.see("p._cell.code")
    online.kernel.run("of_panel = vectors; del vectors")
    reply = online.kernel.run(cell)
    assert (reply.status, reply.stderr) == ("ok", "")
    assert online.see("same(of_panel, vectors)") is True
    assert len(gateway.texts) == sent


@pytest.mark.parametrize(
    ("split", "body"),
    [
        ("one row a line", "  a\n\n>>> b\n"),
        ("one row a paragraph", "a\nb\n  \nc"),
        ("all of it is one row", "a\n   \n  {{b}}\n"),
        ("csv with a header", 'text,n\n"a, b",1\n%time,2'),
        ("jsonl, an object a line", '{"text": "a", "n": 1}\n{"text": "b", "n": 2}'),
    ],
)
def test_the_cell_of_typed_text_gives_the_same_frame_and_sends_nothing(
    online: Desk, gateway: Served, split: str, body: str
) -> None:
    online.kernel.run(_SAME)
    online.type("_text._body", body)
    online.choose("_text._split", split)
    online.run()
    assert online.trouble() == ""
    sent = len(gateway.texts)
    online.kernel.run("of_panel = vectors; del vectors")
    assert online.kernel.run(online.see("p._cell.code")).status == "ok"
    assert online.see("same(of_panel, vectors)") is True
    assert len(gateway.texts) == sent > 0


def test_clicking_twice_starts_one_job(online: Desk, gateway: Served) -> None:
    online.type("_text._body", "\n".join(f"text {number}" for number in range(60)))
    click = {"method": "custom", "content": {"event": "click"}}
    first, second = (online.send("_runner._run", click) for _ in range(2))
    online.finish(first)
    online.finish(second)
    online.done()
    assert sorted(gateway.texts) == sorted(f"text {number}" for number in range(60))


def _sit_down(desk: Desk, server: Served, token: str, folder: object) -> None:
    desk.sit_down(VN_MAGIC_BASE_URL=server.url, VECTORNODE_API_KEY=token, VN_MAGIC_CACHE=f"{folder}/cache")


def test_run_while_a_job_runs_does_nothing(shared_desk: Desk, held: Held, token: str, tmp_path: object) -> None:
    with served(held.app) as server:
        _sit_down(shared_desk, server, token, tmp_path)
        shared_desk.type("_text._body", "held a")
        shared_desk.click("_runner._run")
        until(lambda: server.texts)
        assert shared_desk.see("[p._runner._run.disabled, p._runner._cancel.disabled]") == [True, False]
        shared_desk.type("_text._body", "held b")
        shared_desk.click("_runner._run")
        held.go.set()
        shared_desk.done()
        assert server.texts == ["held a"]
        assert shared_desk.see("[list(vectors.text), p._runner._run.disabled, p._runner._cancel.disabled]") == [
            ["held a"], False, True,
        ]  # fmt: skip


def test_cancel_stops_sending_and_the_next_run_pays_for_the_rest_alone(
    shared_desk: Desk, held: Held, token: str, tmp_path: object
) -> None:
    texts = [f"text {number}" for number in range(20)] + [f"held {number}" for number in range(200)]
    with served(held.app) as server:
        _sit_down(shared_desk, server, token, tmp_path)
        shared_desk.kernel.run("vectors = 'older'")
        shared_desk.type("_text._body", "\n".join(texts))
        shared_desk.click("_runner._run")
        shared_desk.until("p._runner._latest is not None and p._runner._latest.done == 20")
        # Until all requests that may be under way have arrived: while they are held, there will be no others.
        of_job = "(lambda job: [job.requests, job.done + job.concurrency])(p._runner._latest)"
        until(lambda: shared_desk.see(of_job) == [len(server.texts)] * 2)
        shared_desk.click("_runner._cancel")
        shared_desk.done()
        sent = list(server.texts)
        assert "Stopped at 20 of 220 rows." in shared_desk.said("_runner._line.widget")
        assert shared_desk.trouble() == ""
        assert shared_desk.see("vectors") == "older"
        held.go.set()
        assert shared_desk.kernel.run("1 + 1").status == "ok"
        assert server.texts == sent
        shared_desk.run()
        assert shared_desk.see("list(vectors.text)") == texts
        again = server.texts[len(sent) :]
        assert set(again) == set(texts[20:])
        assert len(again) == len(set(again))
        assert [content for content in shared_desk.outputs() if "execution_count" not in content] == []


def test_cancel_at_any_moment_ends_the_job_and_leaves_run_usable(
    shared_desk: Desk, held: Held, token: str, tmp_path: object
) -> None:
    with served(held.app) as server:
        _sit_down(shared_desk, server, token, tmp_path)
        # A second click while nothing runs is harmless, whenever it comes.
        shared_desk.type("_text._body", "held a")
        for _ in range(3):
            shared_desk.click("_runner._run")
            shared_desk.click("_runner._cancel")
            shared_desk.click("_runner._cancel")
            shared_desk.done()
            assert shared_desk.see("[p._runner._run.disabled, p._runner._cancel.disabled]") == [False, True]
        held.go.set()
        shared_desk.run()
        assert shared_desk.see("list(vectors.text)") == ["held a"]


def test_cancel_before_the_job_has_begun_leaves_the_panel_usable(online: Desk) -> None:
    online.type("_text._body", "a text")
    # Both in one cell while the loop is held up: the job cannot begin before Cancel is clicked.
    online.kernel.run(
        "import threading, time\n"
        "gate = threading.Event()\n"
        "async def hold():\n    gate.wait()\n"
        "vn_magic.current_session().runtime.portal.submit(hold())\n"
        "p._runner._run.click(); p._runner._cancel.click(); gate.set()"
    )
    online.done()
    assert "Stopped" in online.said("_runner._line.widget")
    online.run()
    assert online.see("list(vectors.text)") == ["a text"]


def test_run_at_once_after_cancel_leaves_the_panel_usable(online: Desk) -> None:
    online.type("_text._body", "a text")
    online.kernel.run("p._runner._run.click(); p._runner._cancel.click(); p._runner._run.click()")
    online.done()
    assert online.see("[p._runner._run.disabled, p._runner._cancel.disabled]") == [False, True]
    online.run()
    assert online.see("list(vectors.text)") == ["a text"]


def test_a_cell_runs_while_a_job_runs_and_its_output_is_its_own(
    shared_desk: Desk, held: Held, token: str, tmp_path: object
) -> None:
    with served(held.app) as server:
        _sit_down(shared_desk, server, token, tmp_path)
        shown = shared_desk.kernel.run("display(p)")
        shared_desk.type("_text._body", "a\nheld b")
        shared_desk.click("_runner._run")
        until(lambda: "held b" in server.texts)
        quick = shared_desk.kernel.run("print('mine')")
        assert [quick.status, quick.stdout, quick.stderr, quick.displays] == ["ok", "mine\n", "", []]
        cell = shared_desk.kernel.start(
            "import time\nbegun = time.monotonic()\n"
            "while p._runner._running and time.monotonic() < begun + 50:\n    time.sleep(0.01)\n"
            "print('done', not p._runner._running, list(vectors.text))"
        )
        held.go.set()
        reply = shared_desk.kernel.finish(cell)
        assert reply.stdout == "done True ['a', 'held b']\n"
        assert reply.stderr == ""
        assert [message["content"] for message in reply.messages if message["msg_type"] == "display_data"] == []
        assert shown.stderr == ""


@pytest.mark.parametrize("play", ["no-balance", "daily-limit", "model-not-allowed", "no-channel", None])
def test_a_job_that_fails_says_in_the_panel_what_a_cell_would_say_and_nowhere_else(
    shared_desk: Desk, token: str, tmp_path: object, play: str | None
) -> None:
    app = create_app(token=token, play=play) if play else create_app(token="sk-another-one-1234")
    with served(app) as server:
        _sit_down(shared_desk, server, token, tmp_path)
        shared_desk.kernel.run("vectors = 'older'")
        shared_desk.type("_text._body", "hello")
        shared_desk.run()
        shown = shared_desk.trouble().splitlines()
        assert shared_desk.see("vectors") == "older"
        assert shared_desk.outputs() == []
        reply = shared_desk.kernel.run("%%embed vectors\nhello")
        assert 1 <= len(shown) <= 3
        assert shown[0].split(" (")[0] == reply.error[0].split(" (")[0]
        assert _without_ids(shown) == _without_ids(reply.error)
        assert token not in shared_desk.saved()


def _without_ids(lines: list[str]) -> list[str]:
    return [re.sub(r"request id:? [^\s).]+", "request id", line) for line in lines]


@pytest.mark.parametrize(
    ("field", "value", "cell"),
    [
        ("_text._body", "  \n", None),
        ("_settings._out", "list", "%%embed list\nhello"),
        ("_settings._out", "2x", "%%embed 2x\nhello"),
    ],
)
def test_what_is_wrong_with_the_choices_is_told_as_a_cell_tells_it(
    panel: Desk, field: str, value: str, cell: str | None
) -> None:
    panel.type("_text._body", "hello")
    panel.type(field, value)
    panel.run()
    shown = panel.trouble().splitlines()
    assert shown[0].startswith("InputError: ")
    if cell:
        assert shown == panel.kernel.run(cell).error
    panel.type("_text._body", "hello")
    panel.type("_settings._out", "vectors")
    panel.run()
    assert panel.trouble() == ""


def test_a_row_that_the_gateway_refuses_is_named_and_an_older_value_stays(
    shared_desk: Desk, token: str, tmp_path: object
) -> None:
    async def rule(text: str) -> tuple[int, dict[str, str], bytes] | None:
        return BAD_TEXT if text == "bad" else None

    with served(behind(rule, create_app(token=token))) as server:
        _sit_down(shared_desk, server, token, tmp_path)
        shared_desk.kernel.run("vectors = 'older'\n%config VnMagic.concurrency = 1")
        shared_desk.type("_text._body", "good\nbad")
        shared_desk.run()
        assert shared_desk.trouble().startswith("RejectedTextError: Row 1 (")
        assert "Stopped at 1 of 2 rows" in shared_desk.said("_runner._line.widget")
        assert shared_desk.see("vectors") == "older"


def test_failed_rows_that_are_kept_are_no_failure_of_the_job(shared_desk: Desk, token: str, tmp_path: object) -> None:
    async def rule(_text: str) -> tuple[int, dict[str, str], bytes]:
        return BAD_TEXT

    with served(behind(rule, create_app(token=token))) as server:
        _sit_down(shared_desk, server, token, tmp_path)
        shared_desk.choose("_settings._on_error", "go on, and mark rows that fail")
        shared_desk.type("_text._body", "bad\nworse")
        shared_desk.run()
        assert shared_desk.trouble() == ""
        assert "vectors   2 × 768" in shared_desk.said("_tasks.message.widget")
        assert shared_desk.see("vectors.error.notna().all().item()") is True
        assert shared_desk.said("_runner._line.widget") == ""


def test_writing_into_the_array_does_not_change_what_the_panel_shows(panel: Desk) -> None:
    panel.type("_text._body", BODY)
    panel.choose("_settings._result", "numpy array, float32")
    panel.run()
    before = panel.see("[box.value for box in p._results._table._rows._beside]")
    panel.kernel.run("vectors[:] = 0")
    panel.choose("_results._view", "Heatmap")
    panel.choose("_results._view", "Table")
    assert panel.see("[box.value for box in p._results._table._rows._beside]") == before
    assert panel.see("bool(np.abs(p._results._result.embeddings.matrix).min(axis=0).any())") is True
    assert panel.see("vectors.flags.writeable") is True


def test_one_row_can_be_run_and_looked_at_in_every_view(panel: Desk) -> None:
    panel.type("_text._body", "alone")
    panel.run()
    assert panel.trouble() == ""
    for view in ("Map", "Heatmap"):
        panel.choose("_results._view", view)
        panel.until("len(p._results._picture.outputs)")
    panel.choose("_results._view", "Neighbours")
    panel.ask("alone")
    panel.until("'1 row nearest' in p._results._neighbours._heading.value")


def test_a_panel_that_is_closed_while_its_job_runs_stops_it_and_another_one_works(
    shared_desk: Desk, held: Held, token: str, tmp_path: object
) -> None:
    with served(held.app) as server:
        _sit_down(shared_desk, server, token, tmp_path)
        shared_desk.type("_text._body", "held a\nheld b")
        shared_desk.click("_runner._run")
        until(lambda: len(server.texts) == 2)
        assert shared_desk.kernel.run("%unload_ext vn_magic").stderr == ""
        assert shared_desk.see("p._runner._running") is False
        shared_desk.kernel.run("%load_ext vn_magic\np = vn_magic.EmbedPanel()")
        held.go.set()
        shared_desk.type("_text._body", "held a\nfree c")
        shared_desk.run()
        assert shared_desk.see("list(vectors.text)") == ["held a", "free c"]


def test_a_job_that_cannot_begin_leaves_run_usable(panel: Desk) -> None:
    panel.type("_text._body", BODY)
    panel.kernel.run(
        'def refuse(work): raise RuntimeError("can\'t start new thread")\n'
        "usual, p._tasks.start = p._tasks.start, refuse"
    )
    panel.click("_runner._run")
    assert "RuntimeError" in panel.trouble()
    assert panel.see("[p._runner._running, p._runner._run.disabled]") == [False, False]
    panel.kernel.run("p._tasks.start = usual")
    panel.run()
    assert panel.trouble() == ""
