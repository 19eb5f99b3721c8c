"""`%%embed` and `%embed` in a real kernel, on the stand-in inside the process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.gateways import served
from support.kernels import Kernel, kernel

from vn_magic.offline import create_app

FRAME = """\
import pandas as pd
reviews = pd.DataFrame({'review': ['good', 'bad', 'good'], 'stars': [5, 1, 4]}, index=[7, 8, 9])
"""
TWELVE = [
    "The cat sleeps on the warm sofa.",
    "A cat is sleeping on our sofa again.",
    "My dog buries bones in the garden.",
    "The garden needs water in July.",
    "Bread dough needs flour, water and salt.",
    "Sourdough bread rises overnight.",
    "The train to Berlin was late.",
    "Our train was late again this morning.",
    "Football fans filled the stadium.",
    "The stadium was loud and full of fans.",
    "She plays the violin in an orchestra.",
    "The orchestra tuned before the concert.",
]


def _value(kernel: Kernel, expression: str) -> str:
    reply = kernel.run(expression)
    assert reply.result is not None, reply.error
    return reply.result["text/plain"]


def test_a_cell_of_text_becomes_a_frame_under_the_name_on_its_line(shared_kernel: Kernel) -> None:
    reply = shared_kernel.run("%%embed poems --dim 256\nroses are red\n\n  violets are blue  \n")
    assert (reply.status, reply.stderr, reply.result) == ("ok", "", None)
    assert _value(shared_kernel, "list(poems.text), poems.vec.matrix.shape") == (
        "(['roses are red', 'violets are blue'], (2, 256))"
    )


def test_the_card_says_what_was_done_and_that_the_vectors_are_offline(shared_kernel: Kernel) -> None:
    reply = shared_kernel.run("%%embed --no-cache card\none\ntwo\none\n")
    assert len(reply.displays) == 1
    assert "card   3 × 768   offline-lexical · SEMANTIC_SIMILARITY · unit length" in reply.card
    assert "2 new, 0 from cache · 1 duplicate · " in reply.card
    assert "offline stand-in: lexical, not semantic" in reply.card


def test_user_text_is_escaped_on_the_card(shared_kernel: Kernel) -> None:
    reply = shared_kernel.run("%%embed -o x\n<img src=x onerror=alert(1)>\n")
    assert "<img src=x" not in reply.displays[0]["text/html"]
    assert "&lt;img src=x onerror=alert(1)&gt;" in reply.displays[0]["text/html"]


def test_without_a_name_the_result_is_the_value_of_the_cell(shared_kernel: Kernel) -> None:
    reply = shared_kernel.run("%%embed --as numpy --dim 128\nhello\n")
    assert reply.result is not None
    assert _value(shared_kernel, "_.shape, _.dtype.name, _.flags.c_contiguous") == "((1, 128), 'float32', True)"


def test_the_same_cell_again_sends_nothing_and_an_edited_line_sends_one(fresh_kernel: Kernel) -> None:
    fresh_kernel.run("%vn offline")
    cell = "%%embed df --dim 256\n" + "\n".join(TWELVE)
    assert "12 new, 0 from cache" in fresh_kernel.run(cell).card
    again = fresh_kernel.run(cell).card
    assert "0 new, 12 from cache" in again
    assert "0 requests" in again
    edited = fresh_kernel.run(cell.replace("July", "August")).card
    assert "1 new, 11 from cache" in edited
    assert "1 request," in edited


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("a cat on a sofa", {0, 1}),
        ("how to bake bread from dough", {4, 5}),
        ("late trains", {6, 7}),
        ("fans in a stadium", {8, 9}),
        ("concert of the orchestra", {10, 11}),
    ],
)
def test_nearest_gives_neighbours_that_a_reader_finds_sensible(
    shared_kernel: Kernel, query: str, expected: set[int]
) -> None:
    shared_kernel.run("%%embed -q twelve --dim 256\n" + "\n".join(TWELVE))
    assert _value(shared_kernel, f"set(twelve.vec.nearest({query!r}, k=2).index)") == str(expected)


def test_the_body_is_literal(shared_kernel: Kernel) -> None:
    shared_kernel.run('name = "x"\nn = 3')
    shared_kernel.run('%%embed -q raw\n{"a": {name}} $name {{name}} %time !ls\n')
    assert _value(shared_kernel, "raw.text[0]") == """'{"a": {name}} $name {{name}} %time !ls'"""


def test_vars_fills_in_names_and_refuses_unknown_ones(shared_kernel: Kernel) -> None:
    shared_kernel.run("animal = 'cat'")
    shared_kernel.run("%%embed -q filled --vars\nthe {{animal}} sleeps\n")
    assert _value(shared_kernel, "filled.text[0]") == "'the cat sleeps'"
    reply = shared_kernel.run("%%embed filled --vars\nthe {{anmal}} sleeps\n")
    assert reply.error[0].startswith("InputError: --vars: there is no variable 'anmal'")


def test_a_failed_job_leaves_an_older_value_alone(shared_kernel: Kernel) -> None:
    shared_kernel.run("keep = 'older'")
    assert shared_kernel.run("%%embed keep --model nobody-serves-this\nx\n").status == "error"
    assert _value(shared_kernel, "keep") == "'older'"


@pytest.mark.parametrize(
    ("cell", "told"),
    [
        ("%%embed list\nx", "'list' is a Python builtin"),
        ("%%embed class\nx", "'class' is a Python keyword"),
        ("%%embed In\nx", "'In' belongs to IPython"),
        ("%%embed 2x\nx", "'2x' is not a name"),
        ("%%embed a -o b\nx", "named twice"),
        ("%%embed --tas X a\nx", "unrecognized arguments: --tas"),
        ("%%embed --task FOO a\nx", "invalid choice: 'FOO'"),
        ("%%embed --dim many a\nx", "invalid int value: 'many'"),
        ("%%embed --dim 64 a\nx", "128 to 3072 values, not 64"),
        ("%%embed --title T a\nx", "only with the task RETRIEVAL_DOCUMENT"),
        ("%%embed --concurrency 0 a\nx", "concurrency is 0"),
        ("%%embed --batch-size 0 a\nx", "batch_size is 0, expected a whole number above zero"),
        ("%%embed --batch-size 101 a\nx", "batch_size is 101, expected at most 100"),
        ("%embed --batch-size many ['x']", "argument --batch-size: invalid int value"),
        ("%%embed 'a\nx", "the line cannot be read"),
        ("%%embed a\n   \n", "no text below"),
        ("%%embed a", "no text below"),
        ("%%embed a -c review\nx", "-c names a column of --split csv"),
        ("%%embed a --split csv -c review\ntext\nx", "There is no column 'review'"),
        ("%%embed sk-0123456789abcdef\nx", "rotate the token"),
        ("%embed", "needs something to embed"),
        ("%embed --nope x", "there is no option --nope"),
        ("%embed unknown.text", "name 'unknown' is not defined"),
        ("%embed 3.5", "A float cannot be embedded"),
        ("%embed ['a', None, '', 4]", "row 1 (missing), row 2 (blank), row 3 (not text but int)"),
        ("%embed pd.DataFrame({'a': ['x']})", "needs the column of its texts; it has 'a'"),
        ("%vn nothing", "there is no 'nothing'"),
        ("%vn offline maybe", "takes one of on, off"),
        ("%vn login sk-0123456789abcdef", "rotate the token"),
    ],
)
def test_a_mistake_is_told_in_at_most_three_lines_and_stops_run_all(
    shared_kernel: Kernel, cell: str, told: str
) -> None:
    shared_kernel.run("import pandas as pd")
    reply = shared_kernel.run(cell)
    assert reply.status == "error"
    assert reply.stderr == ""
    assert told in "\n".join(reply.error)
    assert len(reply.error) <= 3


def test_a_line_takes_an_expression_untouched(shared_kernel: Kernel) -> None:
    shared_kernel.run(FRAME)
    shared_kernel.run("short = %embed -q --dim 128 reviews[-2:].review")
    assert _value(shared_kernel, "list(short.index), short.vec.matrix.shape") == "([8, 9], (2, 128))"
    shared_kernel.run("upper = %embed -q --as numpy [text.upper() for text in reviews.review if len(text) > 3]")
    assert _value(shared_kernel, "upper.shape") == "(2, 768)"


def test_a_frame_keeps_its_index_and_columns_and_the_original_is_not_changed(shared_kernel: Kernel) -> None:
    shared_kernel.run(FRAME)
    shared_kernel.run("df2 = %embed -q reviews -c review")
    assert _value(shared_kernel, "list(df2.columns), list(df2.index), list(df2.stars), list(reviews.columns)") == (
        "(['review', 'stars', 'embedding'], [7, 8, 9], [5, 1, 4], ['review', 'stars'])"
    )


def test_a_line_inside_a_function_sees_its_local_names(shared_kernel: Kernel) -> None:
    shared_kernel.run(
        "def embed_local():\n    words = ['a', 'b']\n    result = %embed -q --as numpy words\n    return result"
    )
    assert _value(shared_kernel, "embed_local().shape") == "(2, 768)"


def test_help_is_the_same_from_every_door(shared_kernel: Kernel) -> None:
    line, cell = shared_kernel.run("%embed -h").stdout, shared_kernel.run("%%embed -h").stdout
    assert line == cell
    assert "--on-error {stop,keep}" in line
    assert "examples:" in line
    documented = shared_kernel.run("print(get_ipython().find_cell_magic('embed').__doc__)").stdout
    assert documented == line


def test_dry_run_sends_nothing_and_says_what_would_be(shared_kernel: Kernel) -> None:
    reply = shared_kernel.run("%%embed never --dry-run\n" + "word " * 3000 + "\nshort\nshort\n")
    assert "2 requests would be sent" in reply.card
    assert "1 duplicate" in reply.card
    assert "1 row looks longer than the 2,048 tokens" in reply.card
    assert shared_kernel.run("never").status == "error"


def test_keep_marks_failed_rows(shared_kernel: Kernel) -> None:
    shared_kernel.run("kept = %embed -q --on-error keep ['a', None, 'b']")
    assert (
        _value(shared_kernel, "list(kept.error), kept.vec.matrix[:, 0].tolist()[1]") == "([None, 'missing', None], nan)"
    )


def test_the_same_notebook_against_a_gateway_that_drops_the_dimension(token: str) -> None:
    with served(create_app(token=token, drops_dimension=True)) as server:
        environ = {**os.environ, "VN_MAGIC_BASE_URL": server.url, "VECTORNODE_API_KEY": token}
        with kernel(environ=environ) as client:
            client.run("%load_ext vn_magic")
            cell = "%%embed df --dim 768 --concurrency 1\none\ntwo\nthree\n"
            first = client.run(cell)
            assert first.card.count("ignored output_dimensionality") == 1
            assert _value(client, "df.vec.matrix.shape, bool((abs((df.vec.matrix**2).sum(1) - 1) < 1e-5).all())") == (
                "((3, 768), True)"
            )
            assert [sorted(request.json) for request in server.received] == [
                ["content", "output_dimensionality", "taskType"],
                ["content", "outputDimensionality", "taskType"],
                ["content", "outputDimensionality", "taskType"],
            ]
            again = client.run(cell)
            assert "0 new, 3 from cache" in again.card
            assert "ignored" not in again.card
            assert len(server.received) == 3


@pytest.mark.parametrize(
    ("line", "shape"),
    [
        ("x = %embed -q --as numpy -d256 words", "(2, 256)"),
        ("x = %embed --dim=256 -q --as=numpy words", "(2, 256)"),
        ("x = %embed words --dim 256 --as numpy -q", "(2, 256)"),
        ("x = %embed -q --as numpy words;", "(2, 768)"),
        ("x = %embed -q --as numpy [f'{word}!' for word in words]", "(2, 768)"),
        ("x = %embed -q --as numpy (lambda n: words[-n:])(1)", "(1, 768)"),
        ("x = %embed numbered -c 0 --as numpy -q", "(2, 768)"),
    ],
)
def test_options_stand_before_or_behind_the_expression(shared_kernel: Kernel, line: str, shape: str) -> None:
    shared_kernel.run("import pandas as pd\nwords = ['a', 'b']\nnumbered = pd.DataFrame([['a'], ['b']])")
    assert shared_kernel.run(line).status == "ok"
    assert _value(shared_kernel, "x.shape") == shape


@pytest.mark.parametrize(
    ("cell", "told"),
    [
        ("%embed --split lines ['a']", "--split is for %%embed only"),
        ("%embed --vars ['a']", "--vars is for %%embed only"),
        ("%embed df -c text extra", "'extra' is left over after 'df'"),
        ("%%embed a --sep ;\nx", "--sep goes with --split csv"),
    ],
)
def test_an_option_that_does_not_apply_is_refused_by_name(shared_kernel: Kernel, cell: str, told: str) -> None:
    assert told in shared_kernel.run(cell).error[0]


def test_a_variable_with_line_breaks_stays_in_its_row(shared_kernel: Kernel) -> None:
    shared_kernel.run("two = 'one\\ntwo, three'")
    shared_kernel.run("%%embed -q filled --vars\nA {{two}} B\n")
    assert _value(shared_kernel, "list(filled.text)") == "['A one\\ntwo, three B']"


def test_the_result_is_bound_even_where_the_terminal_cannot_show_the_card(tmp_path: Path) -> None:
    script = tmp_path / "cell.ipy"
    script.write_text("%load_ext vn_magic\n%vn offline\nx = %embed --as numpy ['a text']\nprint(x.shape)\n")
    done = subprocess.run(
        [sys.executable, "-m", "IPython", "--colors=NoColor", str(script)],
        env={**os.environ, "PYTHONIOENCODING": "cp1252"},
        capture_output=True,
        check=False,
        timeout=120,
    )
    assert b"(1, 768)" in done.stdout
    assert b"Error" not in done.stdout + done.stderr
