"""Everything that vn_magic raises, and how it looks in a notebook.

::

    VnMagicError
    ├── InputError                  texts, options or names that cannot be used as they are
    ├── SettingsError               a setting with an impossible value
    ├── TokenError                  no token, or one that cannot be sent
    ├── ProvenanceError             vectors that must not be mixed, or whose origin is lost
    ├── VectorError                 a result that failed its last check before it was bound
    ├── PackError                   a pack that is not there, damaged, or of a newer version
    ├── RequirementError            a notebook's condition does not hold
    ├── MissingExtraError           an optional library is not installed, or too old
    ├── UnexpectedError             a fault of ours, told in short
    └── GatewayError                what the service, or the way to it, answered
        ├── StopJobError            the next row would fail too: the job ends
        │   ├── TokenRefusedError
        │   ├── BalanceError
        │   ├── AccessDeniedError
        │   ├── ModelUnavailableError
        │   ├── DailyLimitError
        │   ├── LongWaitError
        │   ├── WrongAddressError
        │   ├── OutageError
        │   ├── BatchUnavailableError
        │   ├── DimensionError
        │   └── BudgetError
        ├── RowError                this row fails, the others may not
        │   ├── RejectedTextError
        │   ├── BadAnswerError
        │   └── NotInPackError
        └── TransientError          worth another attempt
            ├── RateLimitedError
            ├── UpstreamError
            ├── UnreadableAnswerError
            ├── ConnectionFailedError
            └── DeadlineError

    KeyboardInterrupt
    └── EmbeddingInterruptedError   the user pressed Stop: finished rows are kept
"""

from __future__ import annotations

from typing import ClassVar, Self


class ShortTraceback:
    """An exception that a notebook shows as its message alone.

    IPython calls ``_render_traceback_`` when an exception has it and shows exactly the lines it
    returns. After ``%vn debug on`` the door through which an exception leaves (`Session`) fills in
    ``full_traceback``, scrubbed of the token.
    """

    full_traceback: str | None = None

    def _render_traceback_(self) -> list[str]:
        if self.full_traceback is not None:
            return self.full_traceback.rstrip().splitlines()
        return f"{type(self).__name__}: {self}".splitlines()


class VnMagicError(ShortTraceback, Exception):
    """The base of every error raised on purpose: what happened, why, and the next step."""


class InputError(VnMagicError, ValueError):
    """Texts, options or names that cannot be used as they are. Nothing was sent."""


class SettingsError(VnMagicError, ValueError):
    """A setting has an impossible value, or an environment variable does."""


class TokenError(VnMagicError):
    """There is no token, or there is one that cannot be sent."""


class ProvenanceError(VnMagicError):
    """Vectors of different origin would be mixed, or their origin is not known."""


class VectorError(VnMagicError):
    """A result failed its last check (finite, non-zero) and was not bound."""


class PackError(VnMagicError):
    """A pack is not there, is damaged, was written by a newer version, or cannot be written."""


class RequirementError(VnMagicError):
    """What a notebook requires does not hold; see `vn_magic.require`."""


class MissingExtraError(VnMagicError, ImportError):
    """A part of vn_magic needs a library that is not installed, or not new enough."""


class UnexpectedError(VnMagicError):
    """A fault of vn_magic itself. ``%vn debug on`` shows where."""


class EmbeddingInterruptedError(ShortTraceback, KeyboardInterrupt):
    """The user pressed Stop. Rows that had arrived are in the cache."""


class GatewayError(VnMagicError):
    """What the service, or the way to it, answered.

    Parameters
    ----------
    message
        One to three lines for the reader.
    status
        The HTTP status, or None where no answer came.
    code
        The envelope's ``code`` or ``type``, ``""`` where there is none.
    request_id
        The gateway's ``X-Oneapi-Request-Id``, for its support.
    retry_after
        Seconds to wait, where the service named them.
    """

    meaning: ClassVar[str] = "The gateway could not answer."
    cure: ClassVar[str] = ""

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        code: str = "",
        request_id: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.request_id = request_id
        self.retry_after = retry_after

    @classmethod
    def because(cls, detail: str, *, status: int | None = None) -> Self:
        """Return this error with its usual meaning and cure around one detail."""
        return cls(f"{cls.meaning} ({detail})\n{cls.cure}", status=status)

    def at_row(self, row: int, text: str) -> Self:
        """Return this error with the row that it is about in front."""
        start = text if len(text) <= 40 else text[:39] + "…"
        return self._told(f"Row {row} ({start!r}): {self}")

    def _told(self, message: str) -> Self:
        told = type(self)(
            message,
            status=self.status,
            code=self.code,
            request_id=self.request_id,
            retry_after=self.retry_after,
        )
        told.__cause__ = self.__cause__
        return told


class StopJobError(GatewayError):
    """Every further row would fail in the same way, so the whole job stops."""


class TokenRefusedError(StopJobError):
    """401: the token is wrong, expired, disabled, or its own quota is spent."""

    meaning = "The gateway refused the token (wrong, expired, disabled, or its own quota is spent)."
    cure = "Next: `%vn login` with a fresh token, or `%vn offline` to go on without one."


