"""`%vn doctor --notebook` in a real kernel: tokens in files, in the doctor's form."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from support.gateways import served
from support.hunt import CANARY, MASK, Hunt
from support.kernels import Kernel, kernel

from vn_magic.offline import create_app


def _notebook(path: Path, *, source: str = "", shown: str = "") -> Path:
    output = {"output_type": "stream", "name": "stdout", "text": [shown]}
    cell = {"cell_type": "code", "execution_count": 2, "metadata": {}, "outputs": [output], "source": [source]}
    path.write_text(json.dumps({"cells": [cell], "metadata": {}, "nbformat": 4, "nbformat_minor": 4}))
    return path


def test_doctor_names_the_place_of_each_token_in_a_notebook_and_its_cure(shared_kernel: Kernel, tmp_path: Path) -> None:
    leaky = _notebook(tmp_path / "leaky.ipynb", source=f"key = '{CANARY}'", shown=CANARY)
    clean = _notebook(tmp_path / "it's clean.ipynb")
    reply = shared_kernel.run(f'%vn doctor --notebook {leaky} "{clean}"')
    assert reply.stdout.splitlines() == [
        f"!!  {leaky}: cell 1 (In [2]), output (text): {MASK}",
        "     cure: rotate the token, then `vn-magic scrub --write` masks it",
        f"!!  {leaky}: cell 1 (In [2]), source line 1: {MASK}",
        "     cure: rotate the token, then edit the cell",
        f"ok  {clean}: no token in it, as it is saved",
    ]
    assert (reply.status, reply.stderr) == ("ok", "")


def test_doctor_takes_patterns_and_tells_files_that_it_cannot_read(shared_kernel: Kernel, tmp_path: Path) -> None:
    for name in ("b.ipynb", "a.ipynb", "c [1].ipynb", "c 1.ipynb", "c#1.ipynb"):
        _notebook(tmp_path / name)
    (tmp_path / "broken.ipynb").write_text(CANARY)
    lines = shared_kernel.run(f"%vn doctor --notebook {tmp_path}/[ab].ipynb {tmp_path}/b*.ipynb").stdout.splitlines()
    assert [line.partition(": ")[0] for line in lines if not line.startswith(" ")] == [
        f"ok  {tmp_path}/a.ipynb",
        f"ok  {tmp_path}/b.ipynb",
        f"ok  {tmp_path}/b.ipynb",
        f"!!  {tmp_path}/broken.ipynb",
    ]
    assert lines[4:] == ["     cure: name files that are there and can be read"]
    for name in (f'"{tmp_path}/c [1].ipynb"', f"{tmp_path}/c#1.ipynb"):
        said = shared_kernel.run(f"%vn doctor --notebook {name}").stdout
        assert said == "ok  {}: no token in it, as it is saved\n".format(name.strip('"'))
    assert "!!  file 1 of 1: it cannot be read" in shared_kernel.run("%vn doctor --notebook hush*hush").stdout


def test_doctor_knows_the_token_of_a_login_and_those_of_the_environment(tmp_path: Path) -> None:
    odd, outside = "hush-hush-9d8c7b6a50", ["hush-from-outside-1234", "hush-from-outside-5678"]
    path = _notebook(tmp_path / "leaky.ipynb", shown=" ".join([odd, *outside]))
    environ = {**os.environ, **dict(zip(("VECTORNODE_API_KEY", "VECTOR_ENGINE_API_KEY"), outside, strict=True))}
    with (
        served(create_app(token=odd)) as gateway,
        kernel(environ={**environ, "VN_MAGIC_BASE_URL": gateway.url}) as client,
    ):
        client.run("%load_ext vn_magic")
        assert "…6a50" in client.run("%vn login", stdin=odd).card
        said = client.run(f"%vn doctor --notebook {path}").stdout
    found = [line.rpartition(": ")[2] for line in said.splitlines() if line.startswith("!!")]
    assert found == ["…6a50", "…1234", "…5678"]
    assert not Hunt(odd).finds(said)


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("--notebook", "takes nothing after it, or --notebook and files"),
        ("now", "takes nothing after it, or --notebook and files"),
        ('--notebook "open', "the line cannot be read: No closing quotation"),
        (f"--notebook {CANARY}", "That looks like a token"),
    ],
)
def test_what_the_doctor_does_not_understand_is_said_in_two_lines(shared_kernel: Kernel, line: str, why: str) -> None:
    reply = shared_kernel.run(f"%vn doctor {line}")
    assert why in reply.error[0]
    assert len(reply.error) == 2
    assert not Hunt().finds(str(reply.messages[1:]).replace(line, ""))


def test_the_doctor_tells_what_it_can_do(shared_kernel: Kernel) -> None:
    assert "%vn doctor [--notebook FILE ...]" in shared_kernel.run("%vn doctor -h").stdout
    assert "[--notebook FILE ...]" in shared_kernel.run("%vn").stdout
