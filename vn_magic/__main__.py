"""``python -m vn_magic`` is ``vn-magic``."""

from __future__ import annotations

from vn_magic.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
