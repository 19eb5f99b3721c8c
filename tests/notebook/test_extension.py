"""Loading, unloading, reloading: silent, cheap, and taken back whole."""

from __future__ import annotations

import os
from pathlib import Path

from support.gateways import Served
from support.kernels import Kernel, kernel

STATE = """
import threading, json
def state():
    shell = get_ipython()
    return json.dumps({
        "line": sorted(shell.magics_manager.magics["line"]),
        "cell": sorted(shell.magics_manager.magics["cell"]),
        "registry": sorted(shell.magics_manager.registry),
        "configurables": [type(item).__name__ for item in shell.configurables],
        "matchers": len(shell.Completer.custom_matchers),
        "transformers": len(shell.input_transformers_cleanup),
        "threads": sorted(thread.name for thread in threading.enumerate() if "vn_magic" in thread.name),
    })
"""


def _printed(kernel: Kernel, expression: str) -> str:
    return kernel.run(f"print({expression})").stdout.strip()


def test_loading_is_silent_and_touches_neither_disk_nor_widgets_nor_threads(tmp_path: Path) -> None:
    with kernel(environ={**os.environ, "VN_MAGIC_OFFLINE": "1"}) as fresh:
        reply = fresh.run("%load_ext vn_magic")
        assert (reply.stdout, reply.stderr, reply.displays) == ("", "", [])
        assert not (tmp_path / "cache").exists()
        fresh.run("import sys, threading")
        heavy = ("ipywidgets", "anywidget", "starlette", "uvicorn", "matplotlib")
        assert _printed(fresh, f"[name for name in {heavy} if name in sys.modules]") == "[]"
        assert _printed(fresh, "[t.name for t in threading.enumerate() if 'vn_magic' in t.name]") == "[]"


def test_unloading_takes_everything_back() -> None:
    with kernel(environ={**os.environ, "VN_MAGIC_OFFLINE": "1"}) as fresh:
        fresh.run("%load_ext storemagic")  # IPython loads its own extension magics with the first of these lines
        fresh.run(STATE)
        before = _printed(fresh, "state()")
        fresh.run("%load_ext vn_magic")
        assert "x   1 × 768" in fresh.run("%%embed x\nhello\n").card
        assert "vn_magic loop" in _printed(fresh, "state()")
        reply = fresh.run("%unload_ext vn_magic")
        assert (reply.status, reply.stderr) == ("ok", "")
        assert _printed(fresh, "state()") == before


def test_reloading_keeps_settings_and_token_and_is_silent(gateway: Served, token: str) -> None:
    with kernel(environ={**os.environ, "VN_MAGIC_BASE_URL": gateway.url}) as fresh:
        fresh.run("%load_ext vn_magic")
        assert "accepted" in fresh.run("%vn login", stdin=token).card
        fresh.run("%config VnMagic.dimension = 256")
        reply = fresh.run("%reload_ext vn_magic")
        assert (reply.status, reply.stderr) == ("ok", "")
        assert "x   1 × 256" in fresh.run("%%embed x\nhello\n").card


def test_config_shows_where_a_value_came_from(fresh_kernel: Kernel) -> None:
    fresh_kernel.run("%config VnMagic.dimension = 1536")
    fresh_kernel.run("%vn offline")
    lines = {line.split()[0]: line.split() for line in fresh_kernel.run("%vn status").stdout.splitlines() if line}
    assert lines["dimension"] == ["dimension", "1536", "%config"]
    assert lines["offline"] == ["offline", "True", "%vn", "offline"]
    assert lines["model"] == ["model", "gemini-embedding-001", "default"]
    assert "Current: True" in fresh_kernel.run("%config VnMagic").stdout.split("VnMagic.offline=<Bool>")[1][:200]


def test_a_second_login_that_is_refused_leaves_the_first_token(gateway: Served, token: str) -> None:
    with kernel(environ={**os.environ, "VN_MAGIC_BASE_URL": gateway.url}) as fresh:
        fresh.run("%load_ext vn_magic")
        assert "accepted" in fresh.run("%vn login", stdin=token).card
        refused = fresh.run("%vn login", stdin="sk-a-mistyped-token-9")
        assert refused.error[0].startswith("TokenRefusedError: sk-…en-9 for 127.0.0.1")
        assert "x   1 × 768" in fresh.run("%%embed x\nhello\n").card
        fresh.run("%vn logout")
        assert fresh.run("%%embed x\nanother\n").error[0].startswith("TokenError: There is no token")


def test_a_bad_value_in_the_configuration_loads_nothing_and_says_so(tmp_path: Path) -> None:
    profile = tmp_path / "ipython" / "profile_default"
    profile.mkdir(parents=True)
    (profile / "ipython_config.py").write_text("c = get_config()\nc.VnMagic.dimension = -5\n")
    with kernel(environ=dict(os.environ)) as fresh:
        reply = fresh.run("%load_ext vn_magic")
        assert "dimension is -5" in "\n".join(reply.error) + reply.stderr + reply.stdout
        assert fresh.run("%%embed x\nhello\n").stderr.startswith("UsageError: Cell magic `%%embed` not found")


def test_python_finds_the_shells_session_after_unloading_too(fresh_kernel: Kernel) -> None:
    fresh_kernel.run("%vn offline\n%config VnMagic.dimension = 256\n%unload_ext vn_magic")
    assert _printed(fresh_kernel, "__import__('vn_magic').embed(['a'], result='numpy').shape") == "(1, 256)"


def test_a_terminal_waits_for_the_body_of_a_cell_with_the_extension_as_without(fresh_kernel: Kernel) -> None:
    for cell in ("%%embed", "%%embed x", "%%embed x\nhello"):
        assert _printed(fresh_kernel, f"get_ipython().check_complete({cell!r})[0]") == "incomplete"
    assert _printed(fresh_kernel, "get_ipython().check_complete('%%embed x\\nhello\\n\\n')[0]") == "complete"


def test_the_body_of_a_cell_keeps_prompts_and_blanks(fresh_kernel: Kernel) -> None:
    fresh_kernel.run("%vn offline")
    body = ">>> 1 + 1\n... and so on\nIn [3]: x\n   \n  end  \n"
    assert fresh_kernel.run(f"\n%%embed -q x --split cell\n{body}").status == "ok"
    assert _printed(fresh_kernel, "[x.text[0]]") == repr([body.strip("\n")])
