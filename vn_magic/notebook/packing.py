"""``%vn pack``: record a lesson's vectors, and answer from them."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from IPython.core.interactiveshell import InteractiveShell

from vn_magic.classroom.recording import NO_LICENCE, Saved, save_frames, save_session
from vn_magic.exceptions import InputError, PackError
from vn_magic.explore.labels import shortened
from vn_magic.frames import Frame
from vn_magic.notebook.card import show_lines
from vn_magic.notebook.options import LineParser, words_of
from vn_magic.notebook.phrases import size_text
from vn_magic.pack import Pack, described
from vn_magic.pack_format import HOLDS, Manifest
from vn_magic.session import Session
from vn_magic.wording import counted

WORDS = ("save", "use", "off", "info")
OPTIONS: Mapping[str, Sequence[str]] = {"save": ("-c", "--column", "--licence"), "use": ("--strict",)}
USAGE = "save FILE [FRAME…] | use FILE [--strict] | info [FILE] | off"
_HELP = f"""\
%vn pack {USAGE}

  %vn pack save lesson.vnpack               all that this session has embedded, queries included
  %vn pack save lesson.vnpack reviews poems the rows of these frames (-c COLUMN names their texts)
  %vn pack save … --licence "CC BY 4.0, A. Teacher"
  %vn pack use lesson.vnpack                answers what the cache does not have, before the gateway is asked
  %vn pack use lesson.vnpack --strict       it alone answers: no token, no network
  %vn pack info [FILE]                      what the pack in use, or a file, holds
  %vn pack off                              no pack any more

A pack holds {HOLDS}."""
_NOTICE_WIDTH = 240
_MOST_NOTICES = 5
_MOST_GROUPS = 20


def pack(line: Sequence[str], session: Session, shell: InteractiveShell) -> None:
    """Save, use, show or leave a pack.

    Raises
    ------
    InputError
        When the line cannot be read, or there is nothing to save.
    PackError
        When a pack cannot be read or written.
    """
    words = words_of(line[0], "%vn pack")
    what, rest = (words or ["info"])[0], words[1:]
    if {"-h", "--help"} & set(words):
        print(_HELP)  # noqa: T201 - help is output
    elif what == "save":
        _save(rest, session, shell)
    elif what == "use":
        _use(rest, session)
    elif what == "info":
        _info(rest, session)
    elif what == "off":
        _parser("off").parse_args(rest)
        session.drop_pack()
        show_lines(["No pack is in use.", *_who_answers(session)])
    else:
        raise InputError(f"%vn pack: there is no {what!r}.\nNext: one of {', '.join(WORDS)}; `%vn pack -h` shows more.")


def pack_line(session: Session) -> str:
    """Return one line about the pack in use; about what is wrong with it, where the environment names a bad one."""
    try:
        in_use = session.pack
    except PackError as error:
        return str(error).splitlines()[0]
    if in_use is None:
        return "none"
    how = "alone answers (strict): no token, no network" if in_use.strict else "answers what the cache does not have"
    return f"{in_use.pack.name} {how} · {counted(in_use.pack.manifest.rows, 'row')} · from {in_use.source}"


def manifest_lines(name: str, manifest: Manifest) -> list[str]:
    """Return what a pack says of itself."""
    made = shortened(f"{manifest.created[:10]} · {manifest.made_by}")
    return [
        f"{name}   {counted(manifest.rows, 'row')} · {made}",
        f"licence: {shortened(manifest.licence)} · holds {HOLDS}",
        *(f"{group.rows:>6,} × {described(group)}" for group in manifest.groups[:_MOST_GROUPS]),
        *([f"and {len(manifest.groups) - _MOST_GROUPS:,} kinds more"] if len(manifest.groups) > _MOST_GROUPS else []),
        f"checksum: {shortened(manifest.checksum)}",
        *notices_of(manifest),
    ]


def notices_of(manifest: Manifest) -> list[str]:
    """Return a pack's notices, which anybody may have written, as lines that can be shown."""
    return [shortened(notice, _NOTICE_WIDTH) for notice in manifest.notices[:_MOST_NOTICES]]


def _parser(what: str) -> LineParser:
    return LineParser(prog=f"%vn pack {what}", add_help=False, allow_abbrev=False)


def _save(words: Sequence[str], session: Session, shell: InteractiveShell) -> None:
    parser = _parser("save")
    parser.add_argument("file", type=Path)
    parser.add_argument("frames", nargs="*", metavar="FRAME")
    parser.add_argument("-c", "--column")
    parser.add_argument("--licence", default=NO_LICENCE)
    options = parser.parse_intermixed_args(words)  # options may stand between the frames
    path = Path(os.path.expanduser(options.file))  # noqa: PTH111 - Path.expanduser raises where nobody has that name
    if options.frames:
        frames = {name: _frame(name, shell) for name in options.frames}
        saved = save_frames(session, frames, path, column=options.column, licence=options.licence)
    elif options.column is not None:
        raise InputError("%vn pack save: -c names a column of a frame.\nNext: name the frame after the file.")
    else:
        saved = save_session(session, path, licence=options.licence)
    show_lines(_saved_lines(saved))


def _frame(name: str, shell: InteractiveShell) -> Frame:
    value = shell.user_ns.get(name)
    if not isinstance(value, Frame):
        what = "there is no such variable" if value is None else f"it is a {type(value).__name__}"
        raise InputError(f"%vn pack save: {name!r} is no frame with vectors: {what}.\nNext: name a DataFrame.")
    return value


def _saved_lines(saved: Saved) -> list[str]:
    size = size_text(saved.path.stat().st_size)
    lines = [f"{saved.path.name}   written, {size}", *manifest_lines(saved.path.name, saved.manifest)]
    if saved.missing:
        left_out = counted(saved.missing, "text was", "texts were")
        lines.append(f"{left_out} left out: embedded with --no-cache, failed, or forgotten by the cache since.")
    return lines


def _use(words: Sequence[str], session: Session) -> None:
    parser = _parser("use")
    parser.add_argument("file", type=Path)
    parser.add_argument("--strict", action="store_true")
    options: argparse.Namespace = parser.parse_args(words)
    used = session.use_pack(options.file, strict=options.strict, source="%vn pack use")
    notices = session.untold(notices_of(used.manifest))  # said here, so the next card need not
    show_lines([pack_line(session), *([] if options.strict else _who_answers(session)), *notices])


def _info(words: Sequence[str], session: Session) -> None:
    parser = _parser("info")
    parser.add_argument("file", type=Path, nargs="?")
    options = parser.parse_args(words)
    if options.file is not None:
        read = Pack.read(options.file)
        show_lines(manifest_lines(read.name, read.manifest))
    elif (in_use := session.pack) is None:
        show_lines(["No pack is in use.", "`%vn pack use FILE` uses one, `%vn pack -h` shows more."])
    else:
        show_lines([pack_line(session), *manifest_lines(in_use.pack.name, in_use.pack.manifest)])


def _who_answers(session: Session) -> list[str]:
    settings = session.settings
    return [f"The rest comes from {'the offline stand-in' if settings.offline else settings.base_url}."]
