"""What a notebook would save of a panel: settings and what is in view, and never the token."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import MutableMapping
from pathlib import Path
from typing import Any

import pytest
from support.gateways import App, Receive, Send, Served, served
from support.panels import Desk
from support.waiting import until

from vn_magic.offline import create_app

ROWS = "a rose in view\n" + "\n".join(f"row number {number}" for number in range(1, 30))

# Whatever can be reached from the panel, short of the tokens themselves, the shell and the modules.
_REACHABLE = """\
import gc, types
def reachable(start, needle):
    from vn_magic.credentials import Token
    skipped = (Token, types.ModuleType, types.FrameType, type(get_ipython()), type)
    seen, todo, found = set(), [start], []
    while todo:
        thing = todo.pop()
        if id(thing) in seen or isinstance(thing, skipped) or thing is globals():
            continue
        seen.add(id(thing))
        if isinstance(thing, (str, bytes)):
            if needle in (thing if isinstance(thing, str) else thing.decode('latin-1')):
                found.append(type(thing).__name__)
        elif isinstance(thing, types.FunctionType):
            todo += [thing.__closure__, thing.__defaults__]
        else:
            todo += gc.get_referents(thing)
    return found
"""


@pytest.fixture
def connected(shared_desk: Desk, gateway: Served, tmp_path: Path) -> Desk:
    """A panel of a session that talks to `gateway` and has no token yet."""
    shared_desk.sit_down(VN_MAGIC_BASE_URL=gateway.url, VN_MAGIC_CACHE=str(tmp_path / "cache"))
    return shared_desk


def _answer(desk: Desk) -> str:
    """Wait for the answer of what Connect has begun."""
    desk.settled()
    return desk.said("_connect._message.widget")


def test_typed_text_is_not_saved_while_a_variable_is_chosen_and_comes_back(panel: Desk) -> None:
    panel.type("_text._body", "a private line")
    assert "a private line" in panel.saved()
    panel.choose("_text._kind", "Take a variable")
    assert "a private line" not in panel.saved()
    panel.kernel.run("1")  # the panel follows cells; nothing of the text comes back by that
    assert "a private line" not in panel.saved()
    panel.choose("_text._kind", "Type or paste it")
    assert panel.see("p._text._body.value") == "a private line"


@pytest.mark.parametrize("view", ["Map", "Neighbours", "Heatmap"])
def test_only_the_view_that_is_looked_at_holds_texts(panel: Desk, view: str) -> None:
    panel.type("_text._body", ROWS)
    panel.run()
    panel.choose("_text._kind", "Take a variable")
    table = panel.see("[button.description for button in p._results._table._rows._texts]")
    assert table[0] == "0 · a rose in view"
    assert "row number 10" not in panel.saved()  # the next page
    panel.choose("_results._view", view)
    if view != "Neighbours":
        panel.until("len(p._results._picture.outputs)")
    assert panel.see("[button.description for button in p._results._table._rows._texts]") == [""] * len(table)
    assert ("a rose in view" in panel.saved()) == (view != "Neighbours")
    panel.choose("_results._view", "Table")
    assert panel.see("p._results._picture.outputs") == []
    assert "a rose in view" in panel.saved()


def test_neighbours_that_were_found_are_gone_when_another_view_is_chosen(panel: Desk) -> None:
    panel.type("_text._body", ROWS)
    panel.run()
    panel.choose("_text._kind", "Take a variable")
    panel.choose("_results._view", "Neighbours")
    panel.ask("a rose, privately asked")
    panel.until("'nearest to' in p._results._neighbours._heading.value")
    assert "privately asked" in panel.saved()
    panel.choose("_results._view", "Map")
    panel.until("len(p._results._picture.outputs)")
    assert "privately asked" not in panel.saved()
    assert panel.see("any(button.description for button in p._results._neighbours._rows._texts)") is False


@pytest.mark.parametrize("view", ["Table", "Map", "Heatmap", "Neighbours"])
def test_a_second_result_leaves_nothing_of_the_first(panel: Desk, view: str) -> None:
    panel.type("_text._body", "first secret\nfirst line")
    panel.run()
    panel.choose("_results._view", view)
    if view == "Neighbours":
        panel.ask("question")
        panel.until("'nearest to' in p._results._neighbours._heading.value")
        assert "first secret" in panel.saved()
    panel.type("_text._body", "second line\nthird line")
    panel.run()
    if view in ("Map", "Heatmap"):
        panel.until("len(p._results._picture.outputs) and 'second line' in str(p._results._picture.outputs)")
    assert "first secret" not in panel.saved()


def _held(app: App, go: threading.Event) -> App:
    """An app that answers nobody until it may."""

    async def held(scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        while not go.is_set():  # noqa: ASYNC110 - set by the test, in another thread
            await asyncio.sleep(0.01)
        await app(scope, receive, send)

    return held


def test_a_token_is_held_for_the_origin_that_was_shown(connected: Desk, gateway: Served, token: str) -> None:
    origin = connected.see("p._connect._token.origin")
    assert origin == gateway.url
    connected.enter_token(token)
    assert "sk-…0c93 for 127.0.0.1" in _answer(connected)
    assert "accepted" in _answer(connected)
    assert connected.see("vn_magic.current_session().tokens.origin") == origin
    assert "token: sk-…0c93 from panel" in connected.said("_connect._status")
    connected.type("_text._body", "hello")
    connected.run()
    assert gateway.received[-1].headers["authorization"] == f"Bearer {token}"


def test_a_token_for_another_origin_than_the_present_one_is_refused(
    connected: Desk, gateway: Served, token: str
) -> None:
    connected.enter_token(token, "https://elsewhere.example")
    assert "The base URL has changed since" in _answer(connected)
    assert connected.see("vn_magic.current_session().find_token() is None") is True
    assert gateway.received == []


def test_a_wrong_token_is_refused_and_an_earlier_one_stays(connected: Desk, token: str) -> None:
    connected.enter_token(token)
    assert "accepted" in _answer(connected)
    connected.enter_token("sk-a-mistyped-token-9")
    said = _answer(connected)
    assert said.startswith("TokenRefusedError: sk-…en-9 for 127.0.0.1")
    assert "It is not kept." in said
    assert "sk-…0c93 from panel" in connected.said("_connect._status")


@pytest.mark.parametrize("nonsense", ["two words", "sk-ünicode-9999999"])
def test_what_cannot_be_a_token_is_refused_without_being_quoted(
    connected: Desk, gateway: Served, nonsense: str
) -> None:
    connected.enter_token(nonsense)
    assert _answer(connected).startswith("TokenError: ")
    assert nonsense not in connected.saved()
    assert gateway.received == []


@pytest.mark.parametrize("content", [{}, {"token": 3, "origin": "x"}, {"token": "sk-x-123456789"}, {"origin": "x"}])
def test_a_message_that_is_no_token_changes_nothing(connected: Desk, content: dict[str, object]) -> None:
    before = connected.said("_connect._message.widget")
    reply = connected.finish(connected.send("_connect._token", {"method": "custom", "content": content}))
    assert reply.stderr == ""
    assert connected.said("_connect._message.widget") == before
    assert connected.see("vn_magic.current_session().find_token() is None") is True


def test_the_token_is_in_no_widget_no_message_and_nothing_that_the_panel_holds(
    connected: Desk, gateway: Served, token: str, tmp_path: Path
) -> None:
    connected.kernel.run("display(p)")
    connected.enter_token(token)
    assert "accepted" in _answer(connected)
    connected.enter_token(f"{token}-wrong")
    assert "TokenRefusedError" in _answer(connected)
    connected.kernel.run("%vn debug on\n%xmode Verbose")
    connected.enter_token(f"{token}-wrong")
    assert "refused" in _answer(connected)
    connected.click("_connect._check")
    assert "accepts the token" in _answer(connected)
    connected.type("_text._body", "hello")
    connected.run()
    assert connected.trouble() == ""
    file = tmp_path / "needle"
    file.write_text(token[:-4])
    connected.kernel.run(_REACHABLE)
    # First that the walk finds what is there.
    assert connected.see("reachable(p, 'hel' + 'lo')") != []
    assert connected.see(f"reachable(p, open({str(file)!r}).read())") == []
    heard = str(connected.heard())
    assert "sk-…0c93" in heard
    for place in (connected.saved(), heard):
        assert token[:-4] not in place
    assert gateway.received[-1].headers["authorization"] == f"Bearer {token}"


def test_a_token_that_is_being_checked_while_the_base_url_changes_is_not_bound_to_the_new_one(
    shared_desk: Desk, token: str, tmp_path: Path
) -> None:
    go = threading.Event()
    with served(_held(create_app(token=token), go)) as first, served(create_app(token=token)) as second:
        shared_desk.sit_down(VN_MAGIC_BASE_URL=first.url, VN_MAGIC_CACHE=str(tmp_path / "cache"))
        shared_desk.enter_token(token)
        until(lambda: first.received)
        shared_desk.type("_connect._base_url", second.url)
        go.set()
        shared_desk.until("p._connect._checking.done()")
        shared_desk.settled()
        assert shared_desk.see("vn_magic.current_session().tokens.origin") is None
        assert shared_desk.see("vn_magic.current_session().find_token() is None") is True
        shared_desk.type("_text._body", "hello")
        shared_desk.run()
        assert shared_desk.trouble().startswith("TokenError: ")
        assert second.received == []


def test_forget_while_a_token_is_being_checked_keeps_none(shared_desk: Desk, token: str, tmp_path: Path) -> None:
    go = threading.Event()
    with served(_held(create_app(token=token), go)) as server:
        shared_desk.sit_down(VN_MAGIC_BASE_URL=server.url, VN_MAGIC_CACHE=str(tmp_path / "cache"))
        shared_desk.enter_token(token)
        until(lambda: server.received)
        shared_desk.click("_connect._forget")
        go.set()
        shared_desk.until("'is forgotten' in p._connect._message.widget.value and p._connect._checking.done()")
        shared_desk.settled()
        assert shared_desk.see("vn_magic.current_session().find_token() is None") is True
        assert "token: none" in shared_desk.said("_connect._status")
