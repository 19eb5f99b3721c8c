"""What makes a cached vector the right one: a digest over everything that it depends on."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from hashlib import blake2b

from vn_magic.settings import Recipe

# Part of every key: raise it when the meaning of a key changes, and old rows are simply never found.
KEY_VERSION = 1
_DIGEST_BYTES = 20


@dataclass(frozen=True, slots=True)
class CacheKey:
    """Names one text under one recipe at one gateway.

    Parameters
    ----------
    family
        Digest over everything but the dimension: vectors of one family are prefixes of each other where the
        model allows it.
    dimension
        Values in the vector that is wanted.
    """

    family: bytes
    dimension: int

    @property
    def digest(self) -> bytes:
        """The key itself: a digest over family and dimension."""
        return blake2b(self.family + struct.pack("<I", self.dimension), digest_size=_DIGEST_BYTES).digest()

    def of_length(self, dimension: int) -> CacheKey:
        """Return the key of the same text's vector with another number of values."""
        return CacheKey(self.family, dimension)


class KeyRing:
    """Makes keys for texts under one recipe at one origin.

    Parameters
    ----------
    origin
        ``scheme://host[:port]`` of the gateway, or the stand-in's name and version.
    recipe
        Model, task, title and dimension take part; unit length does not, vectors are kept as received.
    """

    def __init__(self, origin: str, recipe: Recipe) -> None:
        # Lengths are part of the digest, so that no two lists of fields run together into the same bytes.
        fields = (origin, recipe.model, recipe.task_type, recipe.title)
        self._prefix = blake2b(struct.pack("<I", KEY_VERSION), digest_size=_DIGEST_BYTES)
        for field in fields:
            data = b"\xff" if field is None else field.encode("utf-8", "surrogatepass")
            self._prefix.update(struct.pack("<I", len(data)) + data)
        self._dimension = recipe.dimension

    def key(self, text: str) -> CacheKey:
        """Return the key of the exact text."""
        digest = self._prefix.copy()
        digest.update(text.encode("utf-8", "surrogatepass"))
        return CacheKey(digest.digest(), self._dimension)
