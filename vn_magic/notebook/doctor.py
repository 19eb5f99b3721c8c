"""``%vn doctor``: what works here and what does not, each line with a cure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec

from IPython.core.interactiveshell import InteractiveShell

from vn_magic.diagnosis import Finding, findings
from vn_magic.session import Session


def doctor(_words: Sequence[str], session: Session, shell: InteractiveShell) -> None:
    """Print a line for every check; the network is asked only for what is free."""
    for finding in [*_here(shell), *findings(session)]:
        print(finding)  # noqa: T201 - a list of plain lines


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
