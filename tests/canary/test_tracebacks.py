"""However an error is looked at, and whatever went wrong, neither it nor what hangs on it shows the token."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from support.gateways import answering, json_answer, served
from support.hunt import CANARY, MASK, Hunt

QUOTING = json_answer({"error": {"message": f"bad token Bearer {CANARY}", "type": "new_api_error", "code": ""}}, 401)

BREAK = """
import vn_magic.gateway.dialect as _dialect
def _broken(*arguments, **options):
    secret = f"Bearer {session.find_token().token.reveal()}"
    raise RuntimeError(f"it broke with {secret}")
_whole, _dialect.embed_body = _dialect.embed_body, _broken
"""
MEND = "_dialect.embed_body = _whole"

SLIP = """vn_magic.Session(environ={'VECTORNODE_API_KEY': '"' + session.find_token().token.reveal()})"""
FAILING = {
    "refused by the model's name": "%embed --no-cache --model nobody-serves-this 'x'",
    "in Python": "vn_magic.embed(['x'], model='nobody-serves-this', cache=False)",
    "awaited": "await vn_magic.aembed(['x'], model='nobody-serves-this', cache=False)",
    "past the doors": "session.run_request(session.prepare(['x'], model='nobody-serves-this', cache=False))",
    "input": "%embed 3.5",
    "a token on the line": "%embed --token something-or-other 'x'",
    "a slip in Python": """vn_magic.Session(token='"' + session.find_token().token.reveal())""",
    "a slip in the environment": f"{SLIP}.find_token()",
    "a slip past the doors": f"{SLIP}.run_request(session.prepare(['x']))",
    "in a cell of the user's": "token = session.find_token().token\nheld = vars(session)\n1 / 0",
}
LOOKS = [
    "%tb",
    "import sys, traceback\ntraceback.print_exception(sys.last_value)",
    (
        "import sys, traceback\n"
        "print(*traceback.TracebackException.from_exception(sys.last_value, capture_locals=True).format())"
    ),
    "import sys, traceback\nfor frame, _ in traceback.walk_tb(sys.last_traceback):\n    print(dict(frame.f_locals))",
    "import sys\n[vars(one) for one in (sys.last_value, sys.last_value.__context__, sys.last_value.__cause__) if one]",
    "import logging\nlogging.getLogger('mine').error('seen', exc_info=sys.last_value)",
    (
        "from IPython.core.ultratb import VerboseTB\n"
        "print(VerboseTB(include_vars=True).text(type(sys.last_value), sys.last_value, sys.last_traceback))"
    ),
]


@pytest.fixture(params=["off", "on"])
def debugging(request: pytest.FixtureRequest, logged_in: Any) -> Iterator[str]:
    logged_in.run(f"%vn debug {request.param}")
    yield request.param
    logged_in.run("%vn debug off", "%xmode Context")


@pytest.mark.parametrize("mode", ["Plain", "Context", "Verbose", "Minimal"])
def test_an_error_shows_no_token_in_any_mode_and_under_any_look(
    logged_in: Any, hunt: Hunt, debugging: str, mode: str
) -> None:
    logged_in.run(f"%xmode {mode}")
    heard: dict[str, str] = {}
    for name, cell in FAILING.items():
        replies = [logged_in.run(cell)]
        assert replies[0].status == "error", name
        assert ("Traceback" in str(replies[0].error)) >= (debugging == "on" and name == "in Python")
        replies += [logged_in.run(look) for look in LOOKS]
        heard[name] = str([reply.messages for reply in replies])
    assert [name for name, text in heard.items() if hunt.finds(text)] == []


def test_a_fault_of_ours_that_has_the_token_in_its_words_is_masked(logged_in: Any, hunt: Hunt, debugging: str) -> None:
    logged_in.run("%xmode Verbose", BREAK)
    replies = [logged_in.run("%embed --no-cache 'x'"), *map(logged_in.run, LOOKS), logged_in.run(MEND)]
    assert f"it broke with Bearer {MASK}" in str(replies[0].error)
    assert ("in _broken" in str(replies[0].error)) == (debugging == "on")
    assert not hunt.finds(str([reply.messages for reply in replies]))


def test_a_gateway_that_quotes_the_token_does_not_bring_it_into_the_notebook(
    logged_in: Any, hunt: Hunt, debugging: str
) -> None:
    with served(answering(QUOTING)) as server:
        replies = [
            logged_in.run(f"quoted = vn_magic.Session(base_url={server.url!r})"),
            logged_in.run(f"quoted.debug = {debugging == 'on'}"),
            logged_in.run("quoted.log_in(session.find_token().token, 'a test')"),
            logged_in.run("quoted.embed(['x'])"),
            *map(logged_in.run, LOOKS),
        ]
    assert "TokenRefusedError" in str(replies[3].error)
    assert MASK in str(replies[3].error)
    assert not hunt.finds(str([reply.messages for reply in replies]))


def test_a_wrong_answer_to_the_prompt_stays_in_no_frame(logged_in: Any, hunt: Hunt) -> None:
    logged_in.run("%xmode Verbose", "%vn debug on")
    refused = logged_in.kernel.run("%vn login", stdin=f'"{CANARY}"')
    replies = [refused, *map(logged_in.run, LOOKS), logged_in.run("%xmode Context"), logged_in.run("%vn debug off")]
    assert "TokenError: The token has quotes around it." in str(refused.error)
    assert not hunt.finds(str([reply.messages for reply in replies]))


def test_the_hunt_would_find_a_token_in_a_frame(logged_in: Any, hunt: Hunt) -> None:
    logged_in.run("def careless():\n    secret = session.find_token().token.reveal()\n    1 / 0")
    logged_in.run("careless()")
    seen = [logged_in.kernel.run(look) for look in LOOKS[2:4]]
    logged_in.run("1 / 0")
    assert all(hunt.finds(str(reply.messages)) for reply in seen)
