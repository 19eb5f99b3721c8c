"""Pack: recorded vectors, which answer where a gateway would."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from vn_magic.exceptions import NotInPackError, PackError
from vn_magic.likeness import most_alike, shown, told_apart
from vn_magic.models import serves_prefixes
from vn_magic.pack_format import Group, Kind, Manifest, Recording, unpacked
from vn_magic.settings import Recipe

PACK_VARIABLE = "VN_MAGIC_PACK"
_LISTED_GROUPS = 3
_CURE_OTHERWISE = "Next: ask for it as it is recorded (--model, --task, --dim, --title), or `%vn pack off` and a token."


class Recorded(NamedTuple):
    """A recorded vector, float32 ``(length,)``, and how it was made."""

    vector: NDArray[np.float32]
    group: Group


class Pack:
    """Recorded vectors, found by model, task, title, dimension and text, whatever gateway they came from.

    Parameters
    ----------
    name
        The file's name, without its folder.
    manifest
        What it says of itself.
    recordings
        Its content.
    """

    def __init__(self, name: str, manifest: Manifest, recordings: Sequence[Recording]) -> None:
        self.name = name
        self.manifest = manifest
        self.recordings = recordings
        self._of_kind: dict[Kind, list[Recording]] = {}
        for recording in sorted(recordings, key=lambda each: each.group.dimension):
            self._of_kind.setdefault(recording.group.kind, []).append(recording)

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a pack and check all of it. A ``~`` in front of the path is the home folder.

        Raises
        ------
        PackError
            When there is none, it is damaged, or a newer version wrote it.
        """
        path = Path(os.path.expanduser(path))  # noqa: PTH111 - Path.expanduser raises where nobody has that name
        try:
            if not path.is_file():  # a folder, or a pipe, which would be waited for
                raise PackError(f"There is no pack {path.name!r} there.\nNext: check the path and the folder.")
            data = path.read_bytes()
        except (OSError, MemoryError) as error:
            reason = getattr(error, "strerror", None) or type(error).__name__
            raise PackError(f"The pack {path.name!r} cannot be read: {reason}.\nNext: check the path.") from None
        return cls(path.name, *unpacked(path.name, data))

    def find(self, text: str, recipe: Recipe) -> Recorded | None:
        """Return the shortest vector of exactly this text that is, or begins with, what the recipe asks for."""
        for recording in self._serving(recipe):
            row = recording.row_of.get(text)
            if row is not None:
                return Recorded(recording.vectors[row], recording.group)
        return None

    def refusal(self, text: str, recipe: Recipe, *, look: bool = True) -> NotInPackError:
        """Return the error for a text that is not in the pack.

        Parameters
        ----------
        text, recipe
            What was asked for.
        look
            Whether to look for the recorded text that is nearest to it, which takes up to half a second.
        """
        wanted = _made_with(_kind_of(recipe), recipe.dimension, "" if recipe.unit_length else "raw")
        cure = _CURE_OTHERWISE
        if otherwise := [each.group for each in self.recordings if text in each.row_of]:
            hint = f"It is recorded with {_listed(otherwise)}, but not with {wanted}"
        elif not any(self._serving(recipe)):
            recorded = _listed(each.group for each in self.recordings)
            hint = f"Nothing is recorded with {wanted}, but with {recorded}"
        elif look:
            texts = (each for recording in self._serving(recipe) for each in recording.texts)
            hint = f"The nearest recorded text {told_apart(text, most_alike(text, texts))}"
            cure = NotInPackError.cure
        else:
            hint = "The nearest recorded text is named for the first of such rows only"
            cure = NotInPackError.cure
        meaning = f"This text is not in the pack {self.name}, which alone answers here."
        return NotInPackError(f"{meaning}\n{hint}.\n{cure}")

    def _serving(self, recipe: Recipe) -> Iterable[Recording]:
        return (each for each in self._of_kind.get(_kind_of(recipe), ()) if _serves(each.group, recipe))


@dataclass(frozen=True, slots=True, eq=False)
class PackInUse:
    """A pack that a session uses.

    Parameters
    ----------
    pack
        Its content.
    strict
        Whether it alone answers: no token, no network, no cache.
    source
        Who said so: ``%vn pack use``, ``$VN_MAGIC_PACK``.
    """

    pack: Pack
    strict: bool
    source: str


def described(group: Group) -> str:
    """Return how a group's vectors were made, in one line."""
    length = "unit length" if group.unit_length else "as received"
    return f"{_made_with(group.kind, group.dimension, length)}, from {group.source}"


def _kind_of(recipe: Recipe) -> Kind:
    return recipe.model, recipe.task_type, recipe.title


def _serves(group: Group, recipe: Recipe) -> bool:
    """Whether a group's vectors, which are of the recipe's kind, or their beginnings are what it asks for."""
    if group.unit_length and not recipe.unit_length:
        return False
    return group.dimension == recipe.dimension or (group.dimension > recipe.dimension and serves_prefixes(recipe))


def _listed(groups: Iterable[Group]) -> str:
    listed = sorted(
        {_made_with(each.kind, each.dimension, "unit length" if each.unit_length else "") for each in groups}
    )
    more = f", and {len(listed) - _LISTED_GROUPS} more" if len(listed) > _LISTED_GROUPS else ""
    return " or ".join(listed[:_LISTED_GROUPS]) + more


def _made_with(kind: Kind, dimension: int, length: str) -> str:
    model, task_type, title = kind
    titled = "" if title is None else f"the title {shown(title)!r}"
    return ", ".join(filter(None, (model, task_type or "no task", f"{dimension} values", titled, length)))
