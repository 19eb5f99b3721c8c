"""Ten thousand rows through a gateway that spoils a fifth of its answers: nothing wrong, nothing lost, nothing left."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from support.engine import python

from faults.answers import spoiling, vector_of
from faults.gateway import fault_gateway
from faults.jobs import TOKEN

ROWS = 10_000
DIMENSION = 768
SHARE = 0.2
# The draw depends on it, the text and the attempt alone. With this one no text is spoilt eight times running.
SEED = 20260516

# Alone in its process: what it needs of memory is the client's, and what it leaves behind is too.
CLIENT = """
import asyncio, gc, json, random, resource, sys, threading
import numpy as np
from vn_magic import Session
from vn_magic.exceptions import VnMagicError

base_url, token, rows, dimension, seed, path = sys.argv[1:]
texts = [f"row number {number}" for number in range(int(rows))]
random.Random(seed).shuffle(texts)
warm = Session(offline=True)
warm.embed(["pandas, the loop and the cache are loaded now"])
warm.close()

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)

before = peak()
session = Session(base_url=base_url, token=token)
session.configure("request_timeout", 0.5, "this test")
try:
    matrix = session.embed(texts, dimension=int(dimension), result="numpy")
except VnMagicError as error:
    sys.exit(f"{type(error).__name__}: {error}")
needed = peak() - before
session.close()
np.save(path, matrix)
gc.collect()
print(json.dumps({
    "texts": texts,
    "needed": needed,
    "threads": [thread.name for thread in threading.enumerate() if thread is not threading.main_thread()],
    "tasks": [repr(item) for item in gc.get_objects() if isinstance(item, asyncio.Task)],
}))
"""


def test_ten_thousand_rows_come_back_right_through_a_gateway_that_spoils_a_fifth_of_its_answers(tmp_path: Path) -> None:
    path = tmp_path / "matrix.npy"
    with fault_gateway(spoiling(SEED, SHARE)) as gateway:
        arguments = (gateway.base_url, TOKEN, str(ROWS), str(DIMENSION), str(SEED), str(path))
        with python(CLIENT, *arguments) as client:
            try:
                out, err = client.communicate(timeout=900)
            finally:
                client.kill()
    assert (client.returncode, err) == (0, "")
    left = json.loads(out)
    texts, matrix = left["texts"], np.load(path)

    assert (matrix.shape, matrix.dtype) == ((ROWS, DIMENSION), np.float32)
    for row, text in enumerate(texts):
        np.testing.assert_allclose(matrix[row], vector_of(text, DIMENSION), rtol=0, atol=1e-6, err_msg=f"row {row}")

    assert set(gateway.texts) == set(texts)
    spoilt = len(gateway.received) - ROWS
    assert spoilt > 0.8 * ROWS * SHARE  # it was not an easy day
    assert len(gateway.received) / ROWS < 1.6

    assert left["needed"] < 1.5 * matrix.nbytes + 150e6
    assert (left["threads"], left["tasks"]) == ([], [])
