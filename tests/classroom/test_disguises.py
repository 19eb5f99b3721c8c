"""Tokens in a text, as they are and as programs disguise them; and what only looks like one."""

from __future__ import annotations

import base64
import html
import json
import re
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from support.hunt import CANARY, MASK, Hunt

from vn_magic.classroom.disguises import Spotter
from vn_magic.classroom.escapes import Escapes
from vn_magic.credentials import Token

ODD = "Hush&Co/5e1f+0a'7b2c=="
ODD_MASK = "…2c=="

# Every one says: <CANARY> and no more.
DISGUISES = {
    "plain": f"<{CANARY}>",
    "in another script": f"密钥{CANARY}。",
    "coloured": "\x1b[31m<\x1b[0msk\x1b[39m-\x1b[38;5;28mcanary\x1b[39m-5e1f0a7b2c\x1b[0m>",
    "repr of lines": repr(f"<\n{CANARY}\n>"),
    "JSON": json.dumps(f"<\n{CANARY}\t>"),
    "JSON in JSON": json.dumps(json.dumps(f"<\n{CANARY}\n>")),
    "JSON in JSON in JSON": json.dumps(json.dumps(json.dumps(f"<\n{CANARY}\n>"))),
    "unicode escapes": "".join(f"\\u{ord(sign):04x}" for sign in f"<{CANARY}>"),
    "hexadecimal escapes": "".join(f"\\x{ord(sign):02X}" for sign in f"<{CANARY}>"),
    "entities": "".join(f"&#{ord(sign)};" for sign in f"<{CANARY}>"),
    "entities in hexadecimal": "".join(f"&#x{ord(sign):x};" for sign in f"<{CANARY}>"),
    "HTML": html.escape(f'<i title="{CANARY}">'),
    "URL": "https://a.example/?q=" + quote(f"<{CANARY}>"),
    "URL, everything": "".join(f"%{ord(sign):02X}" for sign in f"<{CANARY}>"),
    "base64": base64.b64encode(f"<{CANARY}>".encode()).decode(),
    "data URI": f"<img src='data:image/svg+xml;base64,{base64.b64encode(f'<svg>{CANARY}</svg>'.encode()).decode()}'>",
    "base64 without its end": base64.b64encode(f"<<{CANARY}>>".encode()).decode().rstrip("="),
    "base64 of binary": base64.b64encode(b"\x89PNG\r\n\xff" + CANARY.encode() + b"\x00\xff").decode(),
    "base64 in base64": base64.b64encode(base64.b64encode(CANARY.encode())).decode(),
    "escaped in base64": base64.b64encode(json.dumps(f"\n{CANARY}\n").encode()).decode(),
}


@pytest.mark.parametrize("disguise", DISGUISES)
def test_a_token_is_seen_through_a_disguise_and_told_by_its_mask(disguise: str) -> None:
    [spot] = Spotter().spots(DISGUISES[disguise])
    assert spot.masks == (MASK,)


@pytest.mark.parametrize("disguise", DISGUISES)
def test_nothing_of_a_token_is_left_where_it_was_masked_and_what_is_around_it_stays(disguise: str) -> None:
    text = f"before {DISGUISES[disguise]} after"
    masked = Spotter().masked(text)
    assert not Hunt().finds(masked)
    assert Spotter().spots(masked) == []
    assert (masked[:7], masked[-6:]) == ("before ", " after")


@pytest.mark.parametrize("layers", range(4))
def test_a_token_is_cut_out_of_strings_within_strings_to_the_letter(layers: int) -> None:
    text = '\n\t{"é\\n": @\n}'
    for _ in range(layers):
        text = json.dumps(f'"\n{text}')
    assert Spotter().masked(text.replace("@", CANARY)) == text.replace("@", MASK)


def test_what_is_around_an_escaped_token_stays_as_it_is_written() -> None:
    text = f'{{"a\\u00e9": "\\n{CANARY}\\n\\ud83d\\ude00"}} &lt;{CANARY}&gt; \x1b[31m{CANARY}\x1b[0m'
    assert Spotter().masked(text) == text.replace(CANARY, MASK)


def test_text_in_base64_is_masked_within_and_binary_data_keep_their_length() -> None:
    svg = f"<svg>é {CANARY}</svg>"
    masked = Spotter().masked(base64.b64encode(svg.encode()).decode())
    assert base64.b64decode(masked, validate=True).decode() == svg.replace(CANARY, MASK)
    png = b"\x89PNG\xff" + CANARY.encode() + b"\xff"
    masked = Spotter().masked(base64.b64encode(png).decode())
    assert base64.b64decode(masked, validate=True) == png.replace(CANARY.encode(), b"*" * len(CANARY))


@pytest.mark.parametrize("count", range(4))
def test_base64_is_padded_as_it_was(count: int) -> None:
    encoded = base64.b64encode(f"{'x' * count} {CANARY}".encode()).decode()
    masked = Spotter().masked(encoded)
    assert base64.b64decode(masked, validate=True).decode() == f"{'x' * count} {MASK}"
    bare = encoded.rstrip("=")
    assert ("=" in Spotter().masked(bare)) == (bare == encoded and "=" in masked)


