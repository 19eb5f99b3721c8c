"""What is said of vectors where they leave pandas, which keeps it in ``attrs``."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

from vn_magic.embeddings import Provenance
from vn_magic.pictures import origin_of

NOTE_KEY = "vn_magic"
"""Under this name formats with room for metadata hold the note, as JSON."""


def note_of(column: str, provenance: Provenance) -> dict[str, Any]:
    """Return plain JSON: a sentence for people first (it says when vectors are not semantic), then the provenance."""
    return {
        "origin": origin_of(provenance),
        "column": column,
        "provenance": provenance.as_json(),
        "version": version("vn_magic"),
    }
