"""The Compare tab: a request a text, the table of its cell, one job at a time, and nothing held out of sight."""

from __future__ import annotations

import json
import re
from base64 import b64decode
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from support.engine import Held, output_of
from support.gateways import Served, served
from support.panels import Desk
from support.waiting import until

from vn_magic import Session
from vn_magic.classroom.comparison import compare
from vn_magic.notebook.panel.compared import compared
from vn_magic.offline import create_app

TEXTS = [f"a {color} {thing}" for thing in ("rose", "car", "train") for color in ("red", "blue")]
# What shells, Python and IPython each read in their own way.
ODD = ("it's", 'a "b"', 'it\'s "b"', "-x", "--dim", "a b", "a?", "a;", "\\", "$HOME {x}", "%time", "größe 🙂", "a,b")
FRAME = f"""\
frame = pd.DataFrame({{'text': {TEXTS!r}, 'thing': ['rose'] * 2 + ['car'] * 2 + ['train'] * 2, 'n': range(6)}})
"""


def _frame(desk: Desk) -> None:
    """Choose the texts of a frame, and Compare."""
    desk.kernel.run(FRAME)
    desk.choose("_text._kind", "Take a variable")
    desk.choose("_tab", "Compare")


def _type(desk: Desk, texts: list[str]) -> None:
    desk.type("_text._body", "\n".join(texts))
    desk.choose("_tab", "Compare")


def _tick(desk: Desk, kind: str, *options: str) -> None:
    """Tick these options and no others."""
    for place, option in enumerate(desk.see(f"[box.description for box in p._compare.form.{kind}._boxes]")):
        box = f"_compare.form.{kind}._boxes[{place}]"
        if desk.see(f"p.{box}.value") != (option in options):
            desk.type(box, option in options)


def _table(desk: Desk) -> list[list[str]]:
    """Return the table on view, cell by cell, its head first."""
    root = ET.fromstring(desk.see("p._compare.view._table.value"))
    return [["".join(cell.itertext()) for cell in row] for row in root.iter("tr")]


def _estimate(desk: Desk) -> str:
    desk.until("p._estimate._running is None or p._estimate._running.done()")
    return desk.said("_estimate.widget")


def test_a_run_sends_each_text_once_for_all_dimensions_and_shows_a_line_for_each(online: Desk, gateway: Served) -> None:
    _frame(online)
    online.choose("_compare.form._labels", "thing")
    online.type("_compare.form._k", 2)
    assert _estimate(online).startswith("3 settings from 1 vector a row · 6 rows · 0 duplicates · 0 in the cache · ≈")
    assert gateway.received == []
    online.run()
    assert online.trouble() == ""
    assert sorted(gateway.texts) == sorted(TEXTS)
    assert {received.json["output_dimensionality"] for received in gateway.received} == {768}
    head, *lines = _table(online)
    assert head[:7] == ["model", "task_type", "dimension", "overlap@2", "rank_correlation", "purity@2", "silhouette"]
    assert [line[2] for line in lines] == ["768", "256", "128"]
    assert [line[head.index("requests")] for line in lines] == ["6", "0", "0"]
    assert lines[0][3:5] == ["1.000", "1.000"]
    said = online.said("_compare.view._notes.widget")
    assert "Dimensions of one model and task shared their requests" in said
    assert "By chance overlap would be about 0.40" in said
    [chart] = online.see("p._compare.view._picture.outputs")
    assert chart["data"]["application/vnd.vegalite.v5+json"]["hconcat"]
    assert online.said("_tasks.message.widget").startswith("comparison   3 settings × 6 rows   offline-lexical\n6 requ")
    assert "6 in the cache · ≈0 tokens to send" in _estimate(online)
    assert online.outputs() == []


def test_offline_the_sentences_say_that_the_vectors_are_lexical(panel: Desk) -> None:
    _type(panel, TEXTS)
    panel.run()
    assert "these vectors are lexical, not semantic" in panel.said("_compare.view._notes.widget")
    assert "offline-lexical: lexical, not semantic" in str(panel.see("p._compare.view._picture.outputs"))


