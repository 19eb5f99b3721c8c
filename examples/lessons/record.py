"""Record the lessons' packs by running the lessons, solved.

``python record.py`` makes the packs that lie here, with the stand-in. ``python record.py --gateway`` makes real ones.
The token is looked for where vn_magic always looks ($VECTORNODE_API_KEY, or a file that $VECTORNODE_API_KEY_FILE
names), and the gateway is vn_magic's, too ($VN_MAGIC_BASE_URL, else the vendor's). What is in the cache is not paid for
again.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

HERE = Path(__file__).resolve().parent
LESSONS = sorted(HERE.glob("[0-9]_*.ipynb"))
LICENCE = "MIT, the vn_magic authors"

_SOLUTION = re.compile(r"^## (\w+)\n.*?^```python\n(.*?)\n```$", re.DOTALL | re.MULTILINE)
_USE_PACK = re.compile(r"^%vn pack use .*$", re.MULTILINE)
_REQUIRE_PACK = re.compile(r"^vn_magic\.require\(.*\)$", re.MULTILINE)
# What would answer in the place of whom the recording is asked from.
_OTHERS = ("VN_MAGIC_PACK", "VN_MAGIC_OFFLINE")


def solutions() -> dict[str, str]:
    """Return the source of every exercise's solution, by its name."""
    return dict(_SOLUTION.findall((HERE / "solutions.md").read_text(encoding="utf-8")))


def solved(lesson: Path, answers: Mapping[str, str]) -> nbformat.NotebookNode:
    """Return a lesson with these answers in the cells of its exercises."""
    notebook = nbformat.read(lesson, as_version=4)
    for cell in notebook.cells:
        name = cell.id.removeprefix("answer-").upper()
        if cell.id.startswith("answer-") and name in answers:
            cell.source = answers[name]
    return notebook


def record(lesson: Path, folder: Path, *, gateway: bool, licence: str, environ: Mapping[str, str]) -> str:
    """Run a lesson without its pack, and write a new one into a folder.

    Returns
    -------
    str
        What the new pack says of itself.

    Raises
    ------
    CellExecutionError
        When a cell fails, or a solution does not pass. Then no pack is written.
    """
    notebook = solved(lesson, solutions())
    pack = folder.absolute() / lesson.with_suffix(".vnpack").name
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.source = _USE_PACK.sub("" if gateway else "%vn offline on", cell.source)
            needed = "token=True" if gateway else "offline=True"
            cell.source = _REQUIRE_PACK.sub(f"vn_magic.require({needed})", cell.source)
    notebook.cells.append(nbformat.v4.new_code_cell(f'%vn pack save "{pack.as_posix()}" --licence "{licence}"'))
    env = {name: value for name, value in environ.items() if name not in _OTHERS}
    NotebookClient(notebook, resources={"metadata": {"path": str(lesson.parent)}}).execute(env=env)
    return "\n".join(output.data["text/plain"] for output in notebook.cells[-1].outputs if "data" in output)


def main(arguments: Sequence[str] | None = None) -> int:
    """Record the lessons that are named, or all, and return an exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("lessons", nargs="*", type=int, metavar="LESSON", help="1, 2, 3; all without")
    parser.add_argument("--gateway", action="store_true", help="with a token, from the gateway")
    parser.add_argument("--to", type=Path, default=HERE, metavar="FOLDER", help="for the packs; here without")
    parser.add_argument("--licence", default=LICENCE, help=f"a line for the packs; {LICENCE!r} without")
    options = parser.parse_args(arguments)
    wanted = [lesson for lesson in LESSONS if not options.lessons or int(lesson.name[0]) in options.lessons]
    with tempfile.TemporaryDirectory() as cache:
        # The stand-in costs nothing, and a cache might hold longer vectors than a lesson asks for.
        environ = dict(os.environ) if options.gateway else {**os.environ, "VN_MAGIC_CACHE": cache}
        for lesson in wanted:
            try:
                told = record(lesson, options.to, gateway=options.gateway, licence=options.licence, environ=environ)
            except CellExecutionError as error:
                print(f"{lesson.name}: {error.ename}: {error.evalue}\nNo pack was written for it.", file=sys.stderr)
                return 1
            print(f"{told}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
