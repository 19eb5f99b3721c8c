"""A panel whose session uses a pack: it says so, and answers without a token."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.gateways import Served
from support.packs import pack_file, recording
from support.panels import Desk


@pytest.fixture
def lesson(tmp_path: Path) -> Path:
    return pack_file(tmp_path / "lesson.vnpack", recording(["one", "two"], 768))


def _sit_down(desk: Desk, gateway: Served, folder: Path, **environ: str) -> None:
    desk.sit_down(VN_MAGIC_BASE_URL=gateway.url, VN_MAGIC_CACHE=str(folder / "cache"), **environ)


def _estimate(desk: Desk) -> str:
    """Return what the estimate says once it has settled."""
    desk.until("p._estimate._running is None or p._estimate._running.done()")
    return desk.said("_estimate.widget")


def _nothing_on_stderr(desk: Desk) -> bool:
    return [content for content in desk.outputs() if content.get("name") == "stderr"] == []


def test_under_a_strict_pack_the_panel_says_so_and_runs_without_a_token(
    shared_desk: Desk, gateway: Served, lesson: Path, tmp_path: Path
) -> None:
    _sit_down(shared_desk, gateway, tmp_path, VN_MAGIC_PACK=str(lesson))
    assert shared_desk.said("_connect._status") == (
        "The pack lesson.vnpack alone answers (strict): no token, no network · 2 rows · from $VN_MAGIC_PACK."
    )
    shared_desk.type("_text._body", "one\ntwo\none")
    assert "2 in the pack" in _estimate(shared_desk)
    shared_desk.run()
    assert shared_desk.trouble() == ""
    assert shared_desk.see("vectors.vec.matrix.shape") == [3, 768]
    shared_desk.kernel.run("of_panel = vectors.vec.matrix.copy()")
    assert shared_desk.kernel.run(shared_desk.see("p._cell.code")).status == "ok"
    assert shared_desk.see("bool((of_panel == vectors.vec.matrix).all())") is True
    assert gateway.received == []
    assert _nothing_on_stderr(shared_desk)


def test_an_unseen_text_is_refused_in_the_panel_as_in_a_cell(
    shared_desk: Desk, gateway: Served, lesson: Path, tmp_path: Path
) -> None:
    _sit_down(shared_desk, gateway, tmp_path, VN_MAGIC_PACK=str(lesson))
    shared_desk.type("_text._body", "one\ntoo")
    shared_desk.run()
    assert "Row 1 ('too'): This text is not in the pack lesson.vnpack" in shared_desk.trouble()
    assert "The nearest recorded text is 'two'." in shared_desk.trouble()
    assert _nothing_on_stderr(shared_desk)


def test_a_pack_that_a_cell_begins_or_ends_to_use_is_shown_after_the_cell(
    shared_desk: Desk, gateway: Served, lesson: Path, tmp_path: Path
) -> None:
    _sit_down(shared_desk, gateway, tmp_path, VN_MAGIC_OFFLINE="1")
    assert "lexical, not semantic" in shared_desk.said("_connect._status")
    shared_desk.kernel.run(f'%vn pack use "{lesson}" --strict')
    assert shared_desk.said("_connect._status").startswith("The pack lesson.vnpack alone answers (strict)")
    shared_desk.kernel.run("%vn pack off")
    assert "lexical, not semantic" in shared_desk.said("_connect._status")


def test_a_bad_pack_of_the_environment_is_what_the_panel_says_and_nobody_answers(
    shared_desk: Desk, gateway: Served, token: str, tmp_path: Path
) -> None:
    _sit_down(shared_desk, gateway, tmp_path, VN_MAGIC_PACK=str(tmp_path / "none.vnpack"), VECTORNODE_API_KEY=token)
    assert "$VN_MAGIC_PACK: There is no pack 'none.vnpack' there." in shared_desk.said("_connect._status")
    shared_desk.type("_text._body", "one")
    assert "UnexpectedError" not in _estimate(shared_desk)
    shared_desk.run()
    assert "$VN_MAGIC_PACK: There is no pack 'none.vnpack' there." in shared_desk.trouble()
    assert gateway.received == []
    shared_desk.kernel.run("%vn pack off")
    shared_desk.run()
    assert shared_desk.trouble() == ""
    assert _nothing_on_stderr(shared_desk)