_SAME = """\
def same(a, b):
    cost = ['requests', 'tokens', 'seconds']
    pd.testing.assert_frame_equal(a.drop(columns=cost), b.drop(columns=cost), check_exact=True)
    said = [{**table.attrs['comparison'], 'notes': None} for table in (a, b)]  # notes tell of the cost, too
    return said[0] == said[1] and len(a)
"""


@pytest.mark.parametrize(("column", "labels"), list(zip(ODD, ODD[::-1], strict=True)))
def test_the_cell_gives_the_same_table_whatever_the_columns_are_called_and_sends_nothing(
    online: Desk, gateway: Served, column: str, labels: str
) -> None:
    labels = labels if labels != column else f"{labels} 2"
    online.kernel.run(f"{FRAME}\n{_SAME}\nframe = frame[['text', 'thing']].set_axis([{column!r}, {labels!r}], axis=1)")
    online.choose("_text._kind", "Take a variable")
    online.choose("_text._column", column)
    online.choose("_tab", "Compare")
    online.choose("_compare.form._labels", labels)
    _tick(online, "_task_types", "CLUSTERING", "CODE_RETRIEVAL_QUERY")
    _tick(online, "_dimensions", "3072", "512")
    online.type("_compare.form._k", 3)
    online.type("_compare.form._out", "table")
    online.run()
    assert online.trouble() == ""
    sent = len(gateway.texts)
    assert sent == 2 * len(TEXTS)
    online.kernel.run("of_panel = table; del table")
    reply = online.kernel.run(online.see("p._cell.code"))
    assert (reply.status, reply.stderr) == ("ok", "")
    assert online.see("same(of_panel, table)") == 4
    assert len(gateway.texts) == sent


@pytest.mark.parametrize(
    ("split", "body"),
    [
        ("one row a line", "  a ' \" \\ text\n%time x\n>>> {b} ?\n\n'''\n#\nwhy?"),
        ("one row a paragraph", "a\nb\n\nc\n\n\\n"),
        ("csv with a header", 'text,n\n"a, b",1\n%time,2\nc,3'),
        ("jsonl, an object a line", '{"text": "a\\nb"}\n{"text": "x\\u2028y"}\n{"text": "\\ud83d\\ude42"}'),
        ("one row a line", "\n".join(f"a line that is number {number}" for number in range(40))),
    ],
)
def test_the_cell_of_typed_text_binds_a_list_and_gives_the_same_table(
    online: Desk, gateway: Served, split: str, body: str
) -> None:
    online.kernel.run(_SAME)
    online.type("_text._body", body)
    online.choose("_text._split", split)
    online.choose("_tab", "Compare")
    online.type("_compare.form._out", "table")
    online.run()
    assert online.trouble() == ""
    sent = list(gateway.texts)
    online.kernel.run("of_panel = table; del table")
    cell = online.see("p._cell.code")
    assert re.match(r"texts = \[", cell)
    assert online.kernel.run(cell).status == "ok"
    assert online.see("same(of_panel, table)") == 3
    assert sorted(online.see("texts")) == sorted(sent)
    assert gateway.texts == sent
    assert online.see("p._cell.code") == cell


def test_the_list_of_the_cell_takes_the_place_of_no_other_variable(panel: Desk) -> None:
    panel.kernel.run("texts = 'mine'; texts_2 = np.arange(3)")
    _type(panel, ["a", "b", "c"])
    assert panel.see("p._cell.code").startswith("texts_3 = ['a', 'b', 'c']\n%vn compare texts_3 ")


def test_what_is_the_default_here_and_everywhere_is_not_on_the_line(panel: Desk) -> None:
    _frame(panel)
    _tick(panel, "_dimensions", "768")
    assert panel.see("p._cell.code") == "%vn compare frame -c text"
    panel.kernel.run("%config VnMagic.dimension = 256")
    assert panel.see("p._cell.code") == "%vn compare frame -c text --dim 768"
    panel.run()
    assert [line[2] for line in _table(panel)[1:]] == ["768"]
    _tick(panel, "_dimensions")
    _tick(panel, "_task_types")
    assert panel.see("p._cell.code") == "%vn compare frame -c text"
    assert "None ticked: the session's, 256." in panel.said("_compare.form._dimensions._note.widget")
    assert "None ticked: the session's, SEMANTIC_SIM" in panel.said("_compare.form._task_types._note.widget")
    panel.run()
    assert [line[2] for line in _table(panel)[1:]] == ["256"]


