"""google-genai as its guide shows it: ``client.models.embed_content``, one text after the other."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from google import genai
from google.genai import types
from numpy.typing import NDArray

from benchmarks.protocol import MODEL, TOKEN, Embed, Job, measured, serve


@contextmanager
def genai_sync(job: Job) -> Iterator[Embed]:
    client = genai.Client(api_key=TOKEN, http_options=types.HttpOptions(base_url=job.base_url))
    config = types.EmbedContentConfig(output_dimensionality=job.dimension)

    def embed(texts: list[str]) -> NDArray[np.float32]:
        answers = (client.models.embed_content(model=MODEL, contents=text, config=config) for text in texts)
        return np.array([answer.embeddings[0].values for answer in answers if answer.embeddings], np.float32)

    yield embed
    client.close()


if __name__ == "__main__":
    serve(measured(genai_sync))
