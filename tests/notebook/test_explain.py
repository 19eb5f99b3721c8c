"""`%vn explain` in a real kernel and in a terminal's IPython."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import MutableMapping
from pathlib import Path
from typing import Any

import pytest
from support.engine import BAD_TEXT, behind
from support.gateways import Receive, Send, Served, served
from support.hunt import CANARY, MASK, Hunt
from support.kernels import Kernel, kernel

from vn_magic.offline import create_app

QUOTING = f"""\
%%embed poems --on-error keep
roses are red, and {CANARY} is a token
violets are blue
bad
"""


async def _refuse(text: str) -> tuple[int, dict[str, str], bytes] | None:
    return BAD_TEXT if text == "bad" else None


async def _gateway(scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
    """Ask for the canary, and embed all texts but one."""
    app = create_app(token=CANARY)
    await (behind(_refuse, app) if scope["method"] == "POST" else app)(scope, receive, send)


def test_it_tells_of_the_last_cell_without_the_token_and_without_stderr() -> None:
    with (
        served(_gateway) as gateway,
        kernel(environ={**os.environ, "VN_MAGIC_BASE_URL": gateway.url}) as client,
    ):
        client.run("%load_ext vn_magic")
        assert "accepted" in client.run("%vn login", stdin=CANARY).card
        assert client.run(QUOTING).status == "ok"
        replies = [client.run(f"%vn explain {row}") for row in ("", "0", "1", "2")]
    assert {(reply.status, reply.stderr) for reply in replies} == {("ok", "")}
    job, quoting, sent, failed = (reply.stdout for reply in replies)
    assert job.startswith("last job   3 rows: 2 new, 1 failed\n")
    assert job.endswith(failed)
    assert "Row 2 is the first that failed" in job
    assert "it says: not this text" in failed
    assert quoting.startswith(f"row 0      'roses are red, and {MASK} is a token'")
    assert f"its token  $VECTORNODE_API_KEY must hold {MASK}, the one from %vn login.\n" in sent
    assert f"curl -i -X POST {gateway.url}/v1beta/models/gemini-embedding-001:embedContent \\\n" in sent
    assert not Hunt().finds("".join(reply.stdout for reply in replies))


def test_it_tells_of_a_cell_that_stopped(gateway: Served) -> None:
    environ = {**os.environ, "VN_MAGIC_BASE_URL": gateway.url, "VECTORNODE_API_KEY": "sk-not-the-one-1234"}
    with kernel(environ=environ) as client:
        client.run("%load_ext vn_magic")
        assert client.run("%%embed x\none\ntwo\n").error[0].startswith("TokenRefusedError")
        told = client.run("%vn explain").stdout
    assert "It has not come to its end" in told
    assert "came back  HTTP 401, request id " in told
    assert "$VECTORNODE_API_KEY must hold sk-…1234, as it does here." in told


def test_a_query_of_nearest_is_a_job_as_well(shared_kernel: Kernel) -> None:
    shared_kernel.run("%%embed words -d 128\none\ntwo\n")
    shared_kernel.run("words.vec.nearest('three', k=1)")
    assert "row 0      'three' (5 characters)" in shared_kernel.run("%vn explain").stdout


def test_before_the_first_job_it_tells_the_next_step(fresh_kernel: Kernel) -> None:
    assert fresh_kernel.run("%vn explain").error == [
        "InputError: No job has run in this session, so there is nothing to explain.",
        "Next: `%%embed` something.",
    ]


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ("2", "The last job has no row 2: its rows are 0 to 1."),
        ("-1", "The last job has no row -1: its rows are 0 to 1."),
        ("first", "takes the number of a row after it, or nothing, not 'first'."),
        ("0 1", "takes the number of a row after it, or nothing, not '0 1'."),
        ("1.0", "takes the number of a row after it, or nothing, not '1.0'."),
    ],
)
def test_what_is_no_row_is_said_in_two_lines(shared_kernel: Kernel, words: str, why: str) -> None:
    shared_kernel.run("%%embed words\none\ntwo\n")
    reply = shared_kernel.run(f"%vn explain {words}")
    assert why in reply.error[0]
    assert reply.error[1].startswith("Next: `%vn explain")
    assert len(reply.error) == 2


def test_it_tells_its_usage_and_is_completed(shared_kernel: Kernel) -> None:
    assert shared_kernel.run("%vn explain -h").stdout.startswith("%vn explain [ROW]\n")
    assert "%vn explain" in shared_kernel.run("%vn").stdout
    assert shared_kernel.complete("%vn expl") == ["explain"]


def test_a_terminal_shows_it_whatever_its_encoding(tmp_path: Path) -> None:
    script = tmp_path / "cell.ipy"
    script.write_text("%load_ext vn_magic\n%vn offline\nx = %embed ['日本']\n%vn explain\n", encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "IPython", "--colors=NoColor", str(script)],
        env={**os.environ, "PYTHONIOENCODING": "cp1252"},
        capture_output=True,
        check=False,
        timeout=120,
    )
    assert b"\nrow 0      '??' (2 characters)" in done.stdout.replace(b"\r", b"")
    assert b"curl -i -X POST http://127.0.0.1:8787/v1beta" in done.stdout
    assert (done.returncode, done.stderr) == (0, b"")
