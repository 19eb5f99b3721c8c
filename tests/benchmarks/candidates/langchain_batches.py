"""langchain-google-genai's ``embed_documents``: batches of 100, one after the other."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from langchain_google_genai import GoogleGenerativeAIEmbeddings

from benchmarks.protocol import MODEL, TOKEN, Embed, Job, measured, serve


@contextmanager
def langchain_batches(job: Job) -> Iterator[Embed]:
    client = GoogleGenerativeAIEmbeddings(
        model=MODEL, google_api_key=TOKEN, base_url=job.base_url, output_dimensionality=job.dimension
    )
    yield lambda texts: np.array(client.embed_documents(texts, task_type="SEMANTIC_SIMILARITY"), np.float32)


if __name__ == "__main__":
    serve(measured(langchain_batches))
