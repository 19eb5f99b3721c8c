"""How exceptions leave: short, scrubbed of the token, with nothing of the inside attached."""

from __future__ import annotations

import traceback
from collections.abc import Callable

from vn_magic.exceptions import EmbeddingInterruptedError, ShortTraceback, UnexpectedError


def presentable(error: BaseException, scrub: Callable[[str], str], *, debug: bool) -> BaseException:
    """Return what a user should see of an exception.

    A traceback holds frames, and frames hold headers; what is returned has no traceback, cause or context. It has to
    be raised outside the ``except`` block, or Python ties the old exception to it again. Under ``debug`` it carries
    the text of the traceback, scrubbed.

    Parameters
    ----------
    error
        Anything. An interrupt becomes `EmbeddingInterruptedError`, a stranger `UnexpectedError`.
    scrub
        Masks tokens in a text.
    debug
        Whether the notebook shows the full traceback.
    """
    full = scrub("".join(traceback.format_exception(error)))
    told: BaseException = error
    if isinstance(error, KeyboardInterrupt) and not isinstance(error, EmbeddingInterruptedError):
        told = EmbeddingInterruptedError("Stopped.")
    elif not isinstance(error, ShortTraceback):
        said = scrub(str(error))[:200]
        told = UnexpectedError(
            f"vn_magic failed in an unexpected way ({type(error).__name__}: {said}).\n"
            "Next: `%vn debug on` and run it again shows where; please report it."
        )
    told.args = tuple(scrub(part) if isinstance(part, str) else part for part in told.args)
    if isinstance(told, ShortTraceback) and debug:
        told.full_traceback = full
    told.__cause__ = told.__context__ = None
    return told.with_traceback(None)
