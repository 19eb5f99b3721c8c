"""Python imports this at its start: whatever wants to leave the machine is written down and refused."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path
from typing import Any

NOTES = "NETWORK_ATTEMPTS"
_HERE = ("", "localhost", "::1", "0.0.0.0", None)


def _stays_here(host: object) -> bool:
    name = host.decode() if isinstance(host, bytes) else host
    return name in _HERE or str(name).startswith("127.")


def _refuse(event: str, arguments: tuple[Any, ...]) -> None:
    if event in ("socket.connect", "socket.sendto"):
        address = arguments[1]
        host = address[0] if isinstance(address, tuple) else None  # else it is a path
    elif event == "socket.getaddrinfo":
        host = arguments[0]
    else:
        return
    if not _stays_here(host):
        with Path(os.environ[NOTES]).open("a") as notes:
            notes.write(f"{event} {host}\n")
        raise OSError(errno.ENETUNREACH, os.strerror(errno.ENETUNREACH))


if NOTES in os.environ:
    sys.addaudithook(_refuse)
