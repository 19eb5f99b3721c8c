"""A token that was given to a notebook's session stays in its process: nothing of Dask has it, and no worker."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.gateways import answering, json_answer, served
from support.hunt import CANARY, Hunt

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

START = """
import os, pathlib, pickle, urllib.request
import cloudpickle, dask, dask.dataframe as dd, pandas as pd
from distributed import Client, LocalCluster
found = pathlib.Path("found")
found.mkdir()
dask.config.set({"temporary-directory": str(pathlib.Path.cwd() / "scratch")})
cluster = LocalCluster(n_workers=2, threads_per_worker=1, host="127.0.0.1", dashboard_address="127.0.0.1:0")
client = Client(cluster)
rows = dd.from_pandas(pd.DataFrame({"text": [f"text {n}" for n in range(8)]}), npartitions=4)
"""
EMBED = "lazy = vn_magic.embed(rows.text, dimension=128)\nmatrix = %embed --as numpy --dim 128 rows.text"
# What there is to be seen of a collection, by the name of the file that it is written into.
COLLECTION = """
for name, one in {"frame": lazy, "array": matrix}.items():
    (found / f"{name}.cloudpickle").write_bytes(cloudpickle.dumps(one))
    (found / f"{name}.graph").write_bytes(cloudpickle.dumps(dict(one.__dask_graph__())))
    (found / f"{name}.keys").write_text(repr(list(one.__dask_keys__())))
    (found / f"{name}.text").write_text(f"{one!r} {one} {dict(one.__dask_graph__())!r}")
    (found / f"{name}.html").write_text(one._repr_html_())
"""
# And of a cluster.
CLUSTER = """
(found / "logs.txt").write_text(repr([client.get_worker_logs(), client.get_scheduler_logs(), cluster.get_logs()]))
(found / "events.txt").write_text(repr([client.get_events(), client.get_task_stream(), client.call_stack()]))
client.dump_cluster_state(str(found / "state"), format="yaml")
pages = ["info/main/workers", "info/main/logs", "info/main/exceptions"]
for address in client.nthreads():
    pages += [f"info/{what}/{urllib.parse.quote(address, safe='')}" for what in ("worker", "logs", "call-stacks")]
for task in client.run_on_scheduler(lambda dask_scheduler: list(map(str, dask_scheduler.tasks))):
    pages.append(f"info/task/{urllib.parse.quote(task, safe='')}")
server = client.dashboard_link.removesuffix("status")
for number, page in enumerate(pages):
    (found / f"page {number}.html").write_bytes(urllib.request.urlopen(f"{server}{page}.html").read())
(found / "repr.html").write_text(client._repr_html_() + cluster._repr_html_() + repr([client, cluster]))
processes = list(client.run(os.getpid).values()) + list(client.run(os.getppid).values())
"""


@pytest.fixture(scope="module")
def clustered(logged_in: Any) -> Iterator[Any]:
    """A kernel that is logged in, with a cluster of two worker processes that were started from it."""
    assert logged_in.run(START).status == "ok"
    yield logged_in
    assert logged_in.run("client.close(); cluster.close()").status == "ok"


def seen(clustered: Any, cell: str) -> str:
    """Have a cell write what it sees below ``found``, and return all of it."""
    reply = clustered.run("for file in found.iterdir(): file.unlink()", cell)
    assert reply.status == "ok", reply.error
    files = [path for path in (clustered.folder / "found").iterdir() if path.is_file()]
    return "\n".join(path.read_bytes().decode("utf-8", "replace") for path in files)


def test_no_form_of_a_collection_has_the_token_which_works_in_its_own_process_alone(clustered: Any, hunt: Hunt) -> None:
    before = len(clustered.gateway.received)
    assert clustered.run(EMBED, "lazy.compute(scheduler='threads')").status == "ok"
    computed = clustered.gateway.received[before:]
    assert {request.headers["authorization"] for request in computed} == {f"Bearer {CANARY}"}
    told = seen(clustered, COLLECTION)
    assert "embed_partition" in told
    assert clustered.gateway.url in told, "the graph says whom to ask"
    assert hunt.files(clustered.folder) == []


def test_a_cluster_is_asked_in_vain_and_nowhere_in_it_is_the_token(clustered: Any, hunt: Hunt) -> None:
    before = len(clustered.gateway.received)
    reply = clustered.run(EMBED, "computing = client.persist(lazy)", "lazy.compute()")
    assert len(reply.error) == 3
    assert "set VECTORNODE_API_KEY, or VECTORNODE_API_KEY_FILE, in the environment of the workers" in reply.error[1]
    assert "\nDask: 1 machine, 2 workers; no requests_per_minute\n" in clustered.run("%vn status").stdout
    told = seen(clustered, CLUSTER)
    assert "Compute Failed" in told
    assert "There is no token for 127.0.0.1" in told
    assert len(clustered.gateway.received) == before
    assert hunt.files(clustered.folder) == []
    assert (clustered.folder / "scratch").is_dir()
    processes = [int(number) for number in json.loads(clustered.see("processes"))]
    assert len(processes) == 4
    assert hunt.processes(*processes) == []
    assert not hunt.finds(json.dumps(clustered.said, default=str, ensure_ascii=False))


def test_a_token_of_the_workers_own_is_in_no_error_and_no_log_of_theirs(
    clustered: Any, hunt: Hunt, tmp_path: Path
) -> None:
    (tmp_path / "token").write_text(CANARY)
    repeats = json_answer({"error": {"message": f"Invalid token {CANARY}", "type": "new_api_error", "code": ""}}, 401)
    with served(answering(repeats)) as refusing:
        clustered.run(
            f"client.run(lambda: os.environ.update(VECTORNODE_API_KEY_FILE={str(tmp_path / 'token')!r}))",
            f"%config VnMagic.base_url = {refusing.url!r}",
            EMBED,
        )
        reply = clustered.run("lazy.compute()")
        told = seen(clustered, CLUSTER)
        clustered.run(
            "client.run(lambda: os.environ.pop('VECTORNODE_API_KEY_FILE'))",
            f"%config VnMagic.base_url = {clustered.gateway.url!r}",
        )
        assert refusing.received[-1].headers["authorization"] == f"Bearer {CANARY}"
    assert "The gateway refused the token" in reply.error[0]
    assert "The gateway refused the token" in told
    assert hunt.files(clustered.folder) == []
    assert not hunt.finds(json.dumps(clustered.said, default=str, ensure_ascii=False))
