"""The token shows nothing but its mask, is found in a fixed order, and is scrubbed from logs."""

from __future__ import annotations

import copy
import inspect
import io
import json
import logging
import pickle
import traceback
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.engine import output_of

from vn_magic import Session
from vn_magic.credentials import (
    LOGGERS,
    TOKEN_FILE_VARIABLE,
    TOKEN_VARIABLES,
    FoundToken,
    Token,
    TokenFilter,
    TokenStore,
    scrub,
    token_from_environment,
)
from vn_magic.exceptions import SettingsError, TokenError

TEXT = "sk-canary-9b20f4d6e1"
HOME, ELSEWHERE = "https://home.example", "https://elsewhere.example"


@pytest.fixture
def secret() -> Token:
    return Token(TEXT)


# What is shown

SHOWN: dict[str, Callable[[Token], str]] = {
    "repr": repr,
    "str": str,
    "format": format,
    "f-string": lambda secret: f"{secret} {secret!r} {secret!s}",
    "percent": lambda secret: "%s %r" % (secret, secret),  # noqa: UP031 - one of the ways
    "str.format": lambda secret: "{} {!r}".format(secret, secret),  # noqa: UP032 - one of the ways
    "in a list": lambda secret: str([secret, {"token": secret}]),
    "in a dataclass": lambda secret: str(FoundToken(secret, "%vn login")),
    "as a dict": lambda secret: str(asdict(FoundToken(secret, "%vn login"))),
    "masked": lambda secret: secret.masked,
    "json": lambda secret: json.dumps({"token": secret}, default=str),
    "in an error": lambda secret: repr(ValueError(secret)),
}


@pytest.mark.parametrize("way", SHOWN)
def test_a_token_shows_its_mask_alone(secret: Token, way: str) -> None:
    shown = SHOWN[way](secret)
    assert "…d6e1" in shown or "\\u2026d6e1" in shown  # json's spelling of the dots
    assert TEXT[3:-4] not in shown


@pytest.mark.parametrize(
    ("text", "mask"), [(TEXT, "sk-…d6e1"), ("sk-short", "sk-…"), ("abcdefgh12345678", "…5678"), ("abc", "…")]
)
def test_the_mask_keeps_the_last_four_of_a_long_token_only(text: str, mask: str) -> None:
    assert Token(text).masked == mask


@given(
    text=st.text(st.characters(min_codepoint=33, max_codepoint=126, exclude_characters="\"'`"), min_size=1, max_size=60)
)
def test_no_mask_tells_more_than_a_prefix_and_four_characters(text: str) -> None:
    mask = Token(text).masked
    assert mask.removeprefix("sk-").removeprefix("…") in ("", text[-4:])
    assert len(text) >= 16 or mask in ("…", "sk-…")


def test_a_token_is_sent_unaltered_with_white_space_trimmed_off() -> None:
    assert Token(f"  {TEXT}\n").reveal() == TEXT


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_token_is_never_pickled_whatever_holds_it(secret: Token, protocol: int) -> None:
    for held in (secret, [secret], FoundToken(secret, "%vn login")):
        with pytest.raises(TypeError, match="never pickled"):
            pickle.dumps(held, protocol)


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda secret: copy.deepcopy([secret])[0]])
def test_a_copy_is_the_token_itself(secret: Token, copied: Callable[[Token], Token]) -> None:
    assert copied(secret) is secret


def test_a_token_has_nothing_to_look_into(secret: Token) -> None:
    with pytest.raises(TypeError):
        vars(secret)
    assert TEXT in secret.reveal()
    assert TEXT not in str(inspect.getmembers(secret))


def test_tokens_are_equal_when_their_secrets_are() -> None:
    assert Token(TEXT) == Token(f" {TEXT} ")
    assert hash(Token(TEXT)) == hash(Token(TEXT))
    assert Token(TEXT) != Token(TEXT + "x")
    assert Token(TEXT) != TEXT


@pytest.mark.parametrize(
    "text",
    [
        "",
        "  ",
        "\n",
        "sk-a b",
        "sk-a\nsk-b",
        "sk-a\r\nX-Header: x",
        "sk-a\tb",
        "sk-ä",
        "sk-…3f9a",
        "sk-a\x00",
        "sk-a\x7f",
    ],
)
def test_what_cannot_stand_in_a_header_is_refused_without_being_repeated(text: str) -> None:
    with pytest.raises(TokenError, match="Next:") as caught:
        Token(text)
    assert not text.strip() or text not in str(caught.value)


