"""A lesson, recorded with a token at `vn-magic serve`, is run again without either: byte for byte, and in silence."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from support.hunt import Hunt
from support.serving import Serving

# A cell that shows the bits of what the others have bound.
BITS = """
from hashlib import sha256
{name: sha256(value.tobytes() if hasattr(value, "tobytes") else value.vec.matrix.tobytes()).hexdigest()
 for name, value in dict(poems=poems, docs=docs, raw=raw, short=short, long=long, called=called, kept=kept).items()}
"""
LESSON = (
    "%load_ext vn_magic\nimport pandas as pd, vn_magic",
    "%%embed poems --dim 256\nroses are red\nviolets are blue\nroses are red\nsugar is sweet\n",
    "frame = pd.DataFrame({'n': [3, 1, 2], 'body': ['über alles', '猫が眠い', 'roses are red']}, index=list('xyz'))",
    "docs = %embed -c body -t RETRIEVAL_DOCUMENT --title Flowers -d 384 frame",
    "%%embed raw --as numpy --raw -d 512\nroses are red\nviolets are blue\n",
    "short = %embed -d 128 poems.text",
    "%%embed long -d 3072 --split paragraphs\nroses are red\nviolets are blue\n\nsugar is sweet\n",
    "called = await vn_magic.aembed(['sugar is sweet', 'and so are you'], task_type='CLUSTERING', result='numpy')",
    "kept = vn_magic.embed(['roses are red', None], dimension=256, on_error='keep')",
    "docs.vec.nearest('which flower is red?', k=2)",
    '%vn nearest poems "flowers that are blue" -k 2',
    "poems.vec.similarity()",
    "docs.vec.provenance",
    BITS,
)
SAVE = '%vn pack save lesson.vnpack --licence "CC BY 4.0, A. Teacher"'


@dataclass(frozen=True)
class Recorded:
    """A lesson that a teacher has run: its notebook, the pack, and the token that was used."""

    notebook: Any
    pack: Path
    token: str


def executed(cells: Sequence[str], folder: Path, environ: Mapping[str, str]) -> Any:
    """Run cells in a kernel of their own, as `jupyter execute` does, and return the notebook."""
    folder.mkdir(parents=True, exist_ok=True)
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("VECTOR", "VN_MAGIC"))}
    own = {"VN_MAGIC_CACHE": str(folder / "cache"), "IPYTHONDIR": str(folder / "ipython")}
    client = NotebookClient(notebook, timeout=120, kernel_name="python3", resources={"metadata": {"path": str(folder)}})
    client.execute(env=clean | own | dict(environ))
    return notebook


def shown(notebook: Any) -> list[list[str]]:
    """Return all that is seen of a notebook, except for its cards, which say who answered and how long it took."""
    return [
        [
            output["data"]["text/plain"]
            for output in cell.outputs
            if output.output_type != "stream" and not _is_card(output)
        ]
        for cell in notebook.cells
    ]


def _is_card(output: Any) -> bool:
    return output.output_type == "display_data" and "font-size:90%" in output["data"].get("text/html", "")


def stderr(notebook: Any) -> str:
    return "".join(
        output.text
        for cell in notebook.cells
        for output in cell.outputs
        if output.output_type == "stream" and output.name == "stderr"
    )


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    folder = tmp_path_factory.mktemp("teacher")
    server = Serving({})
    try:
        names = ("VN_MAGIC_BASE_URL", "VECTORNODE_API_KEY")
        environ = {name: server.exported(name) for name in names}
        notebook = executed([*LESSON, SAVE], folder, environ)
        status, _, errors = server.stop(signal.SIGTERM)
        assert (status, errors, stderr(notebook)) == (0, "", "")
    finally:
        server.close()
    # The server is gone from here on.
    return Recorded(notebook, folder / "lesson.vnpack", environ["VECTORNODE_API_KEY"])


STRICT = "%vn pack use lesson.vnpack --strict"


@pytest.mark.parametrize("how", ["by the environment", "by its first cell"])
def test_a_recorded_notebook_replays_without_token_and_server_byte_for_byte(
    recorded: Recorded, tmp_path: Path, how: str
) -> None:
    folder = tmp_path / "student"
    folder.mkdir()
    (folder / "lesson.vnpack").write_bytes(recorded.pack.read_bytes())
    first, *others = LESSON
    cells = [first, *([STRICT] if how == "by its first cell" else []), *others]
    # Whoever sent anything would hear that nobody is there, and whoever cached anything that there is no room.
    (folder / "cache").write_text("in the way", encoding="utf-8")
    environ = {"VN_MAGIC_BASE_URL": "http://127.0.0.1:9"}
    if how == "by the environment":
        environ["VN_MAGIC_PACK"] = "lesson.vnpack"
    notebook = executed(cells, folder, environ)
    assert stderr(notebook) == ""
    replayed = shown(notebook)
    if how == "by its first cell":
        assert replayed.pop(1) == []
    assert replayed == shown(recorded.notebook)[: len(LESSON)]
    assert len(replayed[-1][0].splitlines()) == 7
    assert (folder / "cache").read_text(encoding="utf-8") == "in the way"
    cards = [output["data"]["text/plain"] for cell in notebook.cells for output in cell.outputs if _is_card(output)]
    answered = [card for card in cards if " new, " in card]
    assert len(answered) == 5
    assert all("0 new, 0 from cache" in card and "from pack" in card for card in answered)


def test_what_a_student_types_otherwise_is_refused_kindly_and_the_notebook_stops(
    recorded: Recorded, tmp_path: Path
) -> None:
    environ = {"VN_MAGIC_PACK": str(recorded.pack)}
    cells = [LESSON[0], "%%embed poems --dim 256\nroses are red\nviolets are bleu\n", "1 / 0"]
    with pytest.raises(CellExecutionError) as caught:
        executed(cells, tmp_path / "student", environ)
    assert caught.value.ename == "NotInPackError"
    assert "The nearest recorded text is 'violets are blue'." in caught.value.evalue


def test_the_pack_has_neither_the_token_nor_a_place_of_the_teachers_machine(recorded: Recorded) -> None:
    folder = recorded.pack.parent
    alone = folder / "given away"
    alone.mkdir()
    (alone / "lesson.vnpack").write_bytes(recorded.pack.read_bytes())
    assert Hunt(recorded.token).files(alone) == []
    for place in (str(folder), str(Path.home()), "ipykernel"):
        assert place.encode() not in recorded.pack.read_bytes()