def test_a_table_is_bound_only_when_it_has_a_name(panel: Desk) -> None:
    _type(panel, TEXTS)
    before = panel.see("sorted(globals())")
    panel.run()
    assert panel.see("sorted(globals())") == before
    panel.type("_compare.form._out", "table")
    assert "The table will be the new variable table." in panel.said("_compare.form._remark")
    panel.run()
    assert {*panel.see("sorted(globals())")} - {*before} == {"table"}
    assert panel.see("list(table)[:4]") == ["model", "task_type", "dimension", "overlap"]
    assert "table exists (DataFrame, 3 rows) and will be replaced." in panel.said("_compare.form._remark")
    assert panel.said("_compare.view._what.widget").startswith("table   3 settings × 6 rows")


@pytest.mark.parametrize(
    ("field", "value"),
    [("_compare.form._out", "list"), ("_compare.form._models", "gemini-embedding-001,gemini-embedding-2")],
)
def test_what_cannot_be_compared_is_told_as_the_cell_tells_it_and_the_estimate_knows_it(
    panel: Desk, field: str, value: str
) -> None:
    _frame(panel)
    _tick(panel, "_task_types", "CLUSTERING")
    panel.type(field, value)
    panel.run()
    shown = panel.trouble().splitlines()
    assert shown[0].startswith("InputError: ")
    line = "-o list" if value == "list" else f"--model {value} --task CLUSTERING"
    assert shown == panel.kernel.run(f"%vn compare frame -c text {line}").error
    assert shown[0].removeprefix("InputError: ") in _estimate(panel)


def test_a_job_that_fails_says_so_in_the_panel_alone_and_binds_nothing(
    shared_desk: Desk, token: str, tmp_path: Path
) -> None:
    with served(create_app(token=token, play="no-balance")) as server:
        shared_desk.sit_down(VN_MAGIC_BASE_URL=server.url, VECTORNODE_API_KEY=token, VN_MAGIC_CACHE=f"{tmp_path}/c")
        _type(shared_desk, TEXTS)
        shared_desk.kernel.run("table = 'older'")
        shared_desk.type("_compare.form._out", "table")
        shared_desk.run()
        shown = shared_desk.trouble().splitlines()
        assert shared_desk.see("table") == "older"
        assert shared_desk.outputs() == []
        told = shared_desk.kernel.run(shared_desk.see("p._cell.code")).error
        assert 1 <= len(shown) <= 3
        assert shown[0].split(" (")[0] == told[0].split(" (")[0]
        assert token not in shared_desk.saved()


# Labels and models


def test_labels_are_the_other_columns_of_the_frame_and_follow_it(panel: Desk) -> None:
    panel.kernel.run(f"{FRAME}\nframe[2024] = 1; frame['vector'] = [np.zeros(2)] * 6; words = list(frame.text)")
    offered = "[name for name, _ in p._compare.form._labels.options]"
    panel.choose("_tab", "Compare")
    assert panel.see(f"[{offered}, p._compare.form._labels.disabled]") == [["none"], True]
    panel.choose("_text._kind", "Take a variable")
    assert panel.see(f"[{offered}, p._compare.form._labels.disabled]") == [["none", "thing", "n", "2024"], False]
    panel.choose("_compare.form._labels", "thing")
    panel.kernel.run("frame['more'] = frame.thing")
    assert panel.see(f"[{offered}, p._compare.form._labels.value]") == [["none", "thing", "n", "2024", "more"], "thing"]
    assert "--labels thing" in panel.see("p._cell.code")
    panel.kernel.run("del frame['thing']")
    assert panel.see(f"[{offered}, p._compare.form._labels.value]") == [["none", "n", "2024", "more"], ""]
    assert "--labels" not in panel.see("p._cell.code")
    panel.choose("_text._name", "words")
    assert panel.see(offered) == ["none"]


