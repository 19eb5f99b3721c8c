"""From a fresh process with pandas and httpx imported: loading the extension, then the first cell, offline."""

from __future__ import annotations

import json
import sys
import time
from typing import Any

from IPython.core.interactiveshell import InteractiveShell

CELL = "roses are red\nviolets are blue\nsugar is sweet"


def main() -> None:
    shell: Any = InteractiveShell.instance()
    import asyncio  # noqa: F401, PLC0415 - as in every shell that people use; this bare one alone has not

    start = time.perf_counter()
    import httpx  # noqa: F401, PLC0415 - what is measured
    import pandas as pd  # noqa: F401, PLC0415 - what is measured

    libraries = time.perf_counter()
    shell.run_line_magic("load_ext", "vn_magic")
    loaded = time.perf_counter()
    shell.run_line_magic("vn", "offline on")
    shell.run_cell(f"%%embed poems\n{CELL}")
    embedded = time.perf_counter()
    if len(shell.user_ns["poems"]) != 3:
        raise SystemExit("no three rows")
    figures = {"libraries": libraries - start, "load_ext": loaded - libraries, "first_cell": embedded - loaded}
    sys.stdout.write(json.dumps(figures) + "\n")


if __name__ == "__main__":
    main()
