"""`%vn compare` in a real kernel, and the table of the example data."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import pytest
from nbclient import NotebookClient
from scipy.stats import spearmanr
from sklearn.metrics import silhouette_score
from sklearn.neighbors import NearestNeighbors
from support.gateways import Served
from support.kernels import Kernel, kernel
from support.waiting import until

from vn_magic import Session
from vn_magic.models import TASK_TYPES

DATA = Path(__file__).parents[2] / "examples" / "data"
FRAME = """\
import pandas as pd
animals = [f'{animal} number {i} eats {food}' for i in range(6) for animal, food in
           (('cat', 'fish'), ('dog', 'bones'), ('horse', 'hay'), ('cow', 'grass'))]
frame = pd.DataFrame({'two words': animals, 'kind': [text.split()[0] for text in animals], 'n': range(24)})
"""
FIGURES = ["overlap", "rank_correlation", "purity", "silhouette"]


@pytest.fixture
def animals(shared_kernel: Kernel) -> Kernel:
    """The shared kernel with texts in a list and in a frame."""
    assert shared_kernel.run(FRAME).status == "ok"
    return shared_kernel


def table_of(kernel: Kernel, name: str) -> pd.DataFrame:
    reply = kernel.run(f"print({name}.to_json(orient='split', double_precision=15))")
    return pd.read_json(io.StringIO(reply.stdout), orient="split", precise_float=True)


def test_it_shows_sentences_a_table_and_a_chart_and_has_no_value(animals: Kernel) -> None:
    reply = animals.run('%vn compare frame -c "two words" --dim 128,256 --labels kind -k 3')
    assert (reply.status, reply.stdout, reply.stderr, reply.result) == ("ok", "", "", None)
    card, table, chart = reply.displays
    assert "comparison   2 settings × 24 rows   offline-lexical" in card["text/plain"]
    assert "lexical, not semantic" in card["text/plain"]
    assert "Dimensions of one model and task shared their requests" in card["text/html"]
    names = ["model", "task_type", "dimension", "overlap@3", "rank_correlation", "purity@3", "silhouette"]
    assert re.findall("<th>([^<]+)</th>", table["text/html"])[:7] == names
    assert [name for name in names if name not in table["text/plain"]] == []
    assert list(chart) == ["application/vnd.vegalite.v5+json", "text/markdown", "text/plain"]
    assert "offline-lexical: lexical, not semantic" in chart["text/plain"]


def test_out_binds_the_tidy_frame_and_everything_is_shown_all_the_same(animals: Kernel) -> None:
    reply = animals.run("%vn compare animals --task clustering,CLASSIFICATION --dim=256 -k 2 -o bound;")
    assert (reply.status, len(reply.displays), reply.result) == ("ok", 3, None)
    assert "bound   2 settings × 24 rows" in reply.card
    table = table_of(animals, "bound")
    assert list(table)[:5] == ["model", "task_type", "dimension", "overlap", "rank_correlation"]
    assert table["task_type"].tolist() == ["CLUSTERING", "CLASSIFICATION"]
    assert animals.run("bound.attrs['comparison']['k']").result == {"text/plain": "2"}


def test_a_frame_with_one_column_of_texts_needs_no_name_for_it(animals: Kernel) -> None:
    assert "1 setting × 24 rows" in animals.run("%vn compare frame[['n', 'two words']] -d 128").card


@pytest.mark.parametrize("expression", ["animals", "frame['two words'][frame['n'] >= 0]", "tuple(animals)"])
def test_texts_are_whatever_the_expression_gives(animals: Kernel, expression: str) -> None:
    assert "1 setting × 24 rows" in animals.run(f"%vn compare --dim 128 {expression} -k 3").card


def test_progress_and_result_stand_in_one_display(animals: Kernel) -> None:
    reply = animals.run("%vn compare [f'text {i}' for i in range(700)] --dim 128 --task CLUSTERING,CLASSIFICATION")
    kinds = [message["msg_type"] for message in reply.messages]
    assert kinds.count("display_data") == 3
    shown = [m["content"]["data"]["text/plain"] for m in reply.messages if m["msg_type"] == "display_data"]
    assert re.match(r"comparison   [█░]+   [\d,]+ of 1,400 rows", shown[0])
    assert "comparison   2 settings × 700 rows" in reply.card


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("", "%vn compare needs texts"),
        ("frame", r"The frame has several columns of texts \(two words, kind\)"),
        ("frame -c nobody", "There is no column 'nobody'"),
        ("nothing_here --dim 128", r"cannot be evaluated \(NameError"),
        ("animals --dim", "--dim needs a value"),
        ("animals --dim -k 3", "--dim takes whole numbers, not '-k'"),
        ("animals --dim 128, 256", "the list after --dim has an empty place"),
        ("animals --dim 128,many", "--dim takes whole numbers, not 'many'"),
        ("animals --dim 128,64", "gives vectors of 128 to 3072 values, not 64"),
        ("animals --task CLUSTERING,GUESSING", "task_type is 'GUESSING', expected one of SEMANTIC_SIMILARITY"),
        ("animals --model gemini-embedding-2 --task CLUSTERING", "gemini-embedding-2 has no task types"),
        ("animals --model offline-lexical,gemini-embedding-3", "The gateway does not serve this model"),
        ("frame -c kind --labels n", "The label 'n' is different for every row"),
        ("animals --labels kind", "The label 'kind' would be a column, and this is a list"),
        ("animals -k some", "-k takes whole numbers, not 'some'"),
        ("animals -k 0", "k is 0, expected a whole number"),
        ("animals -o list", "is a Python builtin"),
        ("animals --dimension 128", "there is no option --dimension"),
        ("animals[:2]", "A comparison needs 3 texts at least"),
        ("['a', '', 'b']", "1 of 3 rows cannot be embedded"),
    ],
)
def test_what_cannot_be_compared_is_said_in_three_lines_and_binds_nothing(animals: Kernel, line: str, why: str) -> None:
    animals.run("kept = 'as it was'")
    reply = animals.run(f"%vn compare {'' if '-o' in line or not line else '-o kept'} {line}")
    assert re.search(why, "\n".join(reply.error))
    assert (1 <= len(reply.error) <= 3, reply.stderr) == (True, "")
    assert animals.run("kept").result == {"text/plain": "'as it was'"}


def test_help_names_every_option_and_every_figure(animals: Kernel) -> None:
    said = animals.run("%vn compare -h").stdout
    for name in ("--column", "--dim", "--task", "--model", "--labels", "-k", "--out", *FIGURES):
        assert name in said
    [listed] = [line for line in animals.run("%vn").stdout.splitlines() if line.startswith("  %vn compare ")]
    assert "several settings on the same texts DF [-c COLUMN] [--dim N,…]" in listed


def test_tab_offers_options_tasks_after_a_comma_too_columns_and_texts(animals: Kernel) -> None:
    assert animals.complete("%vn comp") == ["compare"]
    assert "frame" in animals.complete("%vn compare fra")
    assert animals.complete("%vn compare frame --") == ["--column", "--dim", "--task", "--model", "--labels", "--out"]
    assert animals.complete("%vn compare frame --task ") == list(TASK_TYPES)
    assert animals.complete("%vn compare frame -t RETRIEVAL_QUERY,CLUSTERING,RETR") == [
        "RETRIEVAL_QUERY,CLUSTERING,RETRIEVAL_DOCUMENT"
    ]
    assert animals.complete("%vn compare frame -c ") == ['"two words"', "kind", "n"]
    assert animals.complete("%vn compare frame --labels k") == ["kind"]
    assert "animals" in animals.complete("%vn compare -o anim")
    assert animals.complete("%vn compare frame --dim 1") == []


def test_stop_keeps_what_had_arrived_and_the_next_run_pays_for_the_rest(gateway: Served, token: str) -> None:
    line = "%vn compare [f'text {i}' for i in range(1500)] --dim 128 --task CLUSTERING,CLASSIFICATION -o table"
    environ = {**os.environ, "VN_MAGIC_BASE_URL": gateway.url, "VECTORNODE_API_KEY": token}
    with kernel(environ=environ) as client:
        client.run("%load_ext vn_magic\n%config VnMagic.concurrency = 8")
        running = client.start(line)
        until(lambda: len(gateway.received) >= 300)
        client.manager.interrupt_kernel()
        reply = client.finish(running)
        assert reply.error == [
            "EmbeddingInterruptedError: Stopped. Rows that had arrived are in the cache; run again for the rest."
        ]
        assert "stopped at" in reply.card
        assert (reply.stderr, client.run("'table' in globals()").result) == ("", {"text/plain": "False"})
        assert client.run(line).status == "ok"
        # What was on its way at the stop is all that may be paid for twice.
        assert 3000 <= len(gateway.texts) <= 3008


# The example


def stored() -> pd.DataFrame:
    return pd.read_csv(DATA / "comparison.csv")


def test_the_magic_reproduces_the_stored_table_of_the_example(fresh_kernel: Kernel) -> None:
    fresh_kernel.run(f"%vn offline\nimport pandas as pd\nreviews = pd.read_csv({str(DATA / 'reviews.csv')!r})")
    reply = fresh_kernel.run(
        "%vn compare reviews -c review --dim 3072,768,256,128 --task SEMANTIC_SIMILARITY,CLUSTERING "
        "--labels product -o table"
    )
    assert (reply.status, reply.stderr) == ("ok", "")
    table = table_of(fresh_kernel, "table").drop(columns="seconds")
    pd.testing.assert_frame_equal(table, stored(), rtol=0, atol=1e-6)


def test_every_figure_of_the_stored_table_is_that_of_scipy_and_scikit_learn(offline: Session) -> None:
    reviews, table = pd.read_csv(DATA / "reviews.csv"), stored()
    texts, products = reviews["review"].tolist(), reviews["product"].to_numpy()
    pairs = np.triu_indices(len(texts), k=1)
    neighbors, cosines, expected = [], [], []
    for line in table.itertuples():
        matrix = offline.embed(texts, dimension=line.dimension, task_type=line.task_type, result="numpy", cache=False)
        wide = matrix.astype(float) / np.linalg.norm(matrix.astype(float), axis=1, keepdims=True)
        neighbors.append(NearestNeighbors(n_neighbors=10, metric="cosine").fit(wide).kneighbors()[1])
        cosines.append((wide @ wide.T)[pairs])
        shared = [len({*mine} & {*first}) / 10 for mine, first in zip(neighbors[-1], neighbors[0], strict=True)]
        expected.append(
            [
                np.mean(shared),
                spearmanr(cosines[0], cosines[-1]).statistic,
                np.mean(products[neighbors[-1]] == products[:, np.newaxis]),
                silhouette_score(wide, products, metric="cosine"),
            ]
        )
    assert len(table) == 8
    np.testing.assert_allclose(table[FIGURES].to_numpy(), expected, atol=1e-6)


def test_the_lines_in_the_readme_remake_the_stored_table(tmp_path: Path) -> None:
    [lines] = re.findall(r"```python\n(.*?)```", (DATA / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    (tmp_path / "reviews.csv").write_bytes((DATA / "reviews.csv").read_bytes())
    done = subprocess.run([sys.executable, "-c", lines], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    remade = pd.read_csv(tmp_path / "comparison.csv")
    pd.testing.assert_frame_equal(remade, stored(), rtol=0, atol=1.5e-6)


def test_the_example_notebook_runs_offline_and_shows_the_stored_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VN_MAGIC_BASE_URL", "http://127.0.0.1:9")  # nobody is there
    notebook = nbformat.read(DATA.parent / "04_compare.ipynb", as_version=4)
    assert [cell for cell in notebook.cells if cell.get("outputs")] == []
    NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(DATA.parent)}}).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert [output for output in outputs if output.get("name") == "stderr"] == []
    [kept] = [cell.outputs[0]["data"]["text/plain"] for cell in notebook.cells if "kept.round" in cell.source]
    lines = [[float(number) for number in line.split()] for line in kept.splitlines()[2:]]
    expected = stored().head(4)[["dimension", "overlap", "purity"]].round(2).to_numpy().tolist()
    assert lines == expected