SLIP = f'"{TEXT}"'
DOORS: dict[str, Callable[[Path], object]] = {
    "a token": lambda _: Token(SLIP),
    "a variable": lambda _: token_from_environment({"VECTORNODE_API_KEY": SLIP}),
    "a file": lambda folder: token_from_environment({TOKEN_FILE_VARIABLE: written(folder, SLIP.encode())}),
    "no text": lambda folder: token_from_environment({TOKEN_FILE_VARIABLE: written(folder, TEXT.encode() + b"\xff")}),
    "a store": lambda _: TokenStore({"VECTORNODE_API_KEY": SLIP}).find(HOME),
    "a session": lambda _: Session(token=SLIP),
    "a session with another fault": lambda _: Session(base_url="nowhere", token=TEXT),
    "a session's environment": lambda _: Session(environ={"VECTORNODE_API_KEY": SLIP}).find_token(),
}


def written(folder: Path, content: bytes) -> str:
    file = folder / "token"
    file.write_bytes(content)
    return str(file)


@pytest.mark.parametrize("door", DOORS)
def test_a_token_with_a_slip_stays_in_no_frame_of_what_is_raised(tmp_path: Path, door: str) -> None:
    with pytest.raises((TokenError, SettingsError)) as caught:
        DOORS[door](tmp_path)
    assert caught.value.__context__ is None
    frames = [frame for frame, _ in traceback.walk_tb(caught.tb) if frame.f_code.co_filename != __file__]
    assert frames
    assert [frame.f_code.co_name for frame in frames if TEXT in repr(frame.f_locals)] == []


# What is scrubbed


def test_scrub_masks_the_token_and_whatever_looks_like_one() -> None:
    odd = Token("odd+token/without=prefix")
    text = f"Bearer odd+token/without=prefix; {TEXT}; sk-12345678; sk-1234; task-oriented-approach; risk-assessment"
    assert odd.scrub(text) == "Bearer …efix; sk-…d6e1; sk-…; sk-1234; task-oriented-approach; risk-assessment"
    assert scrub("no token here") == "no token here"
    assert scrub(f"密钥{TEXT}。") == "密钥sk-…d6e1。"


@given(before=st.text(max_size=20), after=st.text(max_size=20))
def test_a_token_is_found_anywhere(before: str, after: str) -> None:
    assert TEXT not in Token(TEXT).scrub(before + TEXT + after)


# Where it is looked for


