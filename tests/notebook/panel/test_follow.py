"""The panel shows what is so, whoever changed it; its estimate agrees with a dry run; Connect answers plainly."""

from __future__ import annotations

import re

import pytest
from support.gateways import Served, answering, json_answer, served
from support.panels import Desk

from vn_magic.offline import create_app


def _answer(desk: Desk) -> str:
    desk.settled()
    return desk.said("_connect._message.widget")


def _estimate(desk: Desk) -> str:
    """Return what the estimate says once it has settled."""
    desk.until("p._estimate._running is None or p._estimate._running.done()")
    return desk.said("_estimate.widget")


NAMES = "[name for _, name in p._text._name.options[1:]]"


# Cells that change something


def test_a_variable_that_a_cell_binds_or_deletes_is_offered_or_not_after_the_cell(panel: Desk) -> None:
    assert panel.see("p._text._none.layout.display") is None
    panel.kernel.run("words = ['a', 'b']")
    assert panel.see(NAMES) == ["words"]
    assert panel.see("p._text._none.layout.display") == "none"
    panel.kernel.run("1 / 0")
    panel.kernel.run("del words")
    assert panel.see(NAMES) == []


def test_nothing_takes_the_place_of_a_variable_or_column_that_is_gone(panel: Desk) -> None:
    panel.kernel.run("frame = pd.DataFrame({'a': ['x'], 'long': ['a longer text']}); other = ['b']")
    panel.choose("_text._kind", "Take a variable")
    assert panel.see("p._cell.code") == "vectors = %embed -c long frame"
    panel.choose("_text._column", "a")
    panel.kernel.run("newer = ['c']")
    assert panel.see("p._cell.code") == "vectors = %embed -c a frame"
    panel.kernel.run("frame = frame.drop(columns='a')")
    assert panel.see("[p._text._name.value, p._text._column.value, p._cell.code]") == ["frame", "", ""]
    panel.run()
    assert panel.trouble().startswith("InputError: No column of frame is chosen.")
    panel.kernel.run("frame = None")
    assert panel.see("[p._text._name.value, p._cell.code]") == ["", ""]
    panel.run()
    assert panel.trouble().startswith("InputError: No variable with texts is chosen.")
    panel.choose("_text._name", "other")
    assert panel.see("p._cell.code") == "vectors = %embed other"


def test_a_variable_that_is_gone_when_run_is_clicked_is_told(panel: Desk) -> None:
    panel.kernel.run("words = ['a', 'b']")
    panel.choose("_text._kind", "Take a variable")
    panel.see("globals().pop('words')")
    panel.run()
    assert panel.trouble().startswith("InputError: There is no variable 'words' any more.")


def test_settings_that_a_cell_changes_are_followed(panel: Desk) -> None:
    panel.type("_text._body", "a")
    panel.kernel.run("%config VnMagic.unit_length = False")
    assert panel.see("[p._settings._unit_length.value, p._settings._unit_length.disabled]") == [False, True]
    assert panel.see("p._cell.code") == "%%embed vectors --raw\na"
    panel.kernel.run("%config VnMagic.base_url = 'https://gateway.example'")
    assert panel.see("[p._connect._base_url.value, p._connect._token.origin]") == ["https://gateway.example"] * 2
    panel.kernel.run("%config VnMagic.dimension = 256")
    assert panel.see("p._cell.code") == "%%embed vectors --dim 768 --raw\na"  # the panel's choice stays the panel's


def test_the_offline_switch_follows_the_magic_and_the_magic_follows_the_switch(online: Desk) -> None:
    online.kernel.run("%vn offline on")
    assert online.see("[p._connect._offline.value, p._connect._online.layout.display]") == [True, "none"]
    assert "lexical, not semantic" in online.said("_connect._status")
    online.type("_connect._offline", False)
    assert online.see("vn_magic.current_session().settings.offline") is False
    assert "sk-…0c93 from $VECTORNODE_API_KEY" in online.said("_connect._status")
    online.type("_connect._offline", True)
    assert re.search(r"^offline +True +panel$", online.kernel.run("%vn status").stdout, re.MULTILINE)


def test_unit_length_is_a_choice_of_the_panel_and_no_setting_of_the_session(panel: Desk) -> None:
    panel.type("_text._body", "a")
    panel.type("_settings._unit_length", False)
    assert panel.see("p._cell.code") == "%%embed vectors --raw\na"
    assert panel.see("vn_magic.current_session().settings.unit_length") is True