def test_models_without_tasks_take_the_tasks_away_and_give_them_back(panel: Desk) -> None:
    _type(panel, TEXTS)
    _tick(panel, "_task_types", "CLUSTERING", "CLASSIFICATION")
    panel.type("_compare.form._models", " gemini-embedding-2 ,")
    assert panel.said("_compare.form._task_types._note.widget") == "These models have no tasks."
    assert panel.see("p._cell.code").endswith("%vn compare texts --model gemini-embedding-2 --dim 768,256,128")
    panel.type("_compare.form._models", "gemini-embedding-001")
    assert panel.said("_compare.form._task_types._note.widget") == ""
    assert "--task CLASSIFICATION,CLUSTERING" in panel.see("p._cell.code")


def test_two_models_are_compared_and_each_is_asked_once_a_text(online: Desk, gateway: Served) -> None:
    _type(online, TEXTS)
    tokens = re.compile(r"≈(\d+) tokens to send")
    [alone] = tokens.findall(_estimate(online))
    online.type("_compare.form._models", "gemini-embedding-001, offline-lexical,")
    assert _estimate(online).startswith("6 settings from 2 vectors a row · 6 rows · 0 duplicates · 0 in the cache")
    assert tokens.findall(_estimate(online)) == [str(2 * int(alone))]
    assert online.see("p._cell.code").endswith("--model gemini-embedding-001,offline-lexical --dim 768,256,128")
    online.run()
    assert online.trouble() == ""
    asked = [(received.path.split("/")[-1].split(":")[0], received.text) for received in gateway.received]
    assert "12 in the cache · ≈0 tokens to send" in _estimate(online)
    assert sorted(asked) == sorted(
        (model, text) for model in ("gemini-embedding-001", "offline-lexical") for text in TEXTS
    )


def test_a_model_whose_short_vectors_are_no_beginnings_is_asked_for_each_dimension(panel: Desk) -> None:
    _type(panel, TEXTS)
    panel.type("_compare.form._models", "gemini-embedding-001, gemini-embedding-2")
    assert _estimate(panel).startswith("6 settings from 4 vectors a row")


# One job at a time


def _sit_down(desk: Desk, server: Served, token: str, folder: Path) -> None:
    desk.sit_down(VN_MAGIC_BASE_URL=server.url, VECTORNODE_API_KEY=token, VN_MAGIC_CACHE=f"{folder}/cache")


def test_cancel_keeps_what_arrived_and_the_next_run_pays_for_the_rest_alone(
    shared_desk: Desk, held: Held, token: str, tmp_path: Path
) -> None:
    texts = [f"text {number}" for number in range(20)] + [f"held {number}" for number in range(100)]
    with served(held.app) as server:
        _sit_down(shared_desk, server, token, tmp_path)
        _type(shared_desk, texts)
        _tick(shared_desk, "_task_types", "CLUSTERING", "CLASSIFICATION")
        shared_desk.type("_compare.form._out", "table")
        shared_desk.click("_runner._run")
        shared_desk.until("p._runner._latest is not None and p._runner._latest.done == 20")
        of_job = "(lambda job: [job.requests, job.done + job.concurrency])(p._runner._latest)"
        until(lambda: shared_desk.see(of_job) == [len(server.texts)] * 2)
        assert shared_desk.kernel.run("6 * 7").result == {"text/plain": "42"}  # the kernel is free meanwhile
        shared_desk.click("_runner._cancel")
        shared_desk.done()
        sent = list(server.texts)
        assert "Stopped at 20 of 240 rows. What arrived is in the cache." in shared_desk.said("_runner._line.widget")
        assert shared_desk.trouble() == ""
        assert shared_desk.see("'table' in globals()") is False
        held.go.set()
        shared_desk.run()
        assert shared_desk.trouble() == ""
        again = server.texts[len(sent) :]
        assert sorted(again) == sorted([*texts[20:], *texts])  # the rest of the first task, and the second one
        assert shared_desk.see("len(table)") == 6


