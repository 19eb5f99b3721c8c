"""A token as people paste it: what is around it is told kindly, and never repeated."""

from __future__ import annotations

import re
from typing import Any

import pytest
from support.gateways import served
from support.hunt import CANARY, Hunt

from vn_magic import Session
from vn_magic.credentials import Token, token_from_environment
from vn_magic.exceptions import TokenError
from vn_magic.offline import create_app

MISPASTED = {
    "quotes": (f'"{CANARY}"', "quotes"),
    "single quotes": (f"'{CANARY}'", "quotes"),
    "backticks": (f"`{CANARY}`", "quotes"),
    "typographic quotes": (f"“{CANARY}”", "quotes"),
    "a quote at its end": (f'{CANARY}"', "quotes"),
    "Bearer": (f"Bearer {CANARY}", "Bearer"),
    "bearer in small": (f"bearer\t{CANARY}", "Bearer"),
    "the whole header": (f"Authorization: Bearer {CANARY}", "Bearer"),
    "two lines": (f"{CANARY}\n{CANARY}", "line breaks"),
    "a header behind it": (f"{CANARY}\r\nX-Header: x", "line breaks"),
    "a blank in it": (f"{CANARY[:8]} {CANARY[8:]}", "blanks"),
    "a zero-width space": (f"\u200b{CANARY}", "non-ASCII"),
    "a mark in front": (f"\ufeff{CANARY}", "non-ASCII"),
    "a long dash": (CANARY.replace("-", "–"), "non-ASCII"),
    "full-width letters": (f"ｓｋ－{CANARY}", "non-ASCII"),
    "a NUL": (f"{CANARY}\x00", "non-ASCII"),
}


@pytest.mark.parametrize("around", ["", " ", "\n", "\r\n", "\t", "\u00a0"], ids=repr)
def test_white_space_around_a_token_is_trimmed_and_nothing_else_is_altered(around: str) -> None:
    with served(create_app(token=CANARY)) as server:
        with Session(base_url=server.url, token=f"{around}{CANARY}{around}") as session:
            session.embed(["a"])
        assert server.received[0].headers["authorization"] == f"Bearer {CANARY}"


@pytest.mark.parametrize(("pasted", "named"), MISPASTED.values(), ids=MISPASTED)
def test_what_was_pasted_with_a_token_is_named_with_a_cure_and_not_echoed(pasted: str, named: str, hunt: Hunt) -> None:
    with pytest.raises(TokenError, match="Next:") as caught:
        Token(pasted)
    assert named in str(caught.value)
    assert len(str(caught.value).splitlines()) <= 3
    assert not hunt.finds(str(caught.value))


@pytest.mark.parametrize("variable", ["VECTORNODE_API_KEY", "VECTOR_ENGINE_API_KEY"])
def test_a_variable_with_quotes_in_it_is_named(variable: str, hunt: Hunt) -> None:
    with pytest.raises(TokenError) as caught:
        token_from_environment({variable: f'"{CANARY}"'})
    assert str(caught.value).startswith(f"${variable}: The token has quotes around it.")
    assert not hunt.finds(str(caught.value))


@pytest.mark.parametrize("name", ["quotes", "Bearer", "a blank in it", "a zero-width space"])
def test_at_the_prompt_a_mispasted_token_is_refused_and_the_earlier_one_stays(
    logged_in: Any, hunt: Hunt, name: str
) -> None:
    pasted, named = MISPASTED[name]
    refused = logged_in.kernel.run("%vn login", stdin=pasted)
    assert refused.error[0].startswith("TokenError: The token has")
    assert named in refused.error[0]
    assert not hunt.finds(str(refused.messages))
    assert logged_in.run("vn_magic.embed(['still'], cache=False)").status == "ok"


ON_THE_LINE = [
    "%vn login {}",
    "%vn {}",
    "%vn panel {}",
    "%vn scatter df --text {}",
    "%embed --token {} 'x'",
    "%embed --model {} 'x'",
    "%embed --max-tokens {} 'x'",
    "%%embed out --max-tokens={}\nx",
    "%embed '{}'",
    "%%embed out --token {}\nx",
    "%%embed --api-key={}\nx",
    "%%embed out --access-token {}\nx",
    "%%embed out --auth-token {}\nx",
    "%%embed out --api-token={}\nx",
    "%embed ['x'] --API_KEY {}",
    "%%embed {}\nx",
]
OTHER_SHAPE = "AIzaSy5e1f0a7b2c"  # not ours, and a secret all the same


@pytest.mark.parametrize(
    "cell",
    [
        *(line.format(CANARY) for line in ON_THE_LINE),
        *(line.format(OTHER_SHAPE) for line in ON_THE_LINE if re.search("login|token|--api", line, re.IGNORECASE)),
    ],
)
def test_a_token_on_a_line_is_refused_without_being_echoed_and_the_refusal_says_what_is_left_to_do(
    logged_in: Any, hunt: Hunt, cell: str
) -> None:
    refused = logged_in.kernel.run(cell)
    told = "\n".join(refused.error)
    assert told.startswith("InputError: ")
    assert "kept in the history and in the notebook" in told
    assert "rotate the token" in told
    echoes = [message for message in refused.messages if message["msg_type"] != "execute_input"]
    assert not hunt.finds(str(echoes))


@pytest.mark.parametrize("line", ["%%embed out --account {}\nx", "%%embed out --account={}\nx", "%%embed out {}\nx"])
def test_a_value_that_no_option_takes_is_not_echoed_whatever_it_is(logged_in: Any, hunt: Hunt, line: str) -> None:
    refused = logged_in.kernel.run(line.format(OTHER_SHAPE).replace("out", "out" if "--" in line else "out more"))
    assert "unrecognized arguments: " in refused.error[0]
    assert ("--account" in refused.error[0]) == ("--account" in line)
    echoes = [message for message in refused.messages if message["msg_type"] != "execute_input"]
    assert not hunt.finds(str(echoes))


@pytest.mark.parametrize(
    "text",
    [
        '"How do I use the --token option of this tool?"',
        "['what does curl --key mean', 'and --password=x']",
        r"'it\'s --secret'",
        '"""a long text --bearer"""',
        "--max-tokens 100 ['one']",
        "['one'] --max-tokens=100",
        "['one'] --column tokens --dry-run",
    ],
)
def test_a_text_may_speak_of_tokens_and_of_options_for_them(logged_in: Any, text: str) -> None:
    told = logged_in.kernel.run(f"%embed --dry-run {text}")
    assert "kept in the history" not in "\n".join(told.error)
    assert (told.status == "ok") == ("--column" not in text), told.error


def test_the_refusal_says_the_truth_ipython_keeps_the_line_before_it_is_run(logged_in: Any, hunt: Hunt) -> None:
    logged_in.kernel.run(f"%vn login {CANARY}")
    history = logged_in.kernel.run("%history -g").stdout
    assert hunt.finds(history)