def test_another_panel_takes_the_place_of_the_first_and_leaves_nothing_of_it(panel: Desk) -> None:
    hooks = "len(get_ipython().events.callbacks['post_run_cell'])"
    count = "len(ipywidgets.Widget.get_manager_state()['state'])"
    panel.type("_text._body", "a text of the first panel")
    before = panel.see(f"[{hooks}, {count}]")
    for _ in range(2):
        panel.kernel.run("p = vn_magic.EmbedPanel()")
    assert panel.see(f"[{hooks}, {count}]") == before
    assert "a text of the first" not in str(panel.see("ipywidgets.Widget.get_manager_state()"))


def test_unloading_takes_the_panel_back_and_loading_again_makes_room_for_another(panel: Desk) -> None:
    hooks = "len(get_ipython().events.callbacks['post_run_cell'])"
    with_panel = panel.see(hooks)
    reply = panel.kernel.run("%unload_ext vn_magic")
    assert (reply.status, reply.stderr) == ("ok", "")
    assert panel.see(hooks) == with_panel - 1
    assert panel.see("len(ipywidgets.Widget.get_manager_state()['state'])") == 0
    panel.kernel.run("%load_ext vn_magic\np = vn_magic.EmbedPanel()\nwords = ['a', 'b']")
    assert panel.see(NAMES) == ["words"]


def test_a_panel_loads_the_extension_that_its_cells_need(panel: Desk) -> None:
    panel.kernel.run("%unload_ext vn_magic")
    panel.kernel.run("p = vn_magic.EmbedPanel()")
    assert panel.kernel.run("%%embed x\nhello").status == "ok"


def test_what_fails_inside_the_panel_after_a_cell_does_not_reach_the_cell(panel: Desk) -> None:
    spoil = "class Odd:\n    @property\n    def __class__(self): raise RuntimeError('odd')\nodd = Odd()\nprint('mine')"
    reply = panel.kernel.run(spoil)
    assert (reply.status, reply.stdout, reply.stderr) == ("ok", "mine\n", "")
    assert "RuntimeError" in panel.trouble()
    assert panel.kernel.run("del odd").stderr == ""


# What a run would cost


def test_the_estimate_agrees_with_a_dry_run(panel: Desk) -> None:
    panel.kernel.run("%%embed -q seen\nseen before")
    panel.type("_text._body", "seen before\nnever seen\nnever seen\n日本語の文\n" + "many words " * 40)
    said = _estimate(panel)
    card = panel.kernel.run(panel.see("p._cell.code").replace("vectors", "vectors --dry-run", 1)).card
    assert said.startswith("5 rows · 1 duplicate · 1 in the cache · ≈")
    assert "dry run   5 × 768" in card
    assert "1 from cache · 1 duplicate" in card
    tokens = re.search(r"≈([\d,]+) token", said)
    assert tokens is not None
    assert f"≈{tokens[1]} tokens" in card


def test_the_estimate_says_what_a_run_would_cost_and_which_budget_would_refuse_it(panel: Desk) -> None:
    panel.kernel.run("%config VnMagic.price_per_million = 0.15\n%config VnMagic.max_requests = 2")
    panel.type("_text._body", "one\ntwo\nfour")
    assert _estimate(panel) == (
        "3 rows · 0 duplicates · 0 in the cache · ≈3 tokens to send · would be ≈0.00000045 at 0.15 a million tokens · "
        "the session's budget of 2 requests would refuse this"
    )
    panel.run()
    assert "The session's budget of 2 requests does not allow 3. Nothing was sent." in panel.trouble()
    panel.kernel.run("%config VnMagic.max_requests = 3")
    panel.until("'would refuse' not in p._estimate.widget.value")
    panel.run()
    assert "3 new, 0 from cache · ≈3 tokens · would be ≈0.00000045" in panel.said("_tasks.message.widget")


def test_the_estimate_tells_rows_of_a_pack_and_what_a_strict_one_lacks(panel: Desk, tmp_path: object) -> None:
    panel.kernel.run("%%embed -q x\none\ntwo")
    panel.kernel.run(f"%vn pack save {tmp_path}/lesson.vnpack\n%vn cache clear\n%vn pack use {tmp_path}/lesson.vnpack")
    panel.type("_text._body", "one\ntwo\nfour")
    assert _estimate(panel) == "3 rows · 0 duplicates · 0 in the cache · 2 in the pack · ≈1 token to send"
    panel.kernel.run(f"%vn pack use {tmp_path}/lesson.vnpack --strict")
    panel.type("_text._body", "one\nfour")
    assert _estimate(panel) == (
        "2 rows · 0 duplicates · 0 in the cache · 1 in the pack · "
        "1 text is not in the pack lesson.vnpack, which alone answers: it would fail"
    )


def test_rows_that_cannot_be_sent_are_told_by_the_estimate(panel: Desk) -> None:
    panel.kernel.run("words = pd.Series(['a', None, 'b', ' '])")
    panel.choose("_text._kind", "Take a variable")
    assert _estimate(panel).startswith("2 of 4 rows cannot be embedded: row 1 (missing), row 3 (blank).")


