"""``vn-magic``: the stand-in over HTTP, the cache and the doctor, from a terminal."""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Sequence
from typing import NoReturn

from vn_magic.diagnosis import findings
from vn_magic.exceptions import VnMagicError
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


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="vn-magic", description="Text to vectors: the parts that need no notebook.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
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
    doctor = commands.add_parser("doctor", help="check gateway, token, cache and clock, each with a cure")
    doctor.set_defaults(run=_doctor)
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


def _doctor(_options: argparse.Namespace) -> int:
    found = list(findings(Session()))
    print(*found, sep="\n")  # noqa: T201 - a program's output
    return 0 if all(finding.well for finding in found) else 1
