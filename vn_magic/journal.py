"""Which journal mode is safe for a database in a folder, with the SQLite that is here."""

from __future__ import annotations

import re
from pathlib import Path

_MOUNTS = Path("/proc/self/mounts")
_OCTAL = re.compile(r"\\([0-7]{3})")  # how blanks are written in a mount point, getmntent(3)


def journal_mode_for(path: Path, sqlite_version: tuple[int, ...]) -> str:
    """Return WAL where it is safe, else TRUNCATE.

    Several writers can corrupt a WAL database before SQLite 3.51.3 (3.50.7, 3.44.6 have the fix too;
    sqlite.org/wal.html, "The WAL-reset bug"), and WAL needs shared memory, which network homes do not have.
    """
    fixed = sqlite_version >= (3, 51, 3) or any(
        sqlite_version[:2] == branch and sqlite_version[2] >= patch for branch, patch in (((3, 50), 7), ((3, 44), 6))
    )
    return "WAL" if fixed and _is_local(path.parent) else "TRUNCATE"


def _is_local(folder: Path) -> bool:
    """Whether a folder is on a disk of this machine. Unknown, as outside Linux, counts as no."""
    local = {"ext2", "ext3", "ext4", "xfs", "btrfs", "zfs", "f2fs", "tmpfs", "overlay"}
    try:
        mounts = _MOUNTS.read_text(encoding="utf-8", errors="replace").splitlines()
        real = folder.resolve()
    except OSError:
        return False
    best, kind = -1, ""
    for line in mounts:
        _, mount_point, file_system, *_ = line.split(" ")
        mount_point = _OCTAL.sub(lambda found: chr(int(found[1], 8)), mount_point)
        if real.is_relative_to(mount_point) and len(mount_point) >= best:
            best, kind = len(mount_point), file_system
    return kind in local
