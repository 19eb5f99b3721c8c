"""Who is measured, under which load, with how many texts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import ceil

OURS = "vn_magic"


@dataclass(frozen=True)
class Load:
    """What all candidates are put through: the gateway's latency, the size of a vector, requests under way at once."""

    name: str
    latency: int  # milliseconds
    dimension: int
    workers: int

    def ideal_wall(self, texts: int) -> float:
        """Return the seconds that the network alone takes: a text a request, all workers always waiting."""
        return ceil(texts / self.workers) * self.latency / 1000


ZERO_768 = Load("no latency, 768 values, 64 workers", 0, 768, 64)
ZERO_3072 = Load("no latency, 3072 values, 64 workers", 0, 3072, 64)
SLOW_64 = Load("100 ms latency, 768 values, 64 workers", 100, 768, 64)
SLOW_128 = Load("100 ms latency, 768 values, 128 workers", 100, 768, 128)
LOADS = (ZERO_768, ZERO_3072, SLOW_64, SLOW_128)


@dataclass(frozen=True)
class Candidate:
    """One row of the tables.

    Parameters
    ----------
    name
        What the row is called.
    command
        The module below ``benchmarks.candidates`` and its argument.
    texts
        How many texts it gets under each load that it takes part in. Slow ones get fewer: figures are per text.
    environment
        The requirements file beside the candidates, without its ending; empty for the one that the harness runs in.
    batched
        Whether it sends many texts in a request; one that says so and does not has failed.
    """

    name: str
    command: str
    texts: Mapping[Load, int] = field(default_factory=dict)
    environment: str = ""
    batched: bool = False


def _full(zero_768: int = 0, zero_3072: int = 0, slow_64: int = 0, slow_128: int = 0) -> Mapping[Load, int]:
    counts = (zero_768, zero_3072, slow_64, slow_128)
    return {load: count for load, count in zip(LOADS, counts, strict=True) if count}


COLD = "vn_magic, empty cache"
WARM = "vn_magic, full cache"
KERNEL = "vn_magic, %embed in a kernel"
BATCHES = "vn_magic, batches of 100"
FLOOR = "raw sockets (the floor)"
BY_HAND = "aiohttp + msgspec by hand"
HTTPX_LOOP = "httpx, a loop"
HTTPX_GATHER = "httpx, gather + semaphore"
GENAI = "google-genai, a loop"
GENAI_AIO = "google-genai aio, gather"
LITELLM = "litellm aembedding, gather"
LANGCHAIN = "langchain, batches of 100"

CANDIDATES = (
    Candidate(OURS, "engine none", _full(1600, 1000, 1920, 1920)),
    Candidate(COLD, "engine cold", _full(1600, 0, 1920, 0)),
    Candidate(WARM, "engine warm", _full(1600, 0, 0, 0)),
    Candidate(KERNEL, "kernel", _full(1600, 0, 1920, 1920)),
    Candidate(BATCHES, "engine batches", _full(1600, 1000, 1920, 0), batched=True),
    Candidate(FLOOR, "raw_sockets", _full(1600, 1000, 1920, 1920)),
    Candidate(BY_HAND, "aiohttp_msgspec", _full(1600, 1000, 1920, 1920)),
    Candidate(HTTPX_LOOP, "httpx_loop", _full(300, 128, 20, 0), "httpx"),
    Candidate(HTTPX_GATHER, "httpx_gather", _full(640, 128, 384, 0), "httpx"),
    Candidate(GENAI, "genai_sync", _full(300, 128, 20, 0), "google-genai"),
    Candidate(GENAI_AIO, "genai_aio", _full(640, 256, 640, 0), "google-genai"),
    Candidate(LITELLM, "litellm_aembedding", _full(448, 192, 640, 0), "litellm"),
    Candidate(LANGCHAIN, "langchain_batches", _full(1600, 500, 1920, 0), "langchain", batched=True),
)
