"""A token appears nowhere that it must not: the notebook, messages, history, logs, cache, pickles, arguments."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from support.gateways import Served, answering, json_answer, served
from support.kernels import kernel

from vn_magic.offline import create_app

CELLS = [
    "%xmode Verbose",
    "import logging\nlogging.basicConfig(filename='all.log', level=logging.DEBUG, force=True)",
    "import vn_magic\n%load_ext vn_magic",
    "%vn status",
    "%vn doctor",
    "%%embed df\nfirst line\nsecond line\n",
    "%%embed df --model nobody-serves-this\nx\n",
    "%vn debug on",
    "%%embed df --model nobody-serves-this\nx\n",
    "vn_magic.embed(['x'], model='nobody-serves-this')",
    "await vn_magic.aembed(['x'], model='nobody-serves-this')",
    "%tb",
    "session = vn_magic.current_session()\nsession, session.find_token(), session.tokens, vars(session)",
    "session.find_token().token, str(session.find_token().token), f'{session.find_token().token!r:>20}'",
    "import pickle\ntry:\n    pickle.dumps(session.find_token())\nexcept TypeError as error:\n    print(error)",
    "pickle.dump(df, open('df.pickle', 'wb'))\ndf.vec.save('df.npz')",
    "%config VnMagic.base_url = 'http://127.0.0.1:9'",
    "%%embed df --no-cache\nx\n",
    "1 / 0",
]


def _traces(folder: Path, canary: str) -> list[str]:
    """Return the files under a folder that hold the canary, whole or the part that a mask would hide."""
    needles = [canary.encode(), canary[:-4].encode()]
    return [
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if path.is_file() and any(needle in path.read_bytes() for needle in needles)
    ]


@contextmanager
def _working_in(folder: Path) -> Iterator[None]:
    before = Path.cwd()
    folder.mkdir(exist_ok=True)
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def test_a_failing_notebook_under_verbose_tracebacks_leaves_no_trace(
    gateway: Served, token: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VN_MAGIC_BASE_URL", gateway.url)
    secret = tmp_path.parent / f"{tmp_path.name}-token"
    secret.write_text(token)
    monkeypatch.setenv("VECTORNODE_API_KEY_FILE", str(secret))
    cells = [nbformat.v4.new_code_cell(source) for source in CELLS]
    notebook = nbformat.v4.new_notebook(cells=cells)
    with _working_in(tmp_path / "work"):
        NotebookClient(notebook, allow_errors=True, timeout=60, kernel_name="python3").execute()
        nbformat.write(notebook, "notebook.ipynb")
    failed = [
        number for number, cell in enumerate(notebook.cells) if any(o.output_type == "error" for o in cell.outputs)
    ]
    assert {6, 8, 9, 10, 17, 18} <= set(failed)  # the failures that the hunt is about did happen
    assert gateway.received[-1].headers["authorization"] == f"Bearer {token}"
    assert (tmp_path / "work" / "all.log").stat().st_size > 0
    assert list(tmp_path.rglob("embeddings.sqlite3"))
    assert _traces(tmp_path, token) == []


def test_a_login_leaves_no_trace_in_messages_history_arguments_or_the_environment(
    gateway: Served, token: str, tmp_path: Path
) -> None:
    with _working_in(tmp_path / "work"), kernel(environ={**os.environ, "VN_MAGIC_BASE_URL": gateway.url}) as client:
        messages = client.run("%load_ext vn_magic").messages
        login = client.run("%vn login", stdin=token)
        assert "sk-…0c93 for 127.0.0.1" in login.card
        assert "accepted" in login.card
        messages += login.messages
        for cell in CELLS[:16]:
            messages += client.run(cell).messages
        messages += client.run("import os; sorted(os.environ.items())").messages
        messages += client.run("%history -g -o").messages
        arguments = Path(f"/proc/{client.manager.provisioner.process.pid}/cmdline").read_bytes()
        messages += client.drain()
        assert token.encode() not in arguments
        assert token not in str(messages)
        assert token[:-4] not in str(messages)
    assert "POST" in [request.method for request in gateway.received]
    assert list(tmp_path.rglob("history.sqlite"))
    assert _traces(tmp_path, token) == []


def test_a_gateway_that_quotes_the_token_does_not_bring_it_into_the_notebook(token: str) -> None:
    quoting = json_answer({"error": {"message": f"Invalid token ({token})", "type": "new_api_error", "code": ""}}, 401)
    with (
        served(answering(quoting)) as server,
        kernel(environ={**os.environ, "VN_MAGIC_BASE_URL": server.url, "VECTORNODE_API_KEY": token}) as client,
    ):
        client.run("%load_ext vn_magic")
        client.run("%vn debug on")
        reply = client.run("%%embed df\nx\n")
        assert "TokenRefusedError" in "\n".join(reply.error)
        assert "sk-…0c93" in "\n".join(reply.error)
        assert token not in str(reply.messages)


def test_a_token_is_not_sent_to_another_base_url(gateway: Served, token: str) -> None:
    with served(create_app()) as other, kernel(environ={**os.environ, "VN_MAGIC_BASE_URL": gateway.url}) as client:
        client.run("%load_ext vn_magic")
        client.run("%vn login", stdin=token)
        client.run(f"%config VnMagic.base_url = {other.url!r}")
        reply = client.run("%%embed df\nx\n")
        assert reply.error[0].startswith("TokenError: The token of this session belongs to 127.0.0.1")
        assert other.received == []
