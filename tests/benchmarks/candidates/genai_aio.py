"""google-genai's best path for single texts: its asynchronous client, over aiohttp, which it takes where installed."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

import aiohttp
import numpy as np
from google import genai
from google.genai import types
from numpy.typing import NDArray

from benchmarks.protocol import MODEL, TOKEN, Embed, Job, measured, serve


async def _embed(client: genai.client.AsyncClient, texts: list[str], job: Job) -> NDArray[np.float32]:
    config = types.EmbedContentConfig(output_dimensionality=job.dimension)
    semaphore = asyncio.Semaphore(job.concurrency)

    async def one(text: str) -> list[float]:
        async with semaphore:
            answer = await client.models.embed_content(model=MODEL, contents=text, config=config)
        [embedding] = answer.embeddings or []
        return embedding.values or []

    return np.array(await asyncio.gather(*map(one, texts)), np.float32)


async def _open(job: Job) -> tuple[aiohttp.ClientSession, genai.Client]:
    session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=job.concurrency))
    return session, genai.Client(
        api_key=TOKEN, http_options=types.HttpOptions(base_url=job.base_url, aiohttp_client=session)
    )


@contextmanager
def genai_aio(job: Job) -> Iterator[Embed]:
    with asyncio.Runner() as runner:
        session, client = runner.run(_open(job))
        yield lambda texts: runner.run(_embed(client.aio, texts, job))
        runner.run(session.close())


if __name__ == "__main__":
    serve(measured(genai_aio))