@pytest.mark.parametrize(
    "written",
    [
        ODD,
        html.escape(ODD),
        quote(ODD, safe=""),
        json.dumps(json.dumps(ODD + '"')),
        base64.b64encode(f"user:{ODD}\n".encode()).decode(),
    ],
)
def test_a_known_token_of_another_shape_is_seen_in_the_same_disguises(written: str) -> None:
    assert Spotter().spots(written) == []
    [spot] = Spotter([Token(ODD)]).spots(f"({written})")
    assert spot.masks == (ODD_MASK,)


def test_a_known_token_is_masked_whole_when_only_its_beginning_has_the_shape() -> None:
    token = Token("sk-abcdefgh.ijkl/mnop")
    assert Spotter([token]).masked(f"({token.reveal()})") == "(sk-…mnop)"


def test_a_known_token_is_masked_whole_when_only_its_middle_has_the_shape() -> None:
    token = Token("hush.sk-abcdefgh.ijkl/mnop")
    assert Spotter([token]).masked(f"({token.reveal()})") == "(…mnop)"


def test_of_tokens_that_overlap_nothing_is_left() -> None:
    assert Spotter([Token("efgh.ijkl/mnop0123456")]).masked("(sk-abcdefgh.ijkl/mnop0123456)") == "(…3456)"


def test_a_known_token_that_is_no_longer_than_a_word_is_not_looked_for() -> None:
    assert Spotter([Token("letters")]).masked("seven letters") == "seven letters"
    assert Spotter([Token("alphabet")]).masked("an alphabet") == "an …"


def test_the_shortest_token_is_seen_too() -> None:
    for text in ("sk-abcdefgh", base64.b64encode(b"sk-abcdefgh").decode(), "c2stYWJjZGVmZ2g"):
        assert [spot.masks for spot in Spotter().spots(text)] == [("sk-…",)]


@pytest.mark.parametrize(
    "text",
    [
        "risk-adjusted-returns, task-specific-parameters, a disk-image-of-mine",
        "sk-short",
        "sk-…7b2c and sk-…",
        "c2tpbi1kZWVwIGlzIG5vdCBhIHRva2Vu",
        "/usr/share/doc/some/where/in/the/tree",
    ],
)
def test_what_is_no_token_is_left_alone(text: str) -> None:
    assert Spotter().spots(text) == []


def test_the_style_sheet_of_an_estimator_is_not_full_of_tokens() -> None:
    drawn = make_pipeline(StandardScaler(), LogisticRegression())._repr_html_()
    assert "sk-container-id-" in drawn
    assert "sk-toggleable__content" in drawn
    assert Spotter().spots(drawn) == []
    assert [spot.masks for spot in Spotter().spots(drawn.replace("StandardScaler", CANARY))]


@pytest.mark.parametrize("name", ["sk-container-id-5e1f0a7b2c", "sk-label-5E1f0a7b2c", "sk-text0a7b2c9d"])
def test_a_token_that_begins_like_a_name_of_a_style_sheet_is_still_a_token(name: str) -> None:
    assert [(spot.start, spot.end) for spot in Spotter().spots(name)] == [(0, len(name))]


def test_tokens_side_by_side_are_told_apart() -> None:
    text = f"{CANARY},{CANARY}\\n{CANARY}"
    assert [spot.masks for spot in Spotter().spots(text)] == [(MASK,)] * 3
    assert Spotter().masked(text) == f"{MASK},{MASK}\\n{MASK}"
    encoded = base64.b64encode(text.encode()).decode()
    assert [spot.masks for spot in Spotter().spots(encoded)] == [(MASK,) * 3]
    assert Spotter([Token(ODD)]).masked(ODD * 2) == ODD_MASK * 2


_ROMAN = {"[II]": "22", "[]": "", "[V]": "5"}
_NUMERAL = re.compile(r"\[\w*\]")


@given(pieces=st.lists(st.sampled_from(["a", "bc", *_ROMAN])), data=st.data())
def test_a_part_of_the_meaning_is_found_where_it_is_written(pieces: list[str], data: st.DataObject) -> None:
    text = "".join(pieces)
    meanings = [_ROMAN.get(piece, piece) for piece in pieces]
    first = data.draw(st.integers(0, len(pieces)))
    last = data.draw(st.integers(first, len(pieces)))
    start, end = len("".join(meanings[:first])), len("".join(meanings[:last]))
    if start < end:
        a, b = Escapes(text, _NUMERAL, _ROMAN.__getitem__).origin(start, end)
        assert _NUMERAL.sub(lambda found: _ROMAN[found[0]], text[a:b]) == "".join(meanings[first:last])
        assert not text[a:b].startswith("[]")
        assert not text[a:b].endswith("[]")
