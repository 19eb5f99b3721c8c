"""`%vn nearest` in a real kernel: the table of `df.vec.nearest`, and what is wrong with a line."""

from __future__ import annotations

import pytest
from support.hunt import CANARY, Hunt
from support.kernels import Kernel

FLOWERS = "%%embed flowers -d 128 --split csv\ntext,n\nthe rose is red,1\nthe violet is blue,2\nsnow is white,3\n"


@pytest.fixture
def flowers(shared_kernel: Kernel) -> Kernel:
    """A kernel with a frame of three rows."""
    assert shared_kernel.run(FLOWERS).status == "ok"
    return shared_kernel


@pytest.mark.parametrize(
    ("line", "twin"),
    [
        ('flowers "which flower is blue?"', "flowers.vec.nearest('which flower is blue?')"),
        ("flowers 'which flower is \"blue\"?' -k 2;", "flowers.vec.nearest('which flower is \"blue\"?', 2)"),
        ('-k=1 flowers "it\'s -k 5"', 'flowers.vec.nearest("it\'s -k 5", 1)'),
        ('flowers[flowers["n"] > "1"] "blue"', "flowers[flowers['n'] > '1'].vec.nearest('blue')"),
        ("flowers['embedding'] \"blue\"", "flowers['embedding'].vec.nearest('blue')"),
        ('flowers.query("index > 0 ") "a  b"', "flowers.query('index > 0').vec.nearest('a  b')"),
    ],
)
def test_it_shows_the_table_that_its_twin_returns(flowers: Kernel, line: str, twin: str) -> None:
    shown = flowers.run(f"%vn nearest {line}")
    returned = flowers.run(twin).result
    assert returned is not None
    assert (shown.displays, shown.result) == ([returned], None)
    assert "similarity" in returned["text/html"]
    assert shown.stderr == ""


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("", "needs a frame with vectors, then a text in quotes"),
        ("flowers", "needs a frame with vectors, then a text in quotes"),
        ("flowers blue", "needs a frame with vectors, then a text in quotes"),
        ('flowers "  "', "needs a frame with vectors, then a text in quotes"),
        ('flowers "open', "needs a frame with vectors, then a text in quotes"),
        ('flowers "a" or "b"', "needs a frame with vectors, then a text in quotes"),
        ('"blue" flowers', "needs a frame with vectors, then a text in quotes"),
        ('flowers "blue" -k', "-k needs a value"),
        ('flowers "blue" -k many', "-k is a number of rows"),
        ('flowers "blue" -k 0', "k is 0, but at least 1 neighbour"),
        ('flowers "blue" --top 3', "there is no option --top"),
        ('nothing_here "blue"', "cannot be evaluated (NameError"),
        ('[1, 2] "blue"', "is a list, expected a DataFrame or a Series with vectors"),
        ('flowers[["n"]] "blue"', "has no column of vectors"),
        (f'flowers "{CANARY}"', "That looks like a token"),
    ],
)
def test_what_cannot_be_searched_is_said_in_three_lines(flowers: Kernel, line: str, why: str) -> None:
    reply = flowers.run(f"%vn nearest {line}")
    assert why in "\n".join(reply.error)
    assert len(reply.error) <= 3
    assert not Hunt().finds("\n".join(reply.error))


def test_it_tells_its_options(shared_kernel: Kernel) -> None:
    assert '%vn nearest DF "text" [-k N]' in shared_kernel.run("%vn nearest --help").stdout
    assert 'DF "text" [-k N]' in shared_kernel.run("%vn").stdout
