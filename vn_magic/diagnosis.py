"""What a session needs in order to work, checked: for ``%vn doctor`` and ``vn-magic doctor``."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version

from vn_magic.exceptions import GatewayError, PackError, SettingsError, TokenError
from vn_magic.gateway.probe import Verdict
from vn_magic.session import Session
from vn_magic.settings import host_of

_CLOCK_TOLERANCE = 120.0


@dataclass(frozen=True, slots=True)
class Finding:
    """One line: whether it is well, what was looked at, what was seen, and what helps."""

    well: bool
    subject: str
    seen: str
    cure: str = ""

    def __str__(self) -> str:
        mark = "ok " if self.well else "!! "
        cure = f"\n     cure: {self.cure}" if self.cure and not self.well else ""
        return f"{mark} {self.subject}: {self.seen}{cure}"


def findings(session: Session) -> Iterator[Finding]:
    """Yield what was found. Only the free list of models is asked for."""
    python = ".".join(map(str, sys.version_info[:3]))
    yield Finding(True, "versions", f"vn_magic {version('vn_magic')}, Python {python}")  # noqa: FBT003 - a field
    yield from _gateway(session)
    info = session.runtime.cache.info()
    yield Finding(
        info.path is not None,
        "cache",
        f"{info.path or 'in memory only'}, {info.rows:,} rows, SQLite {info.sqlite_version}, {info.journal_mode}",
        "set VN_MAGIC_CACHE to a folder that can be written",
    )


def _gateway(session: Session) -> Iterator[Finding]:
    try:
        in_use = session.pack
    except PackError as error:
        yield Finding(False, "pack", *str(error).split("\nNext: "))  # noqa: FBT003 - a field
        return
    if in_use is not None:
        rows = in_use.pack.manifest.rows
        alone = "it alone answers, " if in_use.strict else ""
        told = f"{in_use.pack.name}, {rows:,} {'row' if rows == 1 else 'rows'}, {alone}from {in_use.source}"
        yield Finding(True, "pack", told)  # noqa: FBT003 - a field
        if in_use.strict:
            return
    if session.settings.offline:
        yield Finding(True, "gateway", "offline stand-in: lexical vectors, no network, no token")  # noqa: FBT003 - a field
        return
    host = host_of(session.settings.base_url)
    try:
        found = session.find_token()
        report = session.run(session.probe(needs_token=False))
    except TokenError as error:
        yield Finding(False, "token", *str(error).split("\nNext: "))  # noqa: FBT003 - a field
        return
    except (GatewayError, SettingsError) as error:
        seen = str(error).replace("\n(", " (").split("\nNext: ")[0]
        cure = "check the base URL, the network and any proxy, or `%vn offline` to go on without"
        yield Finding(False, "base URL", f"{session.settings.base_url}: {seen}", cure)  # noqa: FBT003 - a field
        where = f"{found.token.masked} from {found.source}: not checked" if found else "none"
        yield Finding(found is not None, "token", where, "`%vn login` asks for one")
        return
    yield Finding(True, "base URL", f"{host} answers")  # noqa: FBT003 - a field
    if found is None:
        yield Finding(False, "token", "none", "`%vn login`, or `%vn offline` to try without one")  # noqa: FBT003 - a field
    else:
        yield Finding(
            report.verdict is not Verdict.REFUSED,
            "token",
            f"{found.token.masked} from {found.source}: {report.verdict.value}",
            "`%vn login` with a fresh token",
        )
    if report.clock_offset is not None:
        off = abs(report.clock_offset)
        yield Finding(off < _CLOCK_TOLERANCE, "clock", f"{off:.0f} s off the gateway's", "set this computer's clock")
