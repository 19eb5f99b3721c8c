"""A pack is made to be given away: however the token was given, neither it nor a place of this machine is in it."""

from __future__ import annotations

import getpass
import io
import os
import socket
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from support.gateways import Served, served
from support.hunt import CANARY, MASK, Hunt
from support.kernels import kernel
from support.panels import Desk

from vn_magic.offline import create_app

HALF = len(CANARY) - 5
# The cells are all that would show it, so it is put together from two halves.
SECRET = f"{CANARY[:HALF]!r} + {CANARY[HALF:]!r}"
EMBED = (
    "docs = vn_magic.embed(['one', 'two'], dimension=256, task_type='RETRIEVAL_DOCUMENT', title='A title')",
    "docs.vec.nearest('a question')",
    "raw = vn_magic.embed(['three'], dimension=128, unit_length=False)",
)
ACCOUNT = "account-4711"


def contents(path: Path) -> Sequence[bytes]:
    """Return a pack as it lies on the disk, and each of its members."""
    data = path.read_bytes()
    with zipfile.ZipFile(io.BytesIO(data)) as file:
        return [data, *(file.read(name) for name in file.namelist())]


def assert_clean(path: Path, hunt: Hunt, *, places: Sequence[str]) -> None:
    """Look for the token, for headers and for places in all of a pack."""
    found = contents(path)
    assert b"a question" in b"".join(found), "the pack has what was embedded"
    assert [each for each in found if hunt.finds(each)] == []
    machine = [str(Path.home()), str(Path.cwd()), str(path.parent), str(Path(__file__).parent), socket.gethostname()]
    for place in (*machine, getpass.getuser() + "@", *places, "Bearer", "uthorization", "User-Agent", "Oneapi", "sk-"):
        assert [each for each in found if place.encode() in each] == [], place


def test_a_pack_of_a_session_that_was_logged_in_at_the_prompt_is_clean(logged_in: Any, hunt: Hunt) -> None:
    logged_in.run(*EMBED)
    for line in ("login.vnpack", "login-frames.vnpack docs"):
        assert "written" in logged_in.run(f"%vn pack save {line}").card
    assert logged_in.gateway.received[-1].headers["authorization"] == f"Bearer {CANARY}"
    assert_clean(logged_in.folder / "login.vnpack", hunt, places=["ipython", "vn_magic_cache"])
    assert hunt.files(logged_in.folder) == []


@pytest.mark.parametrize("name", ["VECTORNODE_API_KEY", "VECTORNODE_API_KEY_FILE"])
def test_a_pack_of_a_session_with_a_token_in_its_environment_and_a_path_in_its_base_url_is_clean(
    tmp_path: Path, hunt: Hunt, name: str
) -> None:
    (tmp_path / "secret").write_text(CANARY, encoding="utf-8")
    value = CANARY if name == "VECTORNODE_API_KEY" else str(tmp_path / "secret")
    (tmp_path / "work").mkdir()
    app = create_app(token=CANARY)

    async def below_a_path(scope: Any, receive: Any, send: Any) -> None:
        path = scope["path"].removeprefix(f"/{ACCOUNT}")
        assert path != scope["path"]
        await app({**scope, "path": path, "raw_path": path.encode()}, receive, send)

    with served(below_a_path) as gateway:
        environ = {**os.environ, "VN_MAGIC_BASE_URL": f"{gateway.url}/{ACCOUNT}", name: value}
        with kernel(environ=environ) as client:
            client.run("%load_ext vn_magic\nimport vn_magic")
            client.run(f"%cd -q {tmp_path / 'work'}")
            for cell in EMBED:
                assert client.run(cell).status == "ok"
            assert "written" in client.run("%vn pack save lesson.vnpack").card
    assert gateway.received[-1].headers["authorization"] == f"Bearer {CANARY}"
    assert_clean(tmp_path / "work" / "lesson.vnpack", hunt, places=[ACCOUNT, "secret"])


