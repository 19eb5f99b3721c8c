"""The token: masked wherever it is shown, never pickled, and where it is looked for."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, Self

from vn_magic.exceptions import TokenError

TOKEN_VARIABLES = ("VECTORNODE_API_KEY", "VECTOR_ENGINE_API_KEY")
TOKEN_FILE_VARIABLE = "VECTORNODE_API_KEY_FILE"  # noqa: S105 - the name of a variable, not a secret

_BEARER = re.compile(r"(?:authorization:\s*)?bearer\b", re.IGNORECASE)
_QUOTES = "\"'`“”‘’„«»"
# In ASCII: a letter of another script in front of the `sk-` does not make it a part of a word.
TOKEN_SHAPE = re.compile(r"\bsk-[A-Za-z0-9_\-]{8,}", re.ASCII)
_SHORTEST = 8  # of a token that can be told from a part of a word
LOGGERS = (
    "vn_magic",
    "httpx",
    "aiohttp",
    "aiohttp.client",
    "aiohttp.internal",
    "anyio",
    "asyncio",
    "concurrent.futures",
    "py.warnings",
)


class Token:
    """A secret that shows only its mask.

    Parameters
    ----------
    text
        The token; surrounding white space is trimmed, nothing else is altered.

    Raises
    ------
    TokenError
        When it is empty, was pasted with more than itself, or has characters that cannot stand in an HTTP header.
    """

    # A function, not the text: debuggers and variable inspectors show every attribute, slots and underscores included.
    __slots__ = ("_revealed",)

    def __init__(self, text: str) -> None:
        self._revealed = _closed_over(text.strip())
        del text  # a token with a slip is a secret still, and debuggers show the frames of what is raised
        if (fault := _fault_of(self.reveal())) is not None:
            raise TokenError(fault)

    def reveal(self) -> str:
        """Return the secret itself. One caller outside: the header of a request to the token's own origin."""
        return self._revealed()

    @property
    def masked(self) -> str:
        """The mask that people may see: ``sk-…3f9a``."""
        text = self.reveal()
        prefix = "sk-" if text.startswith("sk-") else ""
        tail = text[-4:] if len(text) >= 16 else ""
        return f"{prefix}…{tail}"

    def scrub(self, text: str) -> str:
        """Return the text with this token, and everything that looks like one, masked."""
        return scrub(text.replace(self.reveal(), self.masked))

    def places_in(self, text: str) -> Iterator[tuple[int, int]]:
        """Yield start and end of every place where this token stands in a text.

        None for one of less than eight characters: it would be found within words.
        """
        length = len(self.reveal())
        start = text.find(self.reveal()) if length >= _SHORTEST else -1
        while start >= 0:
            yield start, start + length
            start = text.find(self.reveal(), start + length)

    def __repr__(self) -> str:
        return f"Token({self.masked})"

    def __str__(self) -> str:
        return self.masked

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Token) and other.reveal() == self.reveal()

    def __hash__(self) -> int:
        return hash((Token, self.reveal()))

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "A token is never pickled. Set VECTORNODE_API_KEY or VECTORNODE_API_KEY_FILE where it is needed."
        )


def _closed_over(text: str) -> Callable[[], str]:
    return lambda: text


def _fault_of(text: str) -> str | None:
    """Return what keeps a text from being sent as a token, and what to do; None when nothing does."""
    if not text:
        return "The token is empty.\nNext: `%vn login` and paste the whole token, e.g. sk-…."
    if _BEARER.match(text):
        return (
            "The token has `Bearer` in front of it, which is not a part of it.\n"
            "Next: give the token alone, from `sk-` on."
        )
    if text[0] in _QUOTES or text[-1] in _QUOTES:
        return "The token has quotes around it.\nNext: give it again without them."
    if not (text.isascii() and text.isprintable()) or " " in text:
        return (
            "The token has blanks, line breaks or non-ASCII characters, so it was not copied whole or not alone.\n"
            "Next: copy it again from the gateway's page."
        )
    return None


def scrub(text: str) -> str:
    """Return the text with everything token-shaped masked."""
    return TOKEN_SHAPE.sub(lambda match: f"sk-…{match[0][-4:]}" if len(match[0]) >= 16 else "sk-…", text)


@dataclass(frozen=True, slots=True)
class FoundToken:
    """A token and where it was found: ``%vn login``, ``$VECTORNODE_API_KEY``, a file."""

    token: Token
    source: str


def token_from_environment(environ: Mapping[str, str]) -> FoundToken | None:
    """Look for a token in the environment, then in the file that the environment names.

    Raises
    ------
    TokenError
        When the file is named but cannot be read, or the token cannot be sent.
    """
    found = _found_in(environ)
    del environ  # as above: it may hold a token with a slip
    if isinstance(found, TokenError):
        raise found
    return found


