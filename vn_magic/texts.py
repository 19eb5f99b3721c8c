"""What can be told of a text before it is sent: whether it can be, and about how many tokens it has."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from numbers import Real

from vn_magic.exceptions import InputError
from vn_magic.settings import OnError

NAMED_ROWS = 5
# Scripts written without spaces, where a character is about a token.
# Not compiled here: that takes 9 ms, and texts in other scripts are the most common.
_DENSE = r"[\u0e00-\u0eff\u1100-\u11ff\u2e80-\u9fff\ua960-\ua97f\uac00-\ud7ff\uf900-\ufaff\U00020000-\U0003ffff]"


def problem_of(value: object) -> str | None:
    """Return why a value cannot be embedded, or None when it can."""
    if not isinstance(value, str):
        missing = value is None or type(value).__name__ in ("NAType", "NaTType") or _is_nan(value)
        return "missing" if missing else f"not text but {type(value).__name__}"
    if not value or value.isspace():
        return "blank"
    try:
        value.encode()
    except UnicodeEncodeError as error:
        return f"a broken character (half of a surrogate pair) at position {error.start}"
    return None


def _is_nan(value: object) -> bool:
    return isinstance(value, Real) and value != value  # noqa: PLR0124 - math.isnan refuses large integers


def checked_texts(
    values: Sequence[object], on_error: OnError, first_row: int = 0
) -> tuple[list[str | None], dict[int, str]]:
    """Return the texts, and the reasons of rows that cannot be sent.

    Parameters
    ----------
    values
        A row each, of any type.
    on_error
        ``keep`` returns None for an unusable row, with its reason by row number.
    first_row
        What an error calls the first of them.

    Raises
    ------
    InputError
        Under ``stop``, naming the rows, before anything is sent.
    """
    texts: list[str | None] = []
    refused: dict[int, str] = {}
    for row, value in enumerate(values):
        # The usual case is decided here, at a tenth of the cost: an ASCII text that is not blank is fine.
        if type(value) is str and value.isascii() and not value.isspace() and value:
            texts.append(value)
            continue
        problem = problem_of(value)
        # Of a subclass of str the text itself: str() of an enum's member would be the member's name.
        texts.append(None if problem else str.__str__(value))
        if problem:
            refused[row] = problem
    if refused and on_error == "stop":
        raise unusable({first_row + row: reason for row, reason in refused.items()}, len(refused), len(texts))
    return texts, refused


def unusable(reasons: Mapping[int, str], count: int, rows: int) -> InputError:
    """Return the error of texts of which so many cannot be sent, named by the first of their rows and reasons."""
    shown = ", ".join(f"row {row} ({reason})" for row, reason in list(reasons.items())[:NAMED_ROWS])
    more = f" and {count - NAMED_ROWS} more" if count > NAMED_ROWS else ""
    return InputError(
        f"{count} of {rows} rows cannot be embedded: {shown}{more}. Nothing was sent.\n"
        "Next: drop or fill them, e.g. .dropna(), or use --on-error keep (on_error='keep') to mark them and go on."
    )


def estimated_tokens(text: str) -> int:
    """Return about how many tokens a text has: four characters each, one where a script has no spaces.

    The rule of thumb of Google's page "Understand and count tokens"; only the service knows better.
    """
    dense = 0 if text.isascii() else len(re.findall(_DENSE, text))
    return max(1, dense + round((len(text) - dense) / 4))