def test_a_pack_of_a_session_whose_token_was_entered_in_the_panel_is_clean(
    panel: tuple[Desk, Served], hunt: Hunt, tmp_path: Path
) -> None:
    at, gateway = panel
    at.type("_text._body", "one\na question")
    at.run()
    assert gateway.received[-1].headers["authorization"] == f"Bearer {CANARY}"
    reply = at.kernel.run(f'%vn pack save "{tmp_path / "lesson.vnpack"}"')
    assert "written" in reply.card
    assert_clean(tmp_path / "lesson.vnpack", hunt, places=[])


REFUSED = {
    "a text": "vn_magic.embed(['my token is ' + secret], dimension=128, task_type='CLUSTERING')",
    "a title": "vn_magic.embed(['x'], dimension=128, task_type='RETRIEVAL_DOCUMENT', title=secret)",
    "a question": "vn_magic.embed(['x'], dimension=128).vec.nearest('is it ' + secret + '?')",
}


@pytest.mark.parametrize("place", REFUSED)
def test_a_token_in_a_text_or_a_title_keeps_the_pack_from_being_written(tmp_path: Path, hunt: Hunt, place: str) -> None:
    with kernel(environ={**os.environ, "VN_MAGIC_OFFLINE": "1"}) as client:
        client.run("%load_ext vn_magic\nimport vn_magic")
        client.run(f"%cd -q {tmp_path}")
        client.run(f"secret = {SECRET}")
        assert client.run(f"x = {REFUSED[place]}").status == "ok"
        reply = client.run("%vn pack save lesson.vnpack")
    assert reply.error[0].startswith("PackError: 1 of the texts hold what looks like a token")
    assert "Nothing was written" in reply.error[0]
    assert MASK in reply.error[0]
    assert not hunt.finds(str(reply.messages))
    assert not (tmp_path / "lesson.vnpack").exists()


def test_a_licence_with_a_token_is_refused_on_the_line_and_by_who_writes(logged_in: Any, hunt: Hunt) -> None:
    logged_in.run(*EMBED)
    cell = f"get_ipython().run_line_magic('vn', 'pack save licence.vnpack --licence ' + {SECRET})"
    said = logged_in.kernel.run(cell)
    assert "That looks like a token" in said.error[0]
    logged_in.run("from pathlib import Path", "from vn_magic.classroom.recording import save_session")
    written = logged_in.kernel.run(
        f"session.guard(lambda: save_session(session, Path('licence.vnpack'), licence={SECRET}))"
    )
    assert written.error[0].startswith("PackError: 1 of the texts hold what looks like a token")
    assert not hunt.finds(f"{said.messages} {written.messages}")
    assert not (logged_in.folder / "licence.vnpack").exists()


def test_a_refusal_of_an_unseen_text_masks_a_token_in_it(logged_in: Any, hunt: Hunt) -> None:
    logged_in.run(*EMBED, "%vn pack save strict.vnpack", "%vn pack use strict.vnpack --strict")
    reply = logged_in.kernel.run(f"vn_magic.embed([{SECRET}], dimension=256, task_type='RETRIEVAL_DOCUMENT')")
    logged_in.run("%vn pack off")
    assert reply.error[0].startswith(f"NotInPackError: Row 0 ('{MASK}')")
    assert not hunt.finds(str(reply.messages))


def test_under_a_strict_pack_the_token_goes_nowhere(logged_in: Any) -> None:
    logged_in.run(*EMBED, "%vn pack save strict.vnpack", "%vn pack use strict.vnpack --strict")
    heard = len(logged_in.gateway.received)
    logged_in.run(*EMBED, "%vn status", "%vn doctor", "%vn pack", "%vn pack save again.vnpack", "%vn pack off")
    assert len(logged_in.gateway.received) == heard


def test_the_hunt_would_find_a_token_in_a_pack(tmp_path: Path, hunt: Hunt) -> None:
    with zipfile.ZipFile(tmp_path / "lesson.vnpack", "w") as file:
        file.writestr("manifest.json", f'{{"licence": "{CANARY}"}}')
    assert hunt.files(tmp_path) == ["lesson.vnpack"]
