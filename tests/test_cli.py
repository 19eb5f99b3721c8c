"""`vn-magic` as a program: its output, its exit status, and where its errors go."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.gateways import Served

from vn_magic import Session
from vn_magic.cli import main


def _run(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "vn_magic", *arguments],
        env={**os.environ, **environ},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_cache_tells_counts_and_forgets(offline: Session, tmp_path: Path) -> None:
    offline.embed(["one", "two"])
    offline.close()
    path = tmp_path / "cache" / "embeddings.sqlite3"
    assert _run("cache", "path").stdout == f"{path}\n"
    assert _run("cache").stdout.startswith(f"{path}   2 rows, ")
    assert _run("cache", "clear").stdout == "2 rows forgotten\n"
    assert _run("cache").stdout.startswith(f"{path}   0 rows, ")


def test_doctor_says_by_its_exit_status_whether_all_is_well(gateway: Served, token: str) -> None:
    well = _run("doctor", VN_MAGIC_BASE_URL=gateway.url, VECTORNODE_API_KEY=token)
    assert (well.returncode, well.stderr) == (0, "")
    assert "!!" not in well.stdout
    silent = _run("doctor", VN_MAGIC_BASE_URL="http://127.0.0.1:9")
    assert silent.returncode == 1
    assert "!!  base URL" in silent.stdout


def test_a_bad_environment_is_told_in_short_on_stderr() -> None:
    done = _run("cache", VN_MAGIC_OFFLINE="perhaps")
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("vn-magic: $VN_MAGIC_OFFLINE is 'perhaps'.")


@pytest.mark.parametrize("arguments", [(), ("nothing",), ("serve", "--token", "x")])
def test_what_is_not_understood_ends_with_2_and_the_usage(arguments: tuple[str, ...]) -> None:
    done = _run(*arguments)
    assert done.returncode == 2
    assert "usage: vn-magic" in done.stderr


@pytest.mark.parametrize("secret", ["sk-canary-7d1e5b0c93", "AIzaSy5e1f0a7b2c9d", "hush-hush'o'clock"])
@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("serve", "--token", "{}"), "unrecognized arguments: --token …"),
        (("cache", "--token={}"), "unrecognized arguments: --token=…"),
        (("doctor", "{}"), "unrecognized arguments: …"),
        (("{}",), "argument COMMAND: invalid choice: … (choose from"),
        (("cache", "{}"), "argument what: invalid choice: … (choose from"),
        (("serve", "--port", "{}"), "argument --port: invalid int value: …"),
        (("serve", "--drops-dimension={}"), "argument --drops-dimension: ignored explicit argument …"),
        (("serve", "--no-batch={}"), "argument --no-batch: ignored explicit argument …"),
    ],
)
def test_what_does_not_fit_is_named_by_its_option_and_its_value_is_not_quoted(
    arguments: tuple[str, ...], named: str, secret: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main([argument.format(secret) for argument in arguments])
    told = capsys.readouterr().err
    assert named in told
    assert all(word not in told for word in secret.split())
