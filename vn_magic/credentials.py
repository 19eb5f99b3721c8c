"""The token: masked wherever it is shown, never pickled, and where it is looked for."""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, Self

from vn_magic.exceptions import TokenError

TOKEN_VARIABLES = ("VECTORNODE_API_KEY", "VECTOR_ENGINE_API_KEY")
TOKEN_FILE_VARIABLE = "VECTORNODE_API_KEY_FILE"  # noqa: S105 - the name of a variable, not a secret

TOKEN_SHAPE = re.compile(r"\bsk-[A-Za-z0-9_\-]{8,}")
LOGGERS = ("vn_magic", "httpx", "aiohttp", "aiohttp.client", "aiohttp.internal", "asyncio", "tenacity")


class Token:
    """A secret that shows only its mask.

    Parameters
    ----------
    text
        The token; surrounding white space is trimmed, nothing else is altered.

    Raises
    ------
    TokenError
        When it is empty, or has characters that cannot stand in an HTTP header.
    """

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        text = text.strip()
        if not text:
            raise TokenError("The token is empty.\nNext: `%vn login` and paste the whole token, e.g. sk-….")
        if not (text.isascii() and text.isprintable()) or " " in text:
            raise TokenError(
                "The token has blanks, line breaks or non-ASCII characters, so it was not copied whole or not alone.\n"
                "Next: copy it again from the gateway's page."
            )
        self._text = text

    def reveal(self) -> str:
        """Return the secret itself. One caller: the header of a request to the token's own origin."""
        return self._text

    @property
    def masked(self) -> str:
        """The mask that people may see: ``sk-…3f9a``."""
        prefix = "sk-" if self._text.startswith("sk-") else ""
        tail = self._text[-4:] if len(self._text) >= 16 else ""
        return f"{prefix}…{tail}"

    def scrub(self, text: str) -> str:
        """Return the text with this token, and everything that looks like one, masked."""
        return scrub(text.replace(self._text, self.masked))

    def __repr__(self) -> str:
        return f"Token({self.masked})"

    def __str__(self) -> str:
        return self.masked

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Token) and other._text == self._text

    def __hash__(self) -> int:
        return hash((Token, self._text))

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "A token is never pickled. Set VECTORNODE_API_KEY or VECTORNODE_API_KEY_FILE where it is needed."
        )


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
    for variable in TOKEN_VARIABLES:
        if environ.get(variable, "").strip():
            return FoundToken(Token(environ[variable]), f"${variable}")
    path = environ.get(TOKEN_FILE_VARIABLE, "").strip()
    if not path:
        return None
    try:
        text = Path(path).expanduser().read_text(encoding="utf-8-sig")  # Notepad puts a mark in front
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not a text file"
        raise TokenError(
            f"${TOKEN_FILE_VARIABLE} names a file that cannot be read: {reason}.\n"
            "Next: correct the variable, or `%vn login`."
        ) from None
    return FoundToken(Token(text), f"${TOKEN_FILE_VARIABLE}")


class TokenStore:
    """The session's own token, the origin it belongs to, and where else a token is looked for.

    Parameters
    ----------
    environ
        Where variables are looked up, at the time of asking.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self._own: FoundToken | None = None
        self._filter: TokenFilter | None = None
        self._lock = threading.Lock()
        self.origin: str | None = None

    def log_in(self, token: Token, source: str, origin: str) -> None:
        """Hold a token for one origin, in the place of an earlier one."""
        self.log_out()
        self._own, self.origin = FoundToken(token, source), origin

    def log_out(self) -> Token | None:
        """Forget the session's own token and return it. The environment's is not ours to forget."""
        own, self._own, self.origin = self._own, None, None
        self.unmask()
        return own.token if own else None

    def unmask(self) -> None:
        """Take the mask off the log records; the next token that is found puts it on again."""
        self._mask_in_logs(None)

    def find(self, origin: str) -> FoundToken | None:
        """Return the token for an origin: the session's own if it was given for that origin, else the environment's.

        Raises
        ------
        TokenError
            When the environment's cannot be read or sent.
        """
        found = self._own if self.origin == origin else token_from_environment(self._environ)
        self._mask_in_logs(found)
        return found

    def _mask_in_logs(self, found: FoundToken | None) -> None:
        with self._lock:
            if self._filter is not None and (found is None or self._filter.token != found.token):
                self._filter.detach()
                self._filter = None
            if self._filter is None and found is not None:
                self._filter = TokenFilter(found.token)
                self._filter.attach()

    def scrub(self, text: str) -> str:
        """Return the text with every token that this session knows of, and all that look like one, masked."""
        known = [self._own.token] if self._own else []
        with suppress(TokenError):
            found = token_from_environment(self._environ)
            known += [found.token] if found else []
        for token in known:
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
        except (TypeError, ValueError, KeyError):  # a handler would report it; a filter that raises stops the caller
            message = f"{record.msg} {record.args!r}"
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