def test_the_newer_variable_goes_before_the_older_and_both_before_the_file(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(f"{TEXT}-file\n")
    environ = {TOKEN_VARIABLES[0]: f"{TEXT}-new", TOKEN_VARIABLES[1]: f"{TEXT}-old", TOKEN_FILE_VARIABLE: str(file)}
    found = []
    for variable in (*TOKEN_VARIABLES, TOKEN_FILE_VARIABLE):
        found.append(token_from_environment(environ))
        del environ[variable]
    assert TOKEN_VARIABLES == ("VECTORNODE_API_KEY", "VECTOR_ENGINE_API_KEY")
    assert found == [
        FoundToken(Token(f"{TEXT}-new"), "$VECTORNODE_API_KEY"),
        FoundToken(Token(f"{TEXT}-old"), "$VECTOR_ENGINE_API_KEY"),
        FoundToken(Token(f"{TEXT}-file"), "$VECTORNODE_API_KEY_FILE"),
    ]
    assert token_from_environment(environ) is None


def test_an_empty_variable_is_as_good_as_none() -> None:
    environ = {"VECTORNODE_API_KEY": "  ", "VECTOR_ENGINE_API_KEY": TEXT, "VECTORNODE_API_KEY_FILE": ""}
    assert token_from_environment(environ) == FoundToken(Token(TEXT), "$VECTOR_ENGINE_API_KEY")
    assert token_from_environment({"VECTORNODE_API_KEY": "", "VECTORNODE_API_KEY_FILE": " "}) is None


@pytest.mark.parametrize("content", [f"{TEXT}\n", f"  {TEXT}  \r\n", f"\ufeff{TEXT}"])
def test_a_file_may_have_what_editors_leave_around_a_token(tmp_path: Path, content: str) -> None:
    file = tmp_path / "token"
    file.write_bytes(content.encode())
    assert token_from_environment({TOKEN_FILE_VARIABLE: f" {file} "}) == FoundToken(
        Token(TEXT), f"${TOKEN_FILE_VARIABLE}"
    )


def test_a_file_may_be_named_from_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    (tmp_path / "token").write_text(TEXT)
    found = token_from_environment({TOKEN_FILE_VARIABLE: "~/token"})
    assert found is not None
    assert found.token == Token(TEXT)


@pytest.mark.parametrize("made", ["missing", "folder", "not text", "empty", "two lines"])
def test_a_file_that_holds_no_token_is_an_error_and_not_passed_by(tmp_path: Path, made: str) -> None:
    file = tmp_path / "token"
    if made == "folder":
        file.mkdir()
    elif made != "missing":
        file.write_bytes(
            {"not text": TEXT.encode("utf-16"), "empty": b"", "two lines": f"{TEXT}\n{TEXT}".encode()}[made]
        )
    with pytest.raises(TokenError, match="Next:") as caught:
        token_from_environment({TOKEN_FILE_VARIABLE: str(file)})
    assert TEXT not in str(caught.value)


# The session's own


@pytest.fixture
def store() -> Iterator[TokenStore]:
    store = TokenStore({})
    yield store
    store.unmask()


def test_the_sessions_own_token_goes_before_the_environments_and_logout_brings_that_back() -> None:
    store = TokenStore({"VECTORNODE_API_KEY": f"{TEXT}-env"})
    own = Token(f"{TEXT}-own")
    store.log_in(own, "%vn login", HOME)
    assert store.find(HOME) == FoundToken(own, "%vn login")
    store.log_out()
    assert store.find(HOME) == FoundToken(Token(f"{TEXT}-env"), "$VECTORNODE_API_KEY")
    store.unmask()


def test_the_sessions_own_token_is_for_the_origin_that_it_was_given_for(store: TokenStore, secret: Token) -> None:
    store.log_in(secret, "%vn login", HOME)
    assert store.find(ELSEWHERE) is None
    assert store.find(HOME) == FoundToken(secret, "%vn login")


def test_a_second_login_takes_the_place_of_the_first(store: TokenStore, secret: Token) -> None:
    store.log_in(secret, "%vn login", HOME)
    store.log_in(Token(f"{TEXT}-2"), "%vn login", ELSEWHERE)
    assert store.find(HOME) is None
    assert store.find(ELSEWHERE) == FoundToken(Token(f"{TEXT}-2"), "%vn login")


def test_a_store_scrubs_every_token_that_it_knows_of() -> None:
    store = TokenStore({"VECTORNODE_API_KEY": "env+token+without+prefix"})
    store.log_in(Token("own+token+without+prefix"), "%vn login", HOME)
    assert "token+without" not in store.scrub("env+token+without+prefix own+token+without+prefix")


def test_a_store_shows_no_token(store: TokenStore, secret: Token) -> None:
    store.log_in(secret, "%vn login", HOME)
    assert TEXT not in repr(store) + str(vars(store))


# Logs


def fail_with(text: str) -> None:
    raise ValueError(text)


@pytest.fixture
def logged(secret: Token) -> Iterator[Callable[[], str]]:
    """Everything that a handler of the root logger writes while the filter is attached."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logging.Formatter("%(name)s %(message)s"))
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    token_filter = TokenFilter(secret)
    token_filter.attach()
    yield stream.getvalue
    token_filter.detach()
    root.removeHandler(handler)
    root.setLevel(level)


@pytest.mark.parametrize("name", LOGGERS)
def test_records_of_the_libraries_that_handle_the_token_are_scrubbed(logged: Callable[[], str], name: str) -> None:
    logger = logging.getLogger(name)
    logger.warning("plain %s" % TEXT)  # noqa: UP031, G002 - libraries do
    logger.warning("in an argument: %s, %r", TEXT, {"Authorization": f"Bearer {TEXT}"})
    logger.warning(ValueError(TEXT))
    logger.warning("by name: %(token)s", {"token": TEXT})
    assert logged().count(name) == 4
    assert logged().count("sk-…d6e1") == 5
    assert TEXT not in logged()


def test_the_list_has_the_loggers_of_our_own_client_and_its_libraries() -> None:
    assert {"vn_magic", "httpx", "aiohttp.client", "asyncio"} <= set(LOGGERS)


def test_every_logger_that_a_job_wakes_is_in_the_list_but_for_those_of_servers() -> None:
    names = output_of(
        "import asyncio, logging, vn_magic\n"
        "logging.getLogger().setLevel(logging.DEBUG)\n"
        "session = vn_magic.Session(base_url='http://127.0.0.1:9', token='sk-nobody-0123456789')\n"
        "session.configure('row_timeout', 0.1, 'a test')\n"
        "try:\n    session.embed(['a'])\nexcept vn_magic.VnMagicError:\n    pass\n"
        "print(*logging.root.manager.loggerDict)"
    ).split()
    involved = {"vn_magic", "httpx", "httpcore", "aiohttp", "anyio", "asyncio"}
    servers = {"aiohttp.access", "aiohttp.server", "aiohttp.web", "aiohttp.websocket"}
    woken = {name for name in names if name.split(".")[0] in involved}
    assert "aiohttp.client" in woken
    assert woken - servers <= set(LOGGERS)


def test_a_traceback_is_scrubbed_and_still_there(logged: Callable[[], str]) -> None:
    try:
        fail_with(f"bad header Bearer {TEXT}")
    except ValueError:
        logging.getLogger("asyncio").exception("it failed")
    assert "it failed" in logged()
    assert "Traceback (most recent call last)" in logged()
    assert "ValueError: bad header Bearer sk-…d6e1" in logged()
    assert TEXT not in logged()


def test_with_two_sessions_both_tokens_are_scrubbed_from_a_traceback(logged: Callable[[], str]) -> None:
    other = TokenFilter(Token("other+token+without+prefix"))
    other.attach()
    try:
        fail_with(f"{TEXT} and other+token+without+prefix")
    except ValueError:
        logging.getLogger("asyncio").exception("it failed")
    finally:
        other.detach()
    assert "ValueError: sk-…d6e1 and …efix" in logged()


def test_a_handler_that_formats_tracebacks_by_itself_finds_no_frames(logged: Callable[[], str]) -> None:
    seen: list[logging.LogRecord] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            seen.append(record)

    handler = Keep()
    logging.getLogger().addHandler(handler)
    try:
        fail_with(TEXT)
    except ValueError:
        logging.getLogger("aiohttp.client").exception("it failed")
    finally:
        logging.getLogger().removeHandler(handler)
    [record] = seen
    assert record.exc_info is None
    assert TEXT not in str(vars(record))
    assert "it failed" in logged()


def test_a_faulty_log_call_of_a_library_stays_without_consequence(logged: Callable[[], str]) -> None:
    wrong_for_its_arguments = "%d of %d"
    logging.getLogger("aiohttp").warning(wrong_for_its_arguments, TEXT)
    assert "%d of %d" in logged()
    assert TEXT not in logged()


@pytest.mark.parametrize("arguments", [(TEXT,), ({"half": 1},), ()])
def test_an_argument_that_cannot_be_shown_does_not_raise_into_the_caller(
    logged: Callable[[], str], arguments: tuple[Any, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    logging.getLogger("asyncio").error("half made: %s %s", HalfMade(), *arguments)
    logging.getLogger("asyncio").error(HalfMade())
    assert logged().count("HalfMade") == 2
    assert "asyncio half made: %s %s (HalfMade" in logged()
    assert TEXT not in logged() + capsys.readouterr().err


class HalfMade:
    def __str__(self) -> str:
        raise RuntimeError("half made")

    __repr__ = __str__


@pytest.mark.parametrize("arguments", [(), ("x",), ({"a": 1},)])
def test_no_record_is_dropped_and_others_text_is_left_alone(
    logged: Callable[[], str], arguments: tuple[Any, ...]
) -> None:
    logging.getLogger("httpx").info("100%%" if not arguments else "%s", *arguments)
    assert logged() == f"httpx {'100%%' if not arguments else arguments[0]}\n"


def test_a_store_masks_logs_from_the_first_look_at_a_token_until_it_is_gone(store: TokenStore, secret: Token) -> None:
    def filters() -> list[TokenFilter]:
        return [each for each in logging.getLogger("aiohttp").filters if isinstance(each, TokenFilter)]

    before = filters()
    store.log_in(secret, "%vn login", HOME)
    for _ in range(3):
        store.find(HOME)
    assert [each.token for each in filters() if each not in before] == [secret]
    store.log_in(Token(f"{TEXT}-2"), "%vn login", HOME)
    store.find(HOME)
    assert [each.token for each in filters() if each not in before] == [Token(f"{TEXT}-2")]
    store.log_out()
    assert len(filters()) == len(before) + 1  # what was opened with it is still to be closed
    store.unmask(Token(f"{TEXT}-2"))
    assert filters() == before
