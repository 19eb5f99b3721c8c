"""The teacher's side: the lesson is run with a token, against a gateway, and recorded."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from support.kernels import kernel
from support.serving import Serving

from graders.lesson import CELLS, DIGESTS, LOAD, PACK, QUESTIONS, SHOWING

TOKEN = "sk-canary-64b0c7d92e"


@dataclass(frozen=True)
class Recorded:
    """A pack, and what the cell of digests printed when it was made."""

    pack: Path
    digests: str


def record(folder: Path) -> Recorded:
    """Run all of the lesson with a token in a fresh kernel, and save its pack into the folder."""
    serving = Serving({"VECTORNODE_API_KEY": TOKEN})
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("VECTOR", "VN_MAGIC"))}
    environ |= {
        "VECTORNODE_API_KEY": TOKEN,
        "VN_MAGIC_BASE_URL": serving.exported("VN_MAGIC_BASE_URL"),
        "VN_MAGIC_CACHE": str(folder / "cache"),
        "IPYTHONDIR": str(folder / "ipython"),
    }
    answers = [cell for question in QUESTIONS for cell in (question.right, question.check)]
    printed = {}
    try:
        with kernel(environ=environ) as teacher:
            for cell in (LOAD, *CELLS, *answers, *SHOWING, f"%vn pack save {folder / PACK}"):
                reply = teacher.run(cell)
                assert reply.status == "ok", (cell, reply.error)
                printed[cell] = reply.stdout
    finally:
        serving.close()
    return Recorded(folder / PACK, printed[DIGESTS])
