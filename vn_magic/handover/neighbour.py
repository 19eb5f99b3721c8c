"""The door to a neighbour: that it is not there, or what it refuses, in a line or two."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from vn_magic.exceptions import InputError, MissingExtraError, VnMagicError
from vn_magic.explore.labels import shortened

# Characters of a neighbour's own message; LanceDB's go on with its whole schema.
_LONGEST = 240
_PLACE_IN_SOURCE = re.compile(r",? \S+\.rs:\d+(:\d+)?")


@contextmanager
def installed(name: str, extra: str, brings: str = "") -> Iterator[None]:
    """Import a neighbour within this block.

    Parameters
    ----------
    name
        What the neighbour calls itself.
    extra
        The extra of vn_magic that installs it.
    brings
        What else that installs, where one should know before.

    Raises
    ------
    MissingExtraError
        When it cannot be imported, with the command that installs it.
    """
    try:
        yield
    except ImportError as error:
        cure = f'pip install "vn_magic[{extra}]"' + (f"; it brings {brings}." if brings else "")
        raise MissingExtraError(f"{name} is not installed here, or not all of it ({error}).\nNext: {cure}") from None


@contextmanager
def refusals(name: str, cure: str) -> Iterator[None]:
    """Hand over within this block: what the neighbour raises becomes an `InputError` with its reason and the cure."""
    try:
        yield
    except VnMagicError:
        raise
    except Exception as error:  # noqa: BLE001 - neighbours raise what they like: ValueError, RuntimeError, their own
        raise InputError(f"{name} refuses this: {_reason(error)}.\nNext: {cure}") from None


def _reason(error: Exception) -> str:
    if isinstance(error, KeyError):
        return f"there is no {error}"
    # Arrow says what is wrong and where in two arguments.
    several = len(error.args) > 1 and all(isinstance(part, str) for part in error.args)
    said = "; ".join(error.args) if several else str(error)
    first = _PLACE_IN_SOURCE.sub("", said.strip().partition("\n")[0])
    return shortened(first or type(error).__name__, _LONGEST).rstrip(".")
