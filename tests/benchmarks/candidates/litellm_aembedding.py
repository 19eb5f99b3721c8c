"""litellm's ``aembedding`` with a semaphore: its Gemini provider, one text in a request."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from contextlib import contextmanager

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # else it asks the network for prices while it is imported

import litellm
import numpy as np
from numpy.typing import NDArray

from benchmarks.protocol import MODEL, TOKEN, Embed, Job, measured, serve


async def _embed(texts: list[str], job: Job) -> NDArray[np.float32]:
    semaphore = asyncio.Semaphore(job.concurrency)

    async def one(text: str) -> list[float]:
        async with semaphore:
            answer = await litellm.aembedding(
                model=f"gemini/{MODEL}",
                input=text,
                dimensions=job.dimension,
                api_base=f"{job.base_url}/v1beta",
                api_key=TOKEN,
                max_retries=0,
            )
        values: list[float] = answer.data[0]["embedding"]
        return values

    return np.array(await asyncio.gather(*map(one, texts)), np.float32)


@contextmanager
def litellm_aembedding(job: Job) -> Iterator[Embed]:
    with asyncio.Runner() as runner:
        yield lambda texts: runner.run(_embed(texts, job))


if __name__ == "__main__":
    serve(measured(litellm_aembedding))
