"""Vectors from the letters and words of a text: likeness of wording, not of meaning.

A text becomes a bag of weighted features (words, pairs of neighbouring words, character n-grams). Each
feature owns a pseudo-random direction of 3072 signs, and the vector is the weighted sum of its directions.
Texts that share many features therefore point the same way, and a prefix of the vector is a coarser picture
of the same thing, as with a model trained the Matryoshka way.

Everything is added up in integers; the one division and the one rounding are IEEE 754 operations. So the
same text gives the same bits on every machine, whatever numpy, BLAS or CPU adds them up.
"""

import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping
from hashlib import blake2b
from itertools import groupby, pairwise

import numpy as np
from numpy.typing import NDArray

LABEL = "offline-lexical"
VERSION = 1
"""Raised whenever a change here moves a vector: stored vectors of another version are not comparable."""

DIMENSION = 3072
LONGEST_TEXT = 8192
"""Characters that are read, about the 2,048 tokens of the real model; the rest is cut without notice, as there."""

_LANES = np.arange(1, DIMENSION // 64 + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
_ROWS = 256
"""Features projected at a time: 256 rows of weights below 256 cannot overflow a uint16 sum."""

# Words that hold a sentence together and say little about its subject, in four widely taught languages.
# Left out where another of the four means something by it: man, son, war. Other languages do without a list,
# because short words have few n-grams and are light anyway.
_ENGLISH = (
    "a about above after again all also am an and any are as at be because been before being but by can could did do "
    "does for from had has have he her here hers him his how i if in into is it its just me more most my no not of "
    "off on only or our out over own she should so some such than that the their them then there these they this "
    "those through to too under until up upon very was we were what when where which while who whom why will with "
    "would you your"
)
_GERMAN = (
    "aber alle als am an auch auf aus bei bin bis da das dass dem den der des die doch du durch ein eine einem einen "
    "einer eines er es für hatte ich ihr im in ins ist kann mein mit nach nicht noch nur oder ohne sein sich sie sind "
    "so über um und uns unter vom von vor was weil wenn werden wie wir wird zu zum zur"
)
_FRENCH = (
    "au aux avec ce ces cette comme dans de des du elle en est et eux il ils je la le les leur lui mais me même mon "
    "ne nos notre nous on ont ou où par pas plus qu que qui sa se ses si sont sur ta te tu un une vos votre vous "
    "était être"
)
_SPANISH = (
    "al como con cuando del donde el ella ellos en entre es esta este esto fue ha han hay la las le lo los más me mi "
    "muy nos o para pero por porque que quien se ser si sobre su sus también te tiene un una uno y ya yo"
)
_STOP_WORDS = frozenset(f"{_ENGLISH} {_GERMAN} {_FRENCH} {_SPANISH}".split())


def embed(text: str, dimension: int = DIMENSION, title: str = "") -> NDArray[np.float64]:
    """Return the lexical vector of a text.

    Parameters
    ----------
    text
        Any text; a lone surrogate or a control character counts as a space. Only the first
        `LONGEST_TEXT` characters are read.
    dimension
        Values to return, 1 to 3072. Fewer than 3072 are the first values of the full vector.
    title
        Its features join those of the text.

    Returns
    -------
    NDArray[np.float64]
        Shape ``(dimension,)``, rounded to 9 decimals, so that its JSON is the same everywhere. The full
        vector has unit length; a shorter one is *not* normalised again, as with gemini-embedding-001. No
        value is ever zero.

    Raises
    ------
    ValueError
        The dimension is outside 1 to 3072.

    Notes
    -----
    Letters are folded with Python's own Unicode tables. Characters younger than Unicode 14, the one of
    Python 3.11, may be read differently by a later Python.
    """
    if not 1 <= dimension <= DIMENSION:
        raise ValueError(f"dimension must be between 1 and {DIMENSION}, got {dimension}")
    weights = _weights(Counter(_features(title)) + Counter(_features(text)))
    # An odd number is never zero: no prefix, however short, lacks a direction, and neither does a blank text.
    # Sixteen keeps the one too small to count as likeness between texts of a single character.
    totals = 16 * _project(weights) + 1
    norm = np.sqrt(np.float64(totals @ totals))
    values: NDArray[np.float64] = np.round(totals[:dimension] / norm, 9)
    return values


def _project(weights: Mapping[str, int]) -> NDArray[np.int64]:
    """Sum the features' directions, each times its weight, shape ``(3072,)``.

    A direction is 48 outputs of splitmix64 (Steele, Lea and Flood, 2014), their 3072 bits read as signs,
    seeded with the feature's 8-byte BLAKE2b.
    """
    totals = np.zeros(DIMENSION, np.int64)
    seeds = b"".join(blake2b(feature.encode(), digest_size=8).digest() for feature in weights)
    states = np.frombuffer(seeds, dtype="<u8").astype(np.uint64)
    rows = np.fromiter(weights.values(), np.uint8, len(weights))
    for start in range(0, len(rows), _ROWS):
        mixed = states[start : start + _ROWS, np.newaxis] + _LANES
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        mixed ^= mixed >> np.uint64(31)
        signs = np.unpackbits(mixed.astype("<u8").view(np.uint8), axis=1, bitorder="little")
        signs *= rows[start : start + _ROWS, np.newaxis]
        totals += np.add.reduce(signs, axis=0, dtype=np.uint16)
    return 2 * totals - int(rows.sum(dtype=np.int64))


def _weights(counts: Mapping[tuple[str, int], int]) -> dict[str, int]:
    """Let a feature's weight grow with the bit length of its count: 1, 2, 2, 3, 3, 3, 3, 4 times."""
    return {feature: weight * count.bit_length() for (feature, weight), count in counts.items()}


def _features(text: str) -> Iterator[tuple[str, int]]:
    """Yield each feature of the text, once for each time that it occurs, with its weight."""
    folded = unicodedata.normalize("NFKC", text[:LONGEST_TEXT]).casefold()
    tokens = [(kind, "".join(run)) for kind, run in groupby(folded, _kind)]
    words: list[str] = []
    for kind, token in tokens:
        if kind == "word":
            yield from _word_features(token)
            words.append(token)
        elif kind == "dense":
            yield from _dense_features(token)
        elif kind == "symbol":
            yield from ((f"symbol {character}", 3) for character in token)
        elif kind == "mark":
            yield from ((f"mark {character}", 1) for character in token)
    for first, second in pairwise(words):
        light = first in _STOP_WORDS or second in _STOP_WORDS
        yield f"pair {first} {second}", 1 if light else 2


def _word_features(word: str) -> Iterator[tuple[str, int]]:
    """Yield a word and its n-grams of 3 to 5 characters, its two edges marked by spaces."""
    if word in _STOP_WORDS or len(word) == 1:
        yield f"word {word}", 1
        return
    yield f"word {word}", 2
    edged = f" {word} "
    for size in (3, 4, 5):
        for start in range(len(edged) - size + 1):
            yield f"gram {edged[start : start + size]}", 1


def _dense_features(run: str) -> Iterator[tuple[str, int]]:
    """Yield characters and pairs of them for a script that is written without spaces."""
    for character in run:
        # Hiragana is mostly endings and particles, the other signs carry the subject.
        yield f"sign {character}", 1 if "\u3040" <= character <= "\u309f" else 3
    for first, second in pairwise(run):
        yield f"signs {first}{second}", 2


def _kind(character: str) -> str:
    """Tell which reading a character belongs to: word, dense, symbol, mark or space."""
    if character.isascii():
        return "word" if character.isalnum() else "space" if character <= " " or character == "\x7f" else "mark"
    if _is_dense(ord(character)):
        return "dense"
    if "\ufe00" <= character <= "\ufe0f":  # variation selectors: they only say how an emoji is drawn
        return "space"
    category = unicodedata.category(character)
    return {"L": "word", "M": "word", "N": "word", "S": "symbol", "P": "mark"}.get(category[0], "space")


def _is_dense(code: int) -> bool:
    """Tell whether a code point belongs to a script that is written without spaces between words."""
    return (
        0x0E00 <= code <= 0x0EFF  # Thai, Lao
        or 0x1000 <= code <= 0x109F  # Myanmar
        or 0x1780 <= code <= 0x17FF  # Khmer
        or code in (0x3005, 0x3007)  # the repeat mark and the zero among Han characters
        or 0x3040 <= code <= 0x30FF  # Hiragana, Katakana
        or 0x3400 <= code <= 0x9FFF  # Han
        or 0xF900 <= code <= 0xFAFF
        or 0x20000 <= code <= 0x3FFFF
    )
