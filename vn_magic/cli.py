"""``vn-magic``: files of any size, the stand-in over HTTP, the cache, the doctor and the scrubber, from a terminal."""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn, TextIO

from vn_magic.classroom.scrubber import known_tokens, scans
from vn_magic.diagnosis import findings
from vn_magic.exceptions import VnMagicError
from vn_magic.notebook.file_command import EXAMPLES, add_arguments, run
from vn_magic.notebook.options import without_values
from vn_magic.session import Session


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return its exit status: 0 well, 1 it failed, 2 it was not understood."""
    options = _parser().parse_args(arguments)
    try:
        status: int = options.run(options)
    except VnMagicError as error:
        print(f"vn-magic: {error}", file=sys.stderr)  # noqa: T201 - a program's errors go to stderr
        return 1
    return status


# What argparse says of a value that does not fit; the choices behind it, if any, are ours.
_MISFIT = re.compile(r"(invalid choice:|invalid \w+ value:|explicit argument) (?:.*(?= \(choose from )|.*)", re.DOTALL)


class _Parser(argparse.ArgumentParser):
    """An argparse parser that quotes no value: it may be a token, and what goes to stderr is kept in logs."""

    def error(self, message: str) -> NoReturn:
        super().error(_MISFIT.sub(r"\1 …", without_values(message)))


_SCRUB = """\
Find what looks like a token, and the tokens of this environment whatever they look like, and print a line for each,
masked. What was typed (sources of cells, text files) is never rewritten; binary files are passed over.
Exit status: 0 nothing was found, 1 something was (also when --write has just masked it, as hooks do),
2 a file could not be checked.
"""


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="vn-magic", description="Text to vectors: the parts that need no notebook.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    embed = commands.add_parser(
        "embed",
        help="a table file to one with vectors",
        description="Embed a column of a table file, of any size, and write the table with its vectors to another.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add_arguments(embed)
    embed.set_defaults(run=run)
    serve = commands.add_parser("serve", help="serve the offline stand-in over HTTP on 127.0.0.1")
    serve.add_argument("--port", type=int, default=8787, help="0 picks a free one (default: 8787)")
    serve.add_argument(
        "--drops-dimension",
        action="store_true",
        help="ignore output_dimensionality without an error, as some gateways do",
    )
    serve.add_argument("--no-batch", action="store_true", help="take one text a request, as some gateways do")
    serve.add_argument("--play", metavar="ERROR", help="answer every text with this error; an unknown name lists them")
    serve.set_defaults(run=_serve)
    cache = commands.add_parser("cache", help="where the cache is and how much it holds")
    cache.add_argument("what", nargs="?", choices=("info", "clear", "path"), default="info")
    cache.set_defaults(run=_cache)
    packs = commands.add_parser("pack", help="what a pack of recorded vectors holds")
    pack = packs.add_subparsers(required=True, metavar="WHAT").add_parser("info", help="show a pack's manifest")
    pack.add_argument("file", type=Path, metavar="FILE")
    pack.set_defaults(run=_pack_info)
    doctor = commands.add_parser("doctor", help="check gateway, token, cache and clock, each with a cure")
    doctor.set_defaults(run=_doctor)
    scrub = commands.add_parser("scrub", help="find tokens in notebooks and other files", description=_SCRUB)
    scrub.add_argument("files", nargs="+", metavar="FILE", help="notebooks (.ipynb); others are read as text")
    scrub.add_argument(
        "--write",
        action="store_true",
        help="mask what was found in outputs, metadata, attachments and widget state of notebooks",
    )
    scrub.set_defaults(run=_scrub)
    return parser


def _serve(options: argparse.Namespace) -> int:
    from vn_magic.offline.serve import serve  # noqa: PLC0415 - uvicorn is an extra

    return serve(
        options.port,
        drops_dimension=options.drops_dimension,
        no_batch=options.no_batch,
        play=options.play,
        environ=os.environ,
    )


def _cache(options: argparse.Namespace) -> int:
    cache = Session().runtime.cache
    if options.what == "clear":
        print(f"{cache.clear():,} rows forgotten")  # noqa: T201 - a program's output
        return 0
    info = cache.info()
    line = f"{info.path}" if options.what == "path" else f"{info.path}   {info.rows:,} rows, {info.size / 1e6:.1f} MB"
    print(line)  # noqa: T201 - a program's output
    return 0


def _pack_info(options: argparse.Namespace) -> int:
    from vn_magic.notebook.packing import manifest_lines  # noqa: PLC0415 - IPython, for those who use it
    from vn_magic.pack import Pack  # noqa: PLC0415 - as above

    pack = Pack.read(options.file)
    for line in manifest_lines(pack.name, pack.manifest):
        _say(line)
    return 0


def _doctor(_options: argparse.Namespace) -> int:
    found = list(findings(Session()))
    for finding in found:
        _say(str(finding))
    return 0 if all(finding.well for finding in found) else 1


def _scrub(options: argparse.Namespace) -> int:
    status = 0
    for scan in scans(options.files, known_tokens(os.environ)):
        if scan.trouble:
            _say(f"vn-magic: {scan.name}: {scan.trouble}", sys.stderr)
            status = 2
        if options.write:
            scan.write()
        for leak in scan.leaks:
            cure = "masked; rotate the token" if options.write and leak.removable else leak.cure
            _say(f"{scan.name}: {leak}; {cure}")
            status = max(status, 1)
    return status


def _say(line: str, stream: TextIO | None = None) -> None:
    """Print a line, with question marks for what the stream's encoding lacks: a hook's may have ASCII alone."""
    stream = stream or sys.stdout
    print(line.encode(stream.encoding, "replace").decode(stream.encoding), file=stream)
