"""The machine: who runs on which core, and how to describe it."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version
from pathlib import Path

_TOLD = ("vn_magic", "numpy", "pandas", "aiohttp", "httpx", "msgspec", "ipykernel")


def gateway_cores() -> set[int]:
    """Return the core that the gateway has for itself; none where there is only one."""
    return set(_cores()[1:][-1:])


def client_cores() -> set[int]:
    """Return the cores that the candidates share."""
    return set(_cores()) - gateway_cores()


def _cores() -> list[int]:
    """Return the cores that this process may use: a container may have fewer than the machine."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(os.cpu_count() or 1))


def pin(cores: set[int]) -> None:
    """Keep this process, and those that it starts, on these cores where the system can."""
    if cores and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, cores)


def description() -> str:
    """Return a line about processor, system and versions, for beside the table."""
    versions = ", ".join(f"{name} {version(name)}" for name in _TOLD)
    return (
        f"{_processor()}, {len(_cores())} cores, {platform.system()} {platform.release()}, "
        f"Python {platform.python_version()}, {versions}"
    )


def _processor() -> str:
    path = Path("/proc/cpuinfo")
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()