class BalanceError(StopJobError):
    """403: the account has no money left. The token is fine."""

    meaning = "The account's balance is used up. It is money, not the token."
    cure = "Next: top up the account at the gateway, then run the cell again; finished rows are kept."


class AccessDeniedError(StopJobError):
    """403: this account, group or address may not use the model."""

    meaning = "The gateway does not allow this: the model, the account's group or this address is barred."
    cure = "Next: ask whoever manages the account, or pick another model with --model."


class ModelUnavailableError(StopJobError):
    """503 ``model_not_found`` or 404: the gateway does not serve this model. Waiting does not help."""

    meaning = "The gateway does not serve this model."
    cure = "Next: check the spelling of --model; `%vn status` shows the model and the base URL in use."


class DailyLimitError(StopJobError):
    """429 with a quota that is counted per day. Waiting a minute does not help."""

    meaning = "The limit for today is used up; waiting a minute will not help."
    cure = "Next: run the cell again tomorrow; finished rows are kept and not sent twice."


class LongWaitError(StopJobError):
    """429 with a wait that is longer than a row may take."""

    meaning = "The gateway limits the rate and asks for a longer wait than a row may take."
    cure = "Next: run the cell again after that; finished rows are kept. `row_timeout` is the longest wait."


class WrongAddressError(StopJobError):
    """The address answers, but not as the gateway's API does: a web page, a redirect, a strange path."""

    meaning = "This address does not answer like the gateway's API."
    cure = "Next: check the base URL with `%vn status`; it is the bare host, e.g. https://www.vectronode.com."


class OutageError(StopJobError):
    """Nothing but failures for a while: the job ends instead of trying every row in vain."""

    meaning = "The gateway failed again and again, with no success in between, so the job stopped."
    cure = "Next: run the cell again in some minutes; finished rows are kept. `%vn doctor` looks at the way there."


class BatchUnavailableError(StopJobError):
    """The gateway has no batches, or answers with more or fewer vectors than texts. Single requests may work."""

    meaning = "The gateway does not embed several texts in one request."
    cure = "Next: leave out --batch-size, or set it to 1."


class DimensionError(StopJobError):
    """The answer has a length that cannot be turned into what was asked for."""

    meaning = "The answer has another dimension than the one asked for."
    cure = "Next: ask for a dimension that the model has, or another model."


class BudgetError(StopJobError):
    """More would be sent than the user has allowed. The gateway was not asked, or not any more."""

    meaning = "The budget does not allow to send this."
    cure = "Next: send less, or raise the budget; finished rows are kept."


class RowError(GatewayError):
    """One text cannot be embedded; the others may well be."""


class RejectedTextError(RowError):
    """400, 413, 500 ``invalid_request``: the service will not embed this text."""

    meaning = "The gateway rejected this text."
    cure = "Next: shorten or correct the text, or use --on-error keep to go on without it."


class BadAnswerError(RowError):
    """200, but what came is not a vector: a missing field, a null, a NaN, all zeros."""

    meaning = "The gateway's answer is not a usable vector."
    cure = "Next: run the cell again; with --on-error keep the other rows are returned."


class NotInPackError(RowError):
    """The session answers from a pack alone, and this text was not recorded, or not like this."""

    meaning = "This text is not in the pack, which alone answers here."
    cure = "Next: use a recorded text exactly as it is, or `%vn pack off` and a token."


class TransientError(GatewayError):
    """Worth another attempt; raised to the user only when the attempts are used up."""

    def as_last(self) -> Self:
        """Return this error, saying that the job has no retries left."""
        *lines, cure = str(self).split("\n")
        return self._told("\n".join([*lines, f"Not tried again: too many of this job's requests have failed. {cure}"]))


class RateLimitedError(TransientError):
    """429: too many requests just now."""

    meaning = "The gateway limits the rate, and went on doing so."
    cure = "Next: wait some minutes, or set --rpm to what the account allows; finished rows are kept."


class UpstreamError(TransientError):
    """5xx: the gateway, or the service behind it, is in trouble."""

    meaning = "The gateway or the service behind it is in trouble, and stayed so."
    cure = "Next: run the cell again later; finished rows are kept."


class UnreadableAnswerError(TransientError):
    """200 with a body that is cut, compressed against our wish, too long or not JSON."""

    meaning = "The gateway's answer could not be read."
    cure = "Next: run the cell again; if it stays, check the base URL and any proxy with `%vn doctor`."


class ConnectionFailedError(TransientError):
    """No answer: name not found, refused, reset, TLS trouble, a proxy."""

    meaning = "The gateway could not be reached."
    cure = "Next: check the network and the base URL with `%vn doctor`, or `%vn offline` to go on without."


class DeadlineError(TransientError):
    """The answer did not come in time."""

    meaning = "The gateway did not answer in time."
    cure = "Next: run the cell again; finished rows are kept. `%config VnMagic.request_timeout` is in seconds."
