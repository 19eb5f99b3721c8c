"""Tab, by a real kernel's complete_request."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.kernels import Kernel

from vn_magic.models import TASK_TYPES

LONG_OPTIONS = (
    "--out", "--model", "--dim", "--task", "--title", "--split", "--column", "--sep", "--as", "--raw", "--on-error",
    "--concurrency", "--rpm", "--batch-size", "--max-requests", "--max-tokens",
    "--refresh", "--no-cache", "--dry-run", "--vars", "--quiet", "--help",
)  # fmt: skip


@pytest.mark.parametrize("line", ["%%embed --", "%embed --", "X = %embed --", "%%embed df --dim 256 --"])
def test_two_dashes_offer_exactly_the_options(shared_kernel: Kernel, line: str) -> None:
    assert shared_kernel.complete(line) == list(LONG_OPTIONS)


def test_task_offers_the_eight_task_types(shared_kernel: Kernel) -> None:
    assert shared_kernel.complete("%%embed --task ") == list(TASK_TYPES)
    assert shared_kernel.complete("%%embed df -t RETR") == ["RETRIEVAL_DOCUMENT", "RETRIEVAL_QUERY"]


def test_column_offers_the_columns_of_the_frame_on_the_line(shared_kernel: Kernel) -> None:
    shared_kernel.run(
        "import pandas as pd\na = pd.DataFrame({'x': [1], 'two words': [2]})\nb = pd.DataFrame({'y': [1]})"
    )
    assert shared_kernel.complete("%embed a -c ") == ["x", '"two words"']
    assert shared_kernel.complete("%embed b -c ") == ["y"]
    assert {"x", "y"} <= set(shared_kernel.complete("%embed -c "))


def test_values_of_options_are_offered(shared_kernel: Kernel) -> None:
    assert shared_kernel.complete("%%embed --as ") == ["df", "numpy"]
    assert shared_kernel.complete("%%embed --on-error ") == ["stop", "keep"]
    assert shared_kernel.complete("%%embed --split p") == ["paragraphs"]


def test_variables_are_offered_where_an_expression_is_expected(shared_kernel: Kernel) -> None:
    shared_kernel.run("reviews_to_embed = ['a']")
    assert "reviews_to_embed" in shared_kernel.complete("%embed reviews_to")


def test_vn_offers_its_subcommands_and_their_words(shared_kernel: Kernel) -> None:
    assert shared_kernel.complete("%vn log") == ["login", "logout"]
    assert shared_kernel.complete("%vn offline ") == ["on", "off"]


def test_the_lines_of_pictures_offer_frames_options_columns_and_methods(shared_kernel: Kernel) -> None:
    shared_kernel.run("import pandas as pd\npicture_df = pd.DataFrame({'x': [1], 'two words': [2]})\npicture_no = 3")
    assert "picture_df" in shared_kernel.complete("%vn scatter ")
    assert shared_kernel.complete("%vn heatmap picture_") == ["picture_df"]
    assert shared_kernel.complete("%vn scatter picture_df -") == ["-c", "--color", "--text", "--method"]
    assert shared_kernel.complete("%vn heatmap picture_df --") == ["--text"]
    assert shared_kernel.complete("%vn scatter picture_df --color ") == ["x", '"two words"']
    assert shared_kernel.complete("%vn heatmap picture_df --text ") == ["x", '"two words"']
    assert shared_kernel.complete("%vn scatter picture_df --method ") == ["pca", "umap", "tsne"]


def test_the_line_of_a_search_offers_frames_and_its_option(shared_kernel: Kernel) -> None:
    shared_kernel.run("import pandas as pd\nsearched_df = pd.DataFrame({'x': [1]})")
    assert shared_kernel.complete("%vn nearest searched_") == ["searched_df"]
    assert shared_kernel.complete("%vn nearest searched_df -") == ["-k"]
    assert "x" not in shared_kernel.complete("%vn nearest searched_df -k ")


def test_the_line_of_the_doctor_offers_notebooks_and_the_folders_on_the_way(
    shared_kernel: Kernel, tmp_path: Path
) -> None:
    for name in ("a.ipynb", "a b.ipynb", "a.txt", "a[1].ipynb"):
        (tmp_path / name).touch()
    (tmp_path / "a folder").mkdir()
    (tmp_path / "afolder").mkdir()
    assert shared_kernel.complete("%vn doctor ") == ["--notebook"]
    assert shared_kernel.complete(f"%vn doctor --notebook x.ipynb {tmp_path}/a") == [
        f"{tmp_path}/a.ipynb",
        f"{tmp_path}/a[1].ipynb",
        f"{tmp_path}/afolder/",
    ]
    assert shared_kernel.complete(f"%vn doctor --notebook {tmp_path}/a[1]") == [f"{tmp_path}/a[1].ipynb"]
    shared_kernel.run(f"%cd -q {tmp_path}")
    offered = shared_kernel.complete("%vn doctor --notebook ")
    shared_kernel.run("%cd -q -")
    assert '"a b.ipynb"' in offered


def test_the_body_of_a_cell_and_other_lines_are_left_to_ipython(shared_kernel: Kernel) -> None:
    shared_kernel.run("some_variable = 1")
    assert "some_variable" in shared_kernel.complete("some_vari")
    assert "--task" not in shared_kernel.complete("%%embed df\n--ta")