def test_while_a_comparison_runs_nothing_else_can_be_run_on_either_tab(
    shared_desk: Desk, held: Held, token: str, tmp_path: Path
) -> None:
    with served(held.app) as server:
        _sit_down(shared_desk, server, token, tmp_path)
        _type(shared_desk, ["held a", "b", "c"])
        shared_desk.click("_runner._run")
        until(lambda: len(server.texts) == 3)
        shared_desk.click("_runner._run")
        shared_desk.choose("_tab", "Embed")
        assert shared_desk.see("[p._runner._run.disabled, p._runner._cancel.disabled]") == [True, False]
        shared_desk.click("_runner._run")
        held.go.set()
        shared_desk.done()
        assert sorted(server.texts) == ["b", "c", "held a"]
        assert shared_desk.see("'vectors' in globals()") is False
        assert "comparison   3 settings × 3 rows" in shared_desk.said("_tasks.message.widget")
        assert shared_desk.see("p._compare.view._table.value") == ""  # nobody looks at it yet
        shared_desk.choose("_tab", "Compare")
        assert len(_table(shared_desk)) == 4
        assert shared_desk.said("_tasks.message.widget") == ""


@pytest.mark.parametrize("end", ["%unload_ext vn_magic", "p = vn_magic.EmbedPanel()"])
def test_a_panel_that_is_closed_or_replaced_stops_its_comparison(
    shared_desk: Desk, held: Held, token: str, tmp_path: Path, end: str
) -> None:
    with served(held.app) as server:
        _sit_down(shared_desk, server, token, tmp_path)
        _type(shared_desk, ["held a", "held b", "held c"])
        _tick(shared_desk, "_task_types", "CLUSTERING", "CLASSIFICATION")
        shared_desk.type("_compare.form._out", "table")
        shared_desk.click("_runner._run")
        until(lambda: len(server.texts) == 3)
        shared_desk.kernel.run("first = p")
        assert shared_desk.kernel.run(end).stderr == ""
        shared_desk.until("not first._runner._running")
        held.go.set()
        if "unload" not in end:
            shared_desk.settled()
        assert len(server.texts) == 3
        assert shared_desk.see("'table' in globals()") is False
        assert (
            shared_desk.see("any('first' in str(w) for w in ipywidgets.Widget.get_manager_state()['state'])") is False
        )


# What is held


def test_a_tab_that_is_not_looked_at_holds_nothing_of_its_result(panel: Desk) -> None:
    panel.kernel.run("words = ['a rose in view', 'a blue car', 'a red train', 'another']")
    panel.choose("_text._kind", "Take a variable")
    panel.run()
    assert "a rose in view" in panel.saved()
    panel.choose("_tab", "Compare")
    assert "a rose in view" not in panel.saved()
    assert panel.said("_tasks.message.widget") == ""
    panel.run()
    assert "rank_correlation" in panel.saved()
    panel.choose("_tab", "Embed")
    assert "a rose in view" in panel.saved()
    assert "correlation" not in panel.saved()
    panel.choose("_results._view", "Map")
    panel.until("len(p._results._picture.outputs)")
    panel.choose("_tab", "Compare")
    assert "a rose in view" not in panel.saved()
    assert len(_table(panel)) == 4
    assert panel.see("len(p._compare.view._picture.outputs)") == 1


def test_an_embedding_that_ends_while_compare_is_looked_at_waits_unseen(
    shared_desk: Desk, held: Held, token: str, tmp_path: Path
) -> None:
    with served(held.app) as server:
        _sit_down(shared_desk, server, token, tmp_path)
        shared_desk.kernel.run("words = ['held a', 'a rose in view']")
        shared_desk.choose("_text._kind", "Take a variable")
        shared_desk.click("_runner._run")
        until(lambda: len(server.texts) == 2)
        shared_desk.choose("_tab", "Compare")
        held.go.set()
        shared_desk.done()
        shared_desk.settled()
        assert shared_desk.see("list(vectors.text)") == ["held a", "a rose in view"]
        assert "a rose in view" not in shared_desk.saved()
        shared_desk.choose("_tab", "Embed")
        assert "a rose in view" in shared_desk.saved()


