"""`vn_magic.require`: a notebook goes on, or stops in its first cell with one sentence and what to do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.gateways import Served
from support.packs import pack_file, recording

import vn_magic
from vn_magic import Session
from vn_magic.credentials import Token
from vn_magic.exceptions import PackError, RequirementError, TokenError

Use = Callable[..., Session]


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch) -> Iterator[Use]:
    """Make the session that the Python API uses."""
    made: list[Session] = []

    def use(**options: Any) -> Session:
        made.append(Session(**options))
        monkeypatch.setattr("vn_magic.current._default_session", [made[-1]])
        return made[-1]

    yield use
    for session in made:
        session.close()


@pytest.fixture
def lesson(tmp_path: Path) -> Path:
    return pack_file(tmp_path / "my lesson.vnpack", recording(["a"], 128))


def refusal(**condition: Any) -> list[str]:
    with pytest.raises(RequirementError) as caught:
        vn_magic.require(**condition)
    return str(caught.value).split("\n")


def test_nothing_required_is_always_fulfilled(use: Use) -> None:
    use()
    vn_magic.require()
    vn_magic.require(token=False, pack=False, offline=False)


def test_a_pack_is_required_by_its_name_with_or_without_a_folder(use: Use, lesson: Path) -> None:
    use().use_pack(lesson, strict=True, source="a test")
    for pack in ("my lesson.vnpack", "packs/my lesson.vnpack", lesson, True):
        vn_magic.require(pack=pack)


def test_a_pack_of_the_environment_fulfils_it(use: Use, lesson: Path) -> None:
    use(environ={"VN_MAGIC_PACK": str(lesson)})
    vn_magic.require(pack=lesson.name)


def test_a_pack_beside_the_gateway_fulfils_it_too(use: Use, lesson: Path) -> None:
    use().use_pack(lesson, strict=False, source="a test")
    vn_magic.require(pack=lesson.name)


def test_without_a_pack_the_sentence_names_it_and_the_line_that_uses_it(use: Use) -> None:
    use()
    assert refusal(pack="lesson.vnpack") == [
        "This notebook needs the pack 'lesson.vnpack', and no pack is in use.",
        "Next: `%vn pack use lesson.vnpack --strict` above this cell.",
    ]
    assert refusal(pack=Path("packs/lesson.vnpack"))[1].startswith("Next: `%vn pack use packs")
    assert refusal(pack=True) == [
        "This notebook needs a pack, and no pack is in use.",
        "Next: `%vn pack use FILE --strict` above this cell.",
    ]
    assert refusal(pack="my lesson.vnpack")[1] == 'Next: `%vn pack use "my lesson.vnpack" --strict` above this cell.'


def test_another_pack_is_not_enough(use: Use, lesson: Path) -> None:
    use().use_pack(lesson, strict=True, source="a test")
    assert refusal(pack="lesson.vnpack")[0] == (
        "This notebook needs the pack 'lesson.vnpack', and 'my lesson.vnpack' is in use."
    )


def test_a_damaged_pack_of_the_environment_is_named_as_what_is_wrong(use: Use, lesson: Path) -> None:
    lesson.write_bytes(b"PK")
    use(environ={"VN_MAGIC_PACK": str(lesson)})
    with pytest.raises(PackError, match=r"^\$VN_MAGIC_PACK: 'my lesson\.vnpack' is damaged"):
        vn_magic.require(pack=lesson.name)


def test_a_token_is_required_for_the_base_url_in_use_and_sent_nowhere(use: Use, gateway: Served, token: str) -> None:
    session = use(base_url=gateway.url, token=token)
    vn_magic.require(token=True)
    session.configure("base_url", "https://elsewhere.example", "a test")
    assert refusal(token=True) == [
        "This notebook needs a token for elsewhere.example, and there is none.",
        "Next: `%vn login` above this cell, or set VECTORNODE_API_KEY before the kernel starts.",
    ]
    assert gateway.received == []


def test_a_token_of_the_environment_fulfils_it_and_one_with_a_slip_is_named(use: Use) -> None:
    use(environ={"VECTORNODE_API_KEY": "sk-anything-1234"})
    vn_magic.require(token=True)
    use(environ={"VECTORNODE_API_KEY": "Bearer sk-anything-1234"})
    with pytest.raises(TokenError, match=r"^\$VECTORNODE_API_KEY: ") as caught:
        vn_magic.require(token=True)
    assert "sk-anything" not in str(caught.value)


def test_the_stand_in_is_required_by_the_switch(use: Use) -> None:
    use(offline=True)
    vn_magic.require(offline=True)
    use()
    assert refusal(offline=True) == [
        "This notebook needs the offline stand-in, and the session talks to https://www.vectronode.com.",
        "Next: `%vn offline on` above this cell.",
    ]


def test_several_conditions_have_to_hold_together(use: Use, lesson: Path) -> None:
    session = use(offline=True)
    session.use_pack(lesson, strict=True, source="a test")
    vn_magic.require(pack=True, offline=True)
    assert "needs a token" in refusal(pack=True, offline=True, token=True)[0]


def test_a_condition_that_holds_starts_and_opens_nothing(use: Use, lesson: Path, tmp_path: Path) -> None:
    session = use(environ={"VN_MAGIC_PACK": str(lesson), "VN_MAGIC_CACHE": str(tmp_path / "cache")})
    vn_magic.require(pack=True)
    assert session.runtime.portal._thread is None
    assert not (tmp_path / "cache").exists()


def test_after_one_that_failed_nothing_is_sent_for_graders_go_on(use: Use, gateway: Served, token: str) -> None:
    session = use(base_url=gateway.url, token=token)
    refused = refusal(pack="lesson.vnpack")
    for _ in range(2):
        with pytest.raises(RequirementError) as caught:
            vn_magic.embed(["a"])
        assert str(caught.value).split("\n") == refused
    session.configure("dimension", 128, "a test")  # changes nothing about who answers
    with pytest.raises(RequirementError):
        vn_magic.embed(["a"])
    assert gateway.received == []
    vn_magic.require(token=True)
    assert len(vn_magic.embed(["a"])) == len(gateway.received) == 1


CHANGES: dict[str, Callable[[Session, Path, str], object]] = {
    "use": lambda session, lesson, _token: session.use_pack(lesson, strict=True, source="a test"),
    "off": lambda session, _lesson, _token: session.drop_pack(),
    "offline": lambda session, _lesson, _token: session.configure("offline", True, "a test"),
    "base URL": lambda session, _lesson, _token: session.configure("base_url", session.settings.base_url, "a test"),
    "login": lambda session, _lesson, token: session.log_in(Token(token), "a test"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_whoever_changes_who_answers_has_seen_to_it(
    use: Use, lesson: Path, gateway: Served, token: str, change: str
) -> None:
    session = use(base_url=gateway.url, token=token)
    refusal(pack="lesson.vnpack")
    CHANGES[change](session, lesson, token)
    assert len(vn_magic.embed(["a"], dimension=128)) == 1


@pytest.mark.parametrize("content", [None, b"PK"], ids=["missing", "damaged"])
def test_after_a_strict_pack_that_cannot_be_used_nothing_is_sent_either(
    use: Use, gateway: Served, token: str, tmp_path: Path, content: bytes | None
) -> None:
    session = use(base_url=gateway.url, token=token)
    pack = tmp_path / "lesson.vnpack"
    if content is not None:
        pack.write_bytes(content)
    for strict in (False, True):
        with pytest.raises(PackError) as caught:
            session.use_pack(pack, strict=strict, source="a test")
        assert session.unmet == (str(caught.value) if strict else "")
    with pytest.raises(RequirementError, match=r"lesson\.vnpack"):
        vn_magic.embed(["a"], dimension=128)
    assert gateway.received == []
    session.drop_pack()
    assert len(vn_magic.embed(["a"], dimension=128)) == 1