def _found_in(environ: Mapping[str, str]) -> FoundToken | TokenError | None:
    """Return what is found, or the error, which must not be raised where a secret is in sight."""
    for variable in TOKEN_VARIABLES:
        if environ.get(variable, "").strip():
            return _found(environ[variable], f"${variable}")
    path = environ.get(TOKEN_FILE_VARIABLE, "").strip()
    if not path:
        return None
    try:
        text = Path(path).expanduser().read_text(encoding="utf-8-sig")  # Notepad puts a mark in front
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not a text file"
        return TokenError(
            f"${TOKEN_FILE_VARIABLE} names a file that cannot be read: {reason}.\n"
            "Next: correct the variable, or `%vn login`."
        )
    return _found(text, f"${TOKEN_FILE_VARIABLE}")


def _found(text: str, source: str) -> FoundToken | TokenError:
    try:
        return FoundToken(Token(text), source)
    except TokenError as error:
        return TokenError(f"{source}: {error}")


class TokenStore:
    """The session's own token, the origin it belongs to, and where else a token is looked for.

    Parameters
    ----------
    environ
        Where variables are looked up, at the time of asking.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        # A function that does not raise: what is raised shows every attribute that a line of its frames names.
        self._found_in_environment: Callable[[], FoundToken | TokenError | None] = lambda: _found_in(environ)
        self._own: FoundToken | None = None
        self._filters: set[TokenFilter] = set()
        self.origin: str | None = None

    def log_in(self, token: Token, source: str, origin: str) -> None:
        """Hold a token for one origin, in the place of an earlier one."""
        self._own, self.origin = FoundToken(token, source), origin

    def log_out(self) -> Token | None:
        """Forget the session's own token and return it. The environment's is not ours to forget.

        The mask stays on the log records until `unmask`: what was opened with the token is still to be closed.
        """
        own, self._own, self.origin = self._own, None, None
        return own.token if own else None

    def unmask(self, token: Token | None = None) -> None:
        """Take the mask off the log records, that of one token or all; a token that is found puts its own on again."""
        for mask in tuple(self._filters):
            if token is None or mask.token == token:
                mask.detach()
                self._filters.discard(mask)

    def find(self, origin: str) -> FoundToken | None:
        """Return the token for an origin: the session's own if it was given for that origin, else the environment's.

        Raises
        ------
        TokenError
            When the environment's cannot be read or sent.
        """
        found = self._own if self.origin == origin else self._found_in_environment()
        if isinstance(found, TokenError):
            raise found
        if found is not None:
            self._mask_in_logs(found.token)
        return found

    def _mask_in_logs(self, token: Token) -> None:
        # Without a lock, which a fork could copy as held: two threads at once put two masks on, never none.
        before = tuple(self._filters)
        if all(mask.token != token for mask in before):
            mask = TokenFilter(token)
            mask.attach()
            self._filters.add(mask)
            for earlier in before:
                earlier.detach()
                self._filters.discard(earlier)

    def known(self) -> list[Token]:
        """Return the tokens that this session knows of: its own, and the environment's if that can be sent."""
        found = self._found_in_environment()
        return [each.token for each in (self._own, found) if isinstance(each, FoundToken)]

    def scrub(self, text: str) -> str:
        """Return the text with every token that this session knows of, and all that look like one, masked."""
        for token in self.known():
            text = token.scrub(text)
        return scrub(text)


class TokenFilter(logging.Filter):
    """Masks a token in the log records of the libraries that handle it.

    aiohttp and asyncio do not mask headers by themselves when they log what went wrong.
    """

    def __init__(self, token: Token) -> None:
        super().__init__()
        self.token = token

    def filter(self, record: logging.LogRecord) -> bool:
        """Rewrite the record in place, its traceback included; never drops one."""
        try:
            message = record.getMessage()
        except Exception:  # noqa: BLE001 - whatever an argument's __str__ raises; a filter that does stops the caller
            message = record.msg if isinstance(record.msg, str) else type(record.msg).__name__
            kinds = [type(each).__name__ for each in (record.args if isinstance(record.args, tuple) else [record.args])]
            message = record.msg = f"{message} ({', '.join(kinds)})"
            record.args = ()
        masked = self.token.scrub(message)
        if masked != message:
            record.msg, record.args = masked, ()
        if record.exc_info:
            # Some handlers print a traceback anew, with the frames' variables: only its masked text may stay.
            record.exc_text = record.exc_text or logging.Formatter().formatException(record.exc_info)
            record.exc_info = None
        if record.exc_text:  # another session's filter may have made it
            record.exc_text = self.token.scrub(record.exc_text)
        return True

    def attach(self) -> None:
        """Start masking."""
        for name in LOGGERS:
            logging.getLogger(name).addFilter(self)

    def detach(self) -> None:
        """Stop masking: the token is forgotten."""
        for name in LOGGERS:
            logging.getLogger(name).removeFilter(self)