def test_closing_takes_the_widgets_of_the_tab_with_it(panel: Desk) -> None:
    _frame(panel)
    panel.run()
    panel.kernel.run("p.close()")
    assert panel.see("len(ipywidgets.Widget.get_manager_state()['state'])") == 0


def test_what_users_wrote_is_text_in_the_table() -> None:
    with Session(offline=True) as session:
        table = compare(TEXTS, dimensions=[256, 128], session=session)
    table["model"] = "<img src=x onerror=alert(1)>"
    result = compared("", table, "")
    assert "<img src=x" not in result.table
    assert "&lt;img src=x onerror=alert(1)&gt;" in result.table
    assert '"&lt;' not in ET.tostring(ET.fromstring(result.table), encoding="unicode")


def test_a_figure_that_there_is_not_is_a_dash() -> None:
    with Session(offline=True) as session:
        table = compare(["one", "one", "one"], dimensions=[128], session=session)
    cells = ET.fromstring(compared("", table, "").table).iter("td")
    assert {cell.get("data-name"): cell.text for cell in cells}["rank_correlation"] == "—"


# The record, and what opening a panel costs


def test_a_comparison_leaves_table_chart_and_cell_for_readers_without_a_kernel(panel: Desk) -> None:
    panel.kernel.run("display(p)")
    _type(panel, ["roses <b>are</b> red", "violets & co", "sugar"])
    panel.choose("_tab", "Embed")
    panel.run()  # whose map may still be drawn when the comparison has ended
    panel.choose("_tab", "Compare")
    panel.run()
    panel.settled()
    record = panel.record()
    assert "comparison   3 settings × 3 rows   offline-lexical" in record["text/html"]
    assert "<th scope" in record["text/html"]
    assert "texts = [&#x27;roses &lt;b&gt;are" in record["text/html"]
    assert "<b>are" not in record["text/html"]
    assert "After <code>%vn offline</code>" in record["text/html"]
    [encoded] = re.findall(r'alt="chart" src="data:image/svg\+xml;base64,([^"]+)"', record["text/html"])
    assert ET.fromstring(b64decode(encoded)).tag.endswith("svg")
    assert "rank_correlation" in record["text/plain"]
    assert record["text/plain"].endswith("%vn compare texts --dim 768,256,128")


# A map takes as long as it takes; this one takes until the comparison is there.
_SLOW_MAP = """\
import threading, vn_magic.notebook.panel.panel as module
drawn, usual = threading.Event(), module.scatter
def slow(*arguments, **options):
    drawn.wait(50)
    return usual(*arguments, **options)
module.scatter = slow
"""


def test_the_map_of_an_earlier_result_does_not_take_the_place_of_a_comparison(panel: Desk) -> None:
    panel.kernel.run("display(p)")
    panel.kernel.run(_SLOW_MAP)
    _type(panel, TEXTS)
    panel.choose("_tab", "Embed")
    panel.run()
    assert "vectors   6 × 768" in panel.record()["text/plain"]
    panel.choose("_tab", "Compare")
    panel.run()
    panel.kernel.run("drawn.set(); module.scatter = usual")
    panel.settled()
    assert "comparison   3 settings × 6 rows" in panel.record()["text/plain"]


def test_a_panel_opens_without_what_only_a_comparison_needs() -> None:
    loaded = output_of(
        "import json, sys\n"
        "from IPython.core.interactiveshell import InteractiveShell\n"
        "InteractiveShell.instance()\n"
        "import vn_magic\n"
        "vn_magic.EmbedPanel()\n"
        "print(json.dumps(sorted(sys.modules)))",
        VN_MAGIC_OFFLINE="1",
    )
    modules = json.loads(loaded)
    assert "vn_magic.notebook.panel.panel" in modules
    late = ("vn_magic.classroom.comparison", "vn_magic.explore.comparison", "vn_magic.notebook.panel.compare")
    assert [name for name in modules if name.startswith(late)] == []
