"""``%vn doctor``: what works here and what does not, each line with a cure; and whether notebooks hold tokens."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec

from IPython.core.interactiveshell import InteractiveShell

from vn_magic.classroom.scrubber import known_tokens, scans
from vn_magic.diagnosis import Finding, findings
from vn_magic.exceptions import InputError
from vn_magic.notebook.options import words_of
from vn_magic.session import Session

DOCTOR_USAGE = "[--notebook FILE ...]"
_HELP = f"""\
%vn doctor {DOCTOR_USAGE}

Checks front end, network, token, cache and clock. With --notebook it looks for tokens in notebooks (or other files) as
they are saved, in the sources, outputs, metadata and widget state, and shows them masked. `vn-magic scrub` does the
same in a terminal and for git, and can mask them in the file."""


def doctor(line: Sequence[str], session: Session, shell: InteractiveShell) -> None:
    """Print a line for every check; the network is asked only for what is free."""
    option, *names = words_of(line[0], "%vn doctor") or [""]
    if option in ("-h", "--help"):
        print(_HELP)  # noqa: T201 - help is output
        return
    if option not in ("", "--notebook") or (option and not names):
        raise InputError("%vn doctor takes nothing after it, or --notebook and files.\nNext: `%vn doctor -h`.")
    for finding in _in_files(names, session) if names else [*_here(shell), *findings(session)]:
        print(finding)  # noqa: T201 - a list of plain lines


def _in_files(names: Sequence[str], session: Session) -> Iterator[Finding]:
    tokens = [*session.tokens.known(), *known_tokens(os.environ)]
    for scan in scans([path for name in names for path in _meant(name)], tokens):
        if scan.trouble:
            yield Finding(False, scan.name, scan.trouble, "name files that are there and can be read")  # noqa: FBT003 - a field
        elif not scan.leaks:
            yield Finding(True, scan.name, "no token in it, as it is saved")  # noqa: FBT003 - a field
        yield from (Finding(False, scan.name, str(leak), leak.cure) for leak in scan.leaks)  # noqa: FBT003 - a field


def _meant(name: str) -> list[str]:
    """Return the files that a name or a pattern stands for; the name itself where there are none."""
    path = os.path.expanduser(name)  # noqa: PTH111 - what no path can be is told as any other file that is not there
    found = [] if os.path.lexists(path) else sorted(glob.glob(path, recursive=True))  # noqa: PTH207 - Path takes no absolute pattern
    return found or [path]


def _here(shell: InteractiveShell) -> Iterator[Finding]:
    kernel = getattr(shell, "kernel", None)
    if kernel is None:
        yield Finding(True, "front end", f"{type(shell).__name__}, no kernel: cards are plain lines")  # noqa: FBT003 - a field
        return
    yield Finding(True, "front end", f"{type(kernel).__name__}, ipykernel {_version_of('ipykernel')}")  # noqa: FBT003 - a field
    has_prompt = bool(getattr(kernel, "_allow_stdin", False))
    yield Finding(
        has_prompt,
        "prompt",
        "passwords can be asked for" if has_prompt else "nobody to ask (nbclient, papermill, a grader)",
        "set VECTORNODE_API_KEY before the kernel starts",
    )
    has_widgets = find_spec("ipywidgets") is not None
    yield Finding(
        has_widgets, "widgets", f"ipywidgets {_version_of('ipywidgets')}", "pip install ipywidgets, restart the kernel"
    )


def _version_of(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
