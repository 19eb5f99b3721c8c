"""What is there already: the distinct rows of a list of texts, and which of them the cache has."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from vn_magic.cache import CachedVector, Deliver
from vn_magic.cache_thread import CacheThread
from vn_magic.exceptions import VectorError
from vn_magic.keys import CacheKey, KeyRing
from vn_magic.models import OFFLINE_MODEL, serves_prefixes
from vn_magic.pack import Pack, PackInUse, Recorded
from vn_magic.settings import Recipe

# Keys made at a time: a hundred thousand at once would weigh more than they are worth.
_LOOKUP_ROWS = 2048


@dataclass(frozen=True, slots=True)
class Origin:
    """Whose vectors these are: ``key`` as the cache has it, ``source`` as provenance says it.

    The answers sign for themselves; ``source`` is what is said while there are none.
    """

    key: str
    source: str

    def may_sign(self, source: str) -> bool:
        """Whether answers from here may turn out to be another's: `vn-magic serve` signs as the stand-in that it is."""
        return source == self.source or (source == OFFLINE_MODEL and self.key.startswith("http:"))


@dataclass(frozen=True, slots=True)
class Plan:
    """What a job would do, found out without sending anything.

    ``missing`` are the rows it would send; where ``pack`` names the one that alone would answer, they would fail.
    """

    rows: int
    duplicates: int
    cached: int
    missing: Sequence[int]
    recorded: int = 0
    pack: str = ""


async def plan_job(
    texts: Sequence[str | None], recipe: Recipe, origin: Origin, cache: CacheThread | None, pack: PackInUse | None
) -> Plan:
    """Return what an `EmbeddingJob` would do. Sends nothing, keeps nothing."""
    first, twins = distinct_rows(texts)
    lookup = Lookup(texts, recipe, origin, cache, pack.pack if pack else None)
    not_cached = await lookup.missing(first, lambda _row, _cached: None)
    missing = lookup.not_recorded(not_cached, lambda _row, _recorded: None)
    return Plan(
        rows=len(texts),
        duplicates=sum(map(len, twins.values())),
        cached=len(first) - len(not_cached),
        missing=missing,
        recorded=len(not_cached) - len(missing),
        pack=pack.pack.name if pack and pack.strict else "",
    )


def distinct_rows(texts: Sequence[str | None]) -> tuple[list[int], dict[int, list[int]]]:
    """Return the first row of every distinct text, and the later rows that repeat one of them."""
    first: dict[str, int] = {}
    twins: dict[int, list[int]] = {}
    for row, text in enumerate(texts):
        if text is None:
            continue
        earlier = first.setdefault(text, row)
        if earlier != row:
            twins.setdefault(earlier, []).append(row)
    return list(first.values()), twins


class Lookup:
    """Finds the rows of one list of texts in the cache and in a pack."""

    def __init__(
        self,
        texts: Sequence[str | None],
        recipe: Recipe,
        origin: Origin,
        cache: CacheThread | None,
        pack: Pack | None = None,
    ) -> None:
        self._texts = texts
        self._recipe = recipe
        self._pack = pack
        self._keys = KeyRing(origin.key, recipe)
        self._prefixes = serves_prefixes(recipe)
        self._cache = cache
        self._dimension = recipe.dimension

    def text(self, row: int) -> str:
        """Return the text of a row that has one."""
        text = self._texts[row]
        if text is None:
            raise VectorError(f"Row {row} has no text and was about to be sent.")  # a fault of ours
        return text

    def key(self, row: int) -> CacheKey:
        """Return the cache's key of a row."""
        return self._keys.key(self.text(row))

    def may_serve(self, cached: CachedVector) -> bool:
        """Whether a vector of the same text is one of these rows', or the beginning of it is."""
        return len(cached.vector) == self._dimension or (self._prefixes and len(cached.vector) > self._dimension)

    async def find(self, keys: Mapping[int, CacheKey]) -> Mapping[int, CachedVector]:
        """Return what is stored by now for rows with these keys."""
        if self._cache is None:
            return {}
        if len(keys) == 1:
            [(row, key)] = keys.items()
            cached = await self._cache.find(key, prefixes=self._prefixes)
            return {} if cached is None else {row: cached}
        rows = list(keys)
        found: dict[int, CachedVector] = {}

        def deliver(at: int, cached: CachedVector) -> None:
            found[rows[at]] = cached

        await self._cache.look_up(list(keys.values()), deliver, prefixes=self._prefixes)
        return found

    async def missing(self, rows: Sequence[int], take: Deliver) -> Sequence[int]:
        """Hand stored vectors to ``take(row, cached)``; return the rows that are not stored."""
        if self._cache is None:
            return rows
        missing: list[int] = []
        for start in range(0, len(rows), _LOOKUP_ROWS):
            chunk = rows[start : start + _LOOKUP_ROWS]
            found: set[int] = set()

            def deliver(at: int, cached: CachedVector, chunk: Sequence[int] = chunk, found: set[int] = found) -> None:
                found.add(at)
                take(chunk[at], cached)

            await self._cache.look_up([self.key(row) for row in chunk], deliver, prefixes=self._prefixes)
            missing.extend(row for at, row in enumerate(chunk) if at not in found)
        return missing

    def not_recorded(self, rows: Sequence[int], take: Callable[[int, Recorded], None]) -> Sequence[int]:
        """Hand vectors of the pack to ``take(row, recorded)``; return the rows that it does not have."""
        if self._pack is None:
            return rows
        missing = []
        for row in rows:
            recorded = self._pack.find(self.text(row), self._recipe)
            if recorded is None:
                missing.append(row)
            else:
                take(row, recorded)
        return missing
