"""What most people write: httpx's AsyncClient, gather, and a semaphore."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import numpy as np
from numpy.typing import NDArray

from benchmarks.protocol import MODEL, TOKEN, Embed, Job, measured, serve


async def _embed(client: httpx.AsyncClient, texts: list[str], job: Job) -> NDArray[np.float32]:
    semaphore = asyncio.Semaphore(job.concurrency)

    async def one(text: str) -> list[float]:
        body = {"content": {"parts": [{"text": text}]}, "output_dimensionality": job.dimension}
        async with semaphore:
            answer = await client.post(f"/v1beta/models/{MODEL}:embedContent", json=body)
        answer.raise_for_status()
        values: list[float] = answer.json()["embedding"]["values"]
        return values

    return np.array(await asyncio.gather(*map(one, texts)), np.float32)


@contextmanager
def httpx_gather(job: Job) -> Iterator[Embed]:
    limits = httpx.Limits(max_connections=job.concurrency, max_keepalive_connections=job.concurrency)
    client = httpx.AsyncClient(
        base_url=job.base_url, headers={"Authorization": f"Bearer {TOKEN}"}, limits=limits, timeout=60
    )
    with asyncio.Runner() as runner:
        yield lambda texts: runner.run(_embed(client, texts, job))
        runner.run(client.aclose())


if __name__ == "__main__":
    serve(measured(httpx_gather))
