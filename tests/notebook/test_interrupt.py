"""Stop, and kill -9, in the middle of a job: finished rows are kept, nothing is sent afterwards."""

from __future__ import annotations

import os

from support.gateways import Served
from support.kernels import kernel
from support.waiting import until

ROWS = 2000
JOB = f"%embed -o df --dim 128 --concurrency 8 [f'text {{i}}' for i in range({ROWS})]"


def _environ(gateway: Served, token: str) -> dict[str, str]:
    return {**os.environ, "VN_MAGIC_BASE_URL": gateway.url, "VECTORNODE_API_KEY": token}


def _paid_twice(gateway: Served) -> int:
    return len(gateway.texts) - len(set(gateway.texts))


def test_stop_returns_the_prompt_sends_nothing_more_and_the_next_run_pays_for_the_rest(
    gateway: Served, token: str
) -> None:
    with kernel(environ=_environ(gateway, token)) as client:
        client.run("%load_ext vn_magic")
        running = client.start(JOB)
        until(lambda: len(gateway.received) >= 300)
        client.manager.interrupt_kernel()
        reply = client.finish(running)
        at_the_prompt = len(gateway.received)
        assert reply.status == "error"
        assert reply.error[0].startswith("EmbeddingInterruptedError: Stopped.")
        assert len(reply.error) == 1
        assert reply.stderr == ""
        assert "stopped at" in reply.card
        assert client.run("'df' in globals()").result == {"text/plain": "False"}
        # What was on its way at the stop may arrive after it. A job that went on would send hundreds by now.
        assert at_the_prompt <= len(gateway.received) <= at_the_prompt + 8 < ROWS
        again = client.run(JOB)
        assert again.status == "ok"
        # What was on its way at the stop is all that may be paid for twice.
        assert _paid_twice(gateway) <= 8
        assert len(set(gateway.texts)) == ROWS
        assert client.run("df.vec.matrix.shape").result == {"text/plain": f"({ROWS}, 128)"}


def test_kill_loses_no_committed_row(gateway: Served, token: str) -> None:
    with kernel(environ=_environ(gateway, token)) as client:
        client.run("%load_ext vn_magic")
        client.start(JOB)
        until(lambda: len(gateway.received) >= 300)
        client.manager.provisioner.process.kill()
        until(lambda: client.manager.provisioner.process.poll() is not None)
    sent = len(gateway.received)
    with kernel(environ=_environ(gateway, token)) as client:
        client.run("%load_ext vn_magic")
        assert client.run(JOB).status == "ok"
    assert sent < ROWS
    # Rows in flight (8) and rows not yet committed (at most 64) may be paid for again.
    assert _paid_twice(gateway) <= 8 + 64
    assert len(set(gateway.texts)) == ROWS


def test_a_cell_can_be_run_after_a_stop_as_if_nothing_had_been(gateway: Served, token: str) -> None:
    with kernel(environ=_environ(gateway, token)) as client:
        client.run("%load_ext vn_magic")
        running = client.start(JOB)
        until(lambda: len(gateway.received) >= 50)
        client.manager.interrupt_kernel()
        client.finish(running)
        reply = client.run("%%embed small --dim 128\none line\n")
        assert "small   1 × 128" in reply.card


def test_progress_is_one_display_that_ends_as_the_card(gateway: Served, token: str) -> None:
    with kernel(environ=_environ(gateway, token)) as client:
        client.run("%load_ext vn_magic")
        reply = client.run(JOB)
        kinds = [message["msg_type"] for message in reply.messages]
        assert kinds.count("display_data") == 1
        assert kinds.count("update_display_data") >= 1
        assert len(reply.displays) == 1
        assert f"df   {ROWS:,} × 128" in reply.card
        assert reply.stdout == reply.stderr == ""


def test_stop_reaches_a_cell_that_awaits_and_nothing_more_is_sent(gateway: Served, token: str) -> None:
    with kernel(environ=_environ(gateway, token)) as client:
        client.run("%load_ext vn_magic\nimport vn_magic")
        running = client.start(
            f"await vn_magic.aembed([f'text {{i}}' for i in range({ROWS})], dimension=128, concurrency=8)"
        )
        until(lambda: len(gateway.received) >= 100)
        client.manager.interrupt_kernel()
        assert client.finish(running).status == "error"
        at_the_prompt = len(gateway.received)
        client.run("vn_magic.current_session().runtime.cache.info()")
        # The job is cancelled through its loop; what is on its way when that happens may still arrive.
        assert len(gateway.received) - at_the_prompt <= 8
        assert len(gateway.received) < ROWS
