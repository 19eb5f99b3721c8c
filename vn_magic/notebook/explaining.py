"""``%vn explain``: the last job on the wire, or one row of it."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from IPython.core.interactiveshell import InteractiveShell

from vn_magic.exceptions import InputError
from vn_magic.session import Session

USAGE = "[ROW]"
_HELP = f"""\
%vn explain {USAGE}

The last job: what was sent (as a curl command, without the token), what came back, tokens, and what the cache has.
ROW is a row's number, counted from 0; without it a row is chosen that failed, or that was sent."""


def explain(line: Sequence[str], session: Session, _shell: InteractiveShell) -> None:
    """Print what happened to a row of the session's last job.

    Raises
    ------
    InputError
        When there was no job, or there is no such row.
    """
    from vn_magic.classroom.explanation import explained  # noqa: PLC0415 - httpx, for those who look behind the scenes

    words = line[0].split()
    if words in (["-h"], ["--help"]):
        print(_HELP)  # noqa: T201 - help is output
        return
    try:
        [number] = map(int, words) if words else [None]
    except ValueError:
        raise InputError(
            f"%vn explain takes the number of a row after it, or nothing, not {line[0].strip()!r}.\n"
            "Next: `%vn explain 0` shows the first row."
        ) from None
    # Plain, in one width: a command is to be copied. With question marks for what a narrow encoding lacks (≈, others').
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    print(explained(session, number).encode(encoding, "replace").decode(encoding))  # noqa: T201 - see above
