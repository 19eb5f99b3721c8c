"""What a good engineer writes in forty lines: aiohttp, a connector of the right size, msgspec, a row of numpy."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

import aiohttp
import msgspec
import numpy as np
from numpy.typing import NDArray

from benchmarks.protocol import MODEL, TOKEN, Embed, Job, measured, serve


class _Embedding(msgspec.Struct):
    values: list[float]


class _Answer(msgspec.Struct):
    embedding: _Embedding


_decode = msgspec.json.Decoder(_Answer).decode


async def _embed(client: aiohttp.ClientSession, texts: list[str], job: Job) -> NDArray[np.float32]:
    matrix = np.empty((len(texts), job.dimension), np.float32)
    waiting = iter(enumerate(texts))

    async def work() -> None:
        for row, text in waiting:
            body = msgspec.json.encode({"content": {"parts": [{"text": text}]}, "output_dimensionality": job.dimension})
            async with client.post(f"/v1beta/models/{MODEL}:embedContent", data=body) as answer:
                answer.raise_for_status()
                matrix[row] = _decode(await answer.read()).embedding.values

    await asyncio.gather(*(work() for _ in range(job.concurrency)))
    return matrix


async def _open(job: Job) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        job.base_url,
        connector=aiohttp.TCPConnector(limit=job.concurrency),
        headers={"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"},
    )


@contextmanager
def aiohttp_msgspec(job: Job) -> Iterator[Embed]:
    with asyncio.Runner() as runner:
        client = runner.run(_open(job))
        yield lambda texts: runner.run(_embed(client, texts, job))
        runner.run(client.close())


if __name__ == "__main__":
    serve(measured(aiohttp_msgspec))
