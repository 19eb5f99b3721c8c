"""A token that was given to a session is in no environment and in no arguments, its own process's or a child's."""

from __future__ import annotations

import json
import sys
from typing import Any

import pytest
from support.gateways import Served
from support.hunt import CANARY, MASK, Hunt
from support.panels import Desk

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

CHILDREN = {
    "subprocess": "import subprocess, sys\n"
    "child = subprocess.Popen([sys.executable, '-c', 'input()'], stdin=subprocess.PIPE)\n"
    "pid, end = child.pid, lambda: child.communicate(b'\\n')",
    "spawn": "import multiprocessing, time\n"
    "child = multiprocessing.get_context('spawn').Process(target=time.sleep, args=(60,))\n"
    "child.start()\npid, end = child.pid, child.kill",
    "a shell": "import subprocess\n"
    "child = subprocess.Popen('read line', shell=True, stdin=subprocess.PIPE)\n"
    "pid, end = child.pid, child.communicate",
}


@pytest.mark.parametrize("how", CHILDREN)
def test_a_child_of_a_kernel_that_was_logged_in_at_the_prompt_has_no_token(
    logged_in: Any, hunt: Hunt, how: str
) -> None:
    assert logged_in.run(CHILDREN[how]).status == "ok"
    kernel, child = int(logged_in.see("__import__('os').getpid()")), int(logged_in.see("pid"))
    found = hunt.processes(kernel, child)
    logged_in.run("end()")
    assert found == []


# The kernel and its children: other processes of the machine are none of a test's business.
PS = "%%bash\nenv; ps -f -ww -p $PPID --ppid $PPID 2>/dev/null || true"


@pytest.mark.parametrize("cell", ["!env", "%env", PS, "import os; dict(os.environ)"])
def test_the_environment_of_the_kernel_shows_no_token(logged_in: Any, hunt: Hunt, cell: str) -> None:
    reply = logged_in.run(cell)
    assert "VN_MAGIC_BASE_URL" in str(reply.messages)
    assert not hunt.finds(str(reply.messages))


def test_a_token_from_the_panels_field_is_in_no_message_no_widget_and_no_process(
    panel: tuple[Desk, Served], hunt: Hunt
) -> None:
    at, gateway = panel
    at.type("_text._body", "one\ntwo")
    at.run()
    assert gateway.received[-1].headers["authorization"] == f"Bearer {CANARY}"
    for how in ("subprocess", "a shell"):
        assert at.kernel.run(CHILDREN[how]).status == "ok"
        assert hunt.processes(at.see("__import__('os').getpid()"), at.see("pid")) == []
        at.kernel.run("end()")
    for place in (at.saved(), json.dumps(at.heard(), default=str, ensure_ascii=False)):
        assert f"{MASK[-4:]} from panel" in place
        assert not hunt.finds(place)


@pytest.mark.parametrize("pasted", [f'"{CANARY}"', f"Bearer {CANARY}", f"{CANARY}\u200b", "sk-wrong-5e1f0a7b2d"])
def test_a_token_that_the_panel_refuses_is_not_repeated_in_its_message(
    panel: tuple[Desk, Served], hunt: Hunt, pasted: str
) -> None:
    at, _ = panel
    at.enter_token(pasted)
    at.until("'role=\"alert\"' in p._connect._message.widget.value")
    assert "Token" in at.said("_connect._message.widget")
    wrong = Hunt(pasted) if "wrong" in pasted else hunt
    assert not wrong.finds(at.saved())
    assert not wrong.finds(json.dumps(at.heard(), default=str, ensure_ascii=False))