def test_the_estimate_is_renewed_after_a_run(panel: Desk) -> None:
    panel.type("_text._body", "a\nb")
    assert "0 in the cache" in _estimate(panel)
    panel.run()
    panel.until("'2 in the cache' in p._estimate.widget.value")


def test_the_estimate_needs_no_token_and_sends_nothing(shared_desk: Desk, gateway: Served, tmp_path: object) -> None:
    shared_desk.sit_down(VN_MAGIC_BASE_URL=gateway.url, VN_MAGIC_CACHE=f"{tmp_path}/cache")
    shared_desk.type("_text._body", "a\nb")
    assert _estimate(shared_desk).startswith("2 rows · 0 duplicates · 0 in the cache · ≈2 tokens")
    assert gateway.received == []


def test_quick_typing_leaves_no_tasks_and_no_warnings(panel: Desk) -> None:
    panel.kernel.run(
        "import asyncio, warnings\ngc.collect()  # what others left is not told here\n"
        "usual = warnings.catch_warnings(); usual.__enter__(); warnings.simplefilter('always')\n"
        "async def running():\n    return len(asyncio.all_tasks())\n"
        "def tasks(): return vn_magic.current_session().runtime.portal.run(running())"
    )
    panel.settled()
    before = panel.see("tasks()")
    reply = panel.kernel.run("for length in range(200):\n    p._text._body.value = 'x' * (length + 1)")
    assert reply.stderr == ""
    _estimate(panel)
    panel.see("gc.collect()")
    assert panel.see("tasks()") == before
    assert panel.see("usual.__exit__(None, None, None)") is None  # this kernel serves other tests, too
    assert [content for content in panel.outputs() if content.get("name") == "stderr"] == []


# Connect


def test_a_base_url_that_is_none_is_told_and_the_field_goes_back(online: Desk, gateway: Served) -> None:
    online.type("_connect._base_url", "not a url")
    assert _answer(online).startswith("SettingsError: ")
    assert online.see("p._connect._base_url.value") == gateway.url
    online.type("_connect._base_url", f"{gateway.url}/v1")
    assert online.see("[p._connect._base_url.value, vn_magic.current_session().settings.base_url]") == [gateway.url] * 2
    assert _answer(online) == ""


def test_check_says_that_the_token_is_accepted(online: Desk, gateway: Served) -> None:
    online.click("_connect._check")
    assert _answer(online) == f"{gateway.url.removeprefix('http://')} answers and accepts the token."
    assert gateway.texts == []


@pytest.mark.parametrize("play", ["refused", "unknown"])
def test_check_says_that_a_token_is_refused_or_cannot_be_checked(
    shared_desk: Desk, token: str, tmp_path: object, play: str
) -> None:
    nothing_there = json_answer({"error": {"message": "Invalid URL", "type": "invalid_request_error"}}, 404)
    app = create_app(token="sk-another-one-1234") if play == "refused" else answering(nothing_there)
    with served(app) as server:
        shared_desk.sit_down(VN_MAGIC_BASE_URL=server.url, VECTORNODE_API_KEY=token, VN_MAGIC_CACHE=f"{tmp_path}/cache")
        shared_desk.click("_connect._check")
        said = _answer(shared_desk)
    assert ("refuses the token" if play == "refused" else "cannot be checked without a text") in said


def test_check_of_a_gateway_that_is_not_there_says_so(online: Desk) -> None:
    online.type("_connect._base_url", "http://127.0.0.1:9")
    online.click("_connect._check")
    assert "could not be reached" in _answer(online)


def test_check_without_a_token_names_the_cure(shared_desk: Desk, gateway: Served, tmp_path: object) -> None:
    shared_desk.sit_down(VN_MAGIC_BASE_URL=gateway.url, VN_MAGIC_CACHE=f"{tmp_path}/cache")
    shared_desk.click("_connect._check")
    assert _answer(shared_desk).startswith("TokenError: There is no token for 127.0.0.1")
    assert "none; enter it above" in shared_desk.said("_connect._status")


def test_forget_forgets_the_sessions_token_and_says_what_the_environment_still_has(
    online: Desk, gateway: Served, token: str
) -> None:
    online.enter_token(token)
    assert "accepted" in _answer(online)
    assert "from panel" in online.said("_connect._status")
    online.click("_connect._forget")
    assert _answer(online) == "The session's token is forgotten. $VECTORNODE_API_KEY still holds sk-…0c93."
    assert "from $VECTORNODE_API_KEY" in online.said("_connect._status")
    assert gateway.texts == []
