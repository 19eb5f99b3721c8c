"""The naive loop: one httpx client, one text after the other."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import numpy as np
from numpy.typing import NDArray

from benchmarks.protocol import MODEL, TOKEN, Embed, Job, measured, serve


@contextmanager
def httpx_loop(job: Job) -> Iterator[Embed]:
    with httpx.Client(base_url=job.base_url, headers={"Authorization": f"Bearer {TOKEN}"}) as client:

        def embed(texts: list[str]) -> NDArray[np.float32]:
            rows = []
            for text in texts:
                body = {"content": {"parts": [{"text": text}]}, "output_dimensionality": job.dimension}
                answer = client.post(f"/v1beta/models/{MODEL}:embedContent", json=body)
                answer.raise_for_status()
                rows.append(answer.json()["embedding"]["values"])
            return np.array(rows, np.float32)

        yield embed


if __name__ == "__main__":
    serve(measured(httpx_loop))
