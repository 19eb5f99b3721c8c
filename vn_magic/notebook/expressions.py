"""Python expressions on the line of a magic."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from typing import Any

from vn_magic.exceptions import InputError


def evaluated(expression: str, variables: Mapping[str, Any], magic: str) -> object:
    """Return what an expression is worth among a user's variables.

    Raises
    ------
    InputError
        When it is none, or fails; the magic's help is what comes next.
    """
    # As a dict of globals, so that a lambda or a comprehension in the expression sees local names too.
    try:
        return eval(compile(ast.parse(expression, magic, "eval"), magic, "eval"), dict(variables))  # noqa: S307 - the user's own expression, in the user's own kernel
    except Exception as error:  # noqa: BLE001 - whatever the expression does, it is told in one line
        raise InputError(
            f"{magic}: {expression!r} cannot be evaluated ({type(error).__name__}: {error}).\n"
            f"Next: run the expression in a cell of its own first; `{magic} -h` shows the options."
        ) from None


def is_expression(text: str) -> bool:
    """Whether a text is an expression of Python, whatever its names stand for."""
    try:
        compile(text, "%embed", "eval")
    except (SyntaxError, ValueError):
        return False
    return True
