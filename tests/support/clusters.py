"""Real clusters of Dask: worker processes on loopback that count their rate by a short window."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import dask
from distributed import Client, LocalCluster, Worker, WorkerPlugin

import vn_magic.gateway.client as behind


class ShortWindow(WorkerPlugin):
    """Has the clients of a worker process count their rate by so many seconds; of one that is started anew, too."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def setup(self, worker: Worker) -> None:  # noqa: ARG002 - as it is called
        behind.GatewayClient = partial(behind.GatewayClient, window=self._seconds)  # type: ignore[misc]


@contextmanager
def cluster(folder: Path, environ: Mapping[str, str], *, window: float) -> Iterator[Client]:
    """Start two worker processes of one thread each, and a client for them.

    Parameters
    ----------
    folder
        Where they keep their files.
    environ
        What is added to their environment.
    window
        See `ShortWindow`.
    """
    with (
        dask.config.set({"temporary-directory": str(folder), "distributed.scheduler.allowed-failures": 3}),
        LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",
            env=dict(environ),
            silence_logs=logging.CRITICAL,  # errors are expected, and asserted where they arrive
        ) as workers,
        Client(workers) as client,
    ):
        client.register_plugin(ShortWindow(window))
        yield client
