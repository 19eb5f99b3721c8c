"""A request for vectors as a command for a shell (sh, bash, zsh), without the token."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from shlex import quote
from typing import Any

import msgspec

from vn_magic.credentials import TOKEN_VARIABLES
from vn_magic.gateway.transport import HEADERS

# Bytes: more than a text has that a model reads whole. A longer one buries all else, and Linux has its limit, too.
LONGEST_BODY = 20_000
BODY_FILE = "body.json"
_BEGINNING = 120


@dataclass(frozen=True, slots=True)
class Command:
    """A command, and what must be said beside it.

    Parameters
    ----------
    lines
        To be pasted as they are, all together.
    remarks
        Sentences on where it is not what was sent, to the byte.
    """

    lines: Sequence[str]
    remarks: Sequence[str]


def curl(url: str, body: bytes, scrub: Callable[[str], str]) -> Command:
    """Return the curl command for a POST with a JSON body, whose token is in a variable of the shell.

    Parameters
    ----------
    url
        Where to.
    body
        As it goes over the wire.
    scrub
        Masks tokens in a text; those of the body are masked before quotes and escapes can tear them apart.
    """
    remarks = []
    text = _masked(body, scrub)
    if text != body.decode():
        remarks.append("Something in it looks like a token and is masked here: the body that was sent is another.")
    if len(body) > LONGEST_BODY:
        remarks.append(f"{BODY_FILE} has {len(body):,} bytes, too many to show; it begins: {_seen(text[:_BEGINNING])}…")
        data = f"--data-binary @{BODY_FILE}"
    else:
        seen = _seen(text)
        if seen != text:
            remarks.append("Characters that nobody can see are written as escapes here: the same text in other bytes.")
        data = f"--data-raw {quote(seen)}"
    fixed = [f"-H {quote(f'{name.decode()}: {value.decode()}')}" for name, value in HEADERS]
    token = f'-H "Authorization: Bearer ${TOKEN_VARIABLES[0]}"'
    parts = [f"curl -i -X POST {quote(url)}", *fixed, token, "-H 'Content-Type: application/json'", data]
    return Command(" \\\n  ".join(parts).split("\n"), remarks)


def _masked(body: bytes, scrub: Callable[[str], str]) -> str:
    """Return a body as it is, or one with masks where a text of it holds a token."""
    sent = msgspec.json.decode(body)
    masked = _each_text(sent, scrub)
    return body.decode() if masked == sent else msgspec.json.encode(masked).decode()


def _each_text(value: Any, change: Callable[[str], str]) -> Any:  # noqa: ANN401 - JSON
    match value:
        case str():
            return change(value)
        case list():
            return [_each_text(item, change) for item in value]
        case dict():
            return {name: _each_text(item, change) for name, item in value.items()}
        case _:
            return value


def _seen(text: str) -> str:
    """Return JSON with escapes for what a terminal obeys, and what a browser loses as it copies (no-break spaces)."""
    if text.isprintable():
        return text
    return "".join(sign if sign.isprintable() else json.dumps(sign)[1:-1] for sign in text)
