"""A panel in a real kernel, driven by the messages that a browser sends, with a second client that hears everything."""

from __future__ import annotations

import ast
import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from html.parser import HTMLParser
from queue import Empty
from typing import Any

from support.kernels import Kernel, Reply, kernel
from support.waiting import until

_FRESH = """
import json, os, sys, gc
os.environ.update({environ!r})
for _name in {absent!r}:
    os.environ.pop(_name, None)
%load_ext vn_magic
import vn_magic, ipywidgets, pandas as pd, numpy as np
p = vn_magic.EmbedPanel()
async def _tasks_left():
    import asyncio
    for _ in range(3):  # what has just ended may have begun something else
        await asyncio.sleep(0)
    return len(asyncio.all_tasks()) - 1
"""
_CLEAR = """
if 'ipywidgets' in __import__('sys').modules:
    __import__('ipywidgets').Widget.close_all()
_shell = get_ipython()
if 'vn_magic' in __import__('sys').modules:
    _shell.extension_manager.unload_extension('vn_magic')
    _shell.config.pop('VnMagic', None)  # where %config leaves its values
    _shell.meta.pop(__import__('vn_magic.current').current.SESSION, None)
_shell.reset()
"""


class Desk:
    """A kernel with a panel ``p`` in it, and somebody who types and clicks.

    Parameters
    ----------
    kernel
        Where the panel is. Its client types cells; what a browser would send goes through it too.
    """

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self._other = kernel.manager.client()
        self._other.start_channels(shell=False, stdin=False, hb=False, control=False)  # it listens, and nothing else
        self._heard: list[dict[str, Any]] = []
        deadline = time.monotonic() + 60
        while not self._heard:  # what is published before its subscription has arrived is lost to it
            assert time.monotonic() < deadline, "the second client hears nothing"
            kernel.run("pass")
            with suppress(Empty):
                self._heard.append(self._other.get_iopub_msg(timeout=0.3))

    def close(self) -> None:
        """Leave the kernel."""
        self._other.stop_channels()

    def sit_down(self, **environ: str) -> None:
        """Begin anew: no variables, no widgets, a session and a panel of this environment."""
        self.kernel.run(_CLEAR)
        names = ("VN_MAGIC_BASE_URL", "VECTORNODE_API_KEY", "VN_MAGIC_OFFLINE", "VN_MAGIC_PACK")
        absent = [name for name in names if name not in environ]
        reply = self.kernel.run(_FRESH.format(environ=environ, absent=absent))
        assert (reply.status, reply.stderr) == ("ok", ""), reply.error or reply.stderr
        self.heard()
        self._heard.clear()

    def see(self, expression: str) -> Any:
        """Return the value of an expression in the kernel, by JSON. No hook of a cell hears of it."""
        message = self.kernel.client.execute(
            "",
            silent=True,
            store_history=False,
            user_expressions={"seen": f"__import__('json').dumps({expression}, default=repr)"},
        )
        answer = self._answer(message)["user_expressions"]["seen"]
        assert answer["status"] == "ok", answer
        return json.loads(ast.literal_eval(answer["data"]["text/plain"]))

    def until(self, expression: str) -> None:
        """Wait until an expression is true in the kernel."""
        until(lambda: self.see(expression), expression)

    def click(self, button: str) -> Reply:
        """Click a button, e.g. ``_runner._run``."""
        return self.finish(self.send(button, {"method": "custom", "content": {"event": "click"}}))

    def type(self, field: str, value: object) -> Reply:
        """Give a field a value, as the browser does when somebody has typed it."""
        return self.finish(self.send(field, _update(value=value)))

    def choose(self, field: str, label: str) -> Reply:
        """Choose an option of a drop-down or of radio buttons by its label."""
        options = self.see(f"list(p.{field}._options_labels)")
        return self.finish(self.send(field, _update(index=options.index(label))))

    def ask(self, question: str) -> Reply:
        """Type a question and press Enter; the browser tells of the key first, then of the text."""
        field = "_results._neighbours._query"
        enter = self.prepared(field, {"method": "custom", "content": {"event": "submit"}})
        text = self.prepared(field, _update(value=question))
        for sent in [self.post(message) for message in (enter, text)]:  # with nothing in between, as a browser's
            reply = self.finish(sent)
        return reply

    def enter_token(self, token: str, origin: str | None = None) -> Reply:
        """Use a token; the field shows the origin that it is for."""
        origin = self.see("p._connect._token.origin") if origin is None else origin
        content = {"token": token, "origin": origin}
        return self.finish(self.send("_connect._token", {"method": "custom", "content": content}))

    def send(self, widget: str, data: Mapping[str, Any]) -> str:
        """Send a widget's message and return its id at once."""
        return self.post(self.prepared(widget, data))

    def prepared(self, widget: str, data: Mapping[str, Any], **header: str) -> dict[str, Any]:
        """Return a widget's message, which may be sent while a cell runs."""
        content = {"comm_id": self.see(f"p.{widget}.model_id"), "data": dict(data)}
        message: dict[str, Any] = self.kernel.client.session.msg("comm_msg", content)
        message["header"].update(header)
        return message

    def post(self, message: dict[str, Any]) -> str:
        """Send a prepared message and return its id at once."""
        self.kernel.client.shell_channel.send(message)
        sent: str = message["header"]["msg_id"]
        return sent

    def finish(self, message_id: str, seconds: float = 60.0) -> Reply:
        """Wait until the kernel has dealt with a message that has no answer; return what it said meanwhile."""
        reply = Reply("ok")
        deadline = time.monotonic() + seconds
        while True:
            message = self.kernel.client.get_iopub_msg(timeout=max(0.1, deadline - time.monotonic()))
            if message["parent_header"].get("msg_id") != message_id:
                continue
            reply.messages.append(message)
            if message["msg_type"] == "status" and message["content"]["execution_state"] == "idle":
                return reply

    def run(self, *, clicks: int = 1) -> None:
        """Click Run and wait for the end of the job."""
        for _ in range(clicks):
            self.click("_runner._run")
        self.done()

    def done(self) -> None:
        """Wait until no job runs."""
        self.until("not p._runner._running")

    def settled(self) -> None:
        """Wait until the session's loop has nothing left to do: all that was begun is done and shown."""
        self.until("vn_magic.current_session().runtime.portal.run(_tasks_left()) == 0")

    def said(self, part: str) -> str:
        """Return the text of a message or note of the panel, without its HTML."""
        html: str = self.see(f"p.{part}.value")
        return "\n".join(line for line in _without_tags(html).splitlines() if line)

    def trouble(self) -> str:
        """Return the lines of an error that the runner shows."""
        return self.said("_tasks.message.widget") if "vn-error" in self.see("p._tasks.message.widget.value") else ""

    def heard(self) -> list[dict[str, Any]]:
        """Return all that a second client of the kernel has heard since the beginning.

        The end is marked by a question: what the kernel published before its answer has arrived before it.
        """
        question = self.kernel.client.execute("", silent=True, store_history=False)
        self._answer(question)
        while True:
            message = self._other.get_iopub_msg(timeout=60)
            self._heard.append(message)
            of_question = message["parent_header"].get("msg_id") == question and message["msg_type"] == "status"
            if of_question and message["content"]["execution_state"] == "idle":
                return list(self._heard)

    def outputs(self) -> list[dict[str, Any]]:
        """Return what would stand below some cell, whoever wrote it."""
        kinds = ("stream", "error", "display_data", "execute_result")
        return [message["content"] for message in self.heard() if message["msg_type"] in kinds]

    def record(self) -> dict[str, str]:
        """Return the panel's record as it stands below the panel's cell after all updates."""
        shown: dict[str, dict[str, str]] = {}
        for message in self.heard():
            if message["msg_type"] in ("display_data", "update_display_data"):
                content = message["content"]
                shown[content["transient"].get("display_id", "")] = content["data"]
        [record] = [data for name, data in shown.items() if name.startswith("vn-record-")]
        return record

    def saved(self) -> str:
        """Return the state of all widgets, as a notebook saves it."""
        state: str = self.see("__import__('json').dumps(ipywidgets.Widget.get_manager_state()['state'], default=repr)")
        return state

    def _answer(self, message_id: str) -> dict[str, Any]:
        while True:
            answer = self.kernel.client.get_shell_msg(timeout=60)
            if answer["parent_header"].get("msg_id") == message_id:
                content: dict[str, Any] = answer["content"]
                return content


@contextmanager
def desk(environ: dict[str, str]) -> Iterator[Desk]:
    """Start a kernel for panels and end it."""
    with kernel(environ=environ) as started:
        desk = Desk(started)
        try:
            yield desk
        finally:
            desk.close()


def _update(**state: object) -> dict[str, Any]:
    return {"method": "update", "state": state, "buffer_paths": []}


def _without_tags(html: str) -> str:
    lines: list[str] = []

    class _Text(HTMLParser):
        def handle_starttag(self, tag: str, _attributes: object) -> None:
            if tag == "div":
                lines.append("")

        def handle_data(self, data: str) -> None:
            lines[-1:] = [(lines[-1] if lines else "") + data]

    _Text().feed(html)
    return "\n".join(lines)
