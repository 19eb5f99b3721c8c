"""``%vn``: a table of subcommands, each a small function beside the feature that it serves."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from IPython.core.interactiveshell import InteractiveShell

from vn_magic.exceptions import InputError
from vn_magic.notebook import account, comparing, doctor, drawing, explaining, housekeeping, packing, searching, usage
from vn_magic.notebook.options import refuse_tokens
from vn_magic.notebook.panel.command import show_panel
from vn_magic.session import Session

Command = Callable[[Sequence[str], Session, InteractiveShell], None]


@dataclass(frozen=True, slots=True)
class Subcommand:
    """What runs, what it is for, and the words that may follow.

    Where `usage` is given, the rest of the line is its own language: it is handed on untouched, as one word.
    """

    run: Command
    summary: str
    words: tuple[str, ...] = ()
    usage: str = ""

    @property
    def following(self) -> str:
        """What may follow the name, as help shows it."""
        return self.usage or ("[" + "|".join(self.words) + "]" if self.words else "")


SUBCOMMANDS: Mapping[str, Subcommand] = {
    "login": Subcommand(account.login, "give the session a token; it is asked for, never typed on the line"),
    "logout": Subcommand(account.logout, "forget the session's token"),
    "status": Subcommand(account.status, "base URL, token (masked), every setting and where it came from, totals"),
    "usage": Subcommand(usage.usage, "what the session has used, and what of its budgets is left"),
    "explain": Subcommand(
        explaining.explain, "the last job, or one row of it: what was sent, what came back", usage=explaining.USAGE
    ),
    "offline": Subcommand(account.offline, "switch to the embedded stand-in, or back", ("on", "off")),
    "panel": Subcommand(show_panel, "everything by clicking, with the cell that does the same"),
    "cache": Subcommand(housekeeping.cache, "where the cache is and how much it holds", ("info", "clear", "path")),
    "pack": Subcommand(packing.pack, "record a lesson's vectors, and answer from them", usage=packing.USAGE),
    "nearest": Subcommand(
        searching.nearest, "rows nearest to a text, like df.vec.nearest", usage=searching.NEAREST_USAGE
    ),
    "scatter": Subcommand(drawing.scatter, "vectors as points, like df.vec.scatter", usage=drawing.SCATTER_USAGE),
    "heatmap": Subcommand(drawing.heatmap, "similarities, like df.vec.heatmap", usage=drawing.HEATMAP_USAGE),
    "compare": Subcommand(comparing.compare, "several settings on the same texts", usage=comparing.COMPARE_USAGE),
    "doctor": Subcommand(
        doctor.doctor,
        "check front end, network, token, cache and clock, each with a cure, or notebooks for tokens",
        usage=doctor.DOCTOR_USAGE,
    ),
    "debug": Subcommand(housekeeping.debug, "full tracebacks, scrubbed of the token", ("on", "off")),
}


def run(line: str, session: Session, shell: InteractiveShell) -> None:
    """Run one line of ``%vn``.

    Raises
    ------
    InputError
        When there is no such subcommand, or a word does not fit.
    """
    if line.split()[:1] == ["login"] and len(line.split()) > 1:
        raise InputError(
            "A token has no place on the line: it is kept in the history and in the notebook.\n"
            "Next: rotate the token at the gateway, clear this cell, then `%vn login` alone, which asks for it."
        )
    refuse_tokens(line, session)
    name, rest = (*line.split(maxsplit=1), "", "")[:2]
    if name in ("", "-h", "--help", "help"):
        print(overview())  # noqa: T201 - help is output
        return
    if name not in SUBCOMMANDS:
        raise InputError(f"%vn: there is no {name!r}.\nNext: one of {', '.join(SUBCOMMANDS)}.")
    subcommand = SUBCOMMANDS[name]
    if subcommand.usage:
        subcommand.run([rest], session, shell)
        return
    try:
        words = shlex.split(rest)
    except ValueError as error:
        raise InputError(f"%vn: the line cannot be read: {error}.") from None
    if len(words) > 1 or any(word not in subcommand.words for word in words):
        expected = f"one of {', '.join(subcommand.words)}" if subcommand.words else "nothing"
        raise InputError(f"%vn {name} takes {expected} after it, not {' '.join(words)!r}.")
    subcommand.run(words, session, shell)


def overview() -> str:
    """Return a line for every subcommand."""
    width = max(map(len, SUBCOMMANDS))
    lines = [f"  %vn {name:<{width}}  {item.summary} {item.following}".rstrip() for name, item in SUBCOMMANDS.items()]
    return "\n".join(["Everything that is not embedding; `%%embed -h` is about that.", *lines])
