"""The file of a pack: what is in it, written and read, byte by byte.

A pack is a ZIP of stored, not compressed, members: ``manifest.json``, and for each `Group` its texts as JSON and its
vectors as ``.npy``. Any tool that opens ZIP files can show the manifest. The comment at the file's end is the SHA-256
of all before it, so that one flipped byte anywhere is noticed.

A pack comes from somebody else, and who made it to do harm has sealed it as well: everything is checked against the
manifest before it is used, and reading takes no more memory than twice the file.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from itertools import combinations
from typing import Annotated
from zipfile import ZIP_STORED, ZipFile, ZipInfo

import msgspec
import numpy as np
from numpy.typing import NDArray

from vn_magic.exceptions import PackError
from vn_magic.models import facts_of

FORMAT = 1
MANIFEST = "manifest.json"
HOLDS = "texts and vectors: whoever has this file can read the texts"
_SEAL_CHARACTERS = 64
_NPY_MAGIC = b"\x93NUMPY\x01\x00"
_REASON_CHARACTERS = 200
_SAME_DIRECTION = 0.999

_Name = Annotated[str, msgspec.Meta(max_length=300)]
_Count = Annotated[int, msgspec.Meta(ge=1)]

# Model, task and title: what a text is looked up under, beside its dimension.
Kind = tuple[str, str | None, str | None]


class Group(msgspec.Struct, frozen=True, kw_only=True):
    """Rows of a pack that were embedded alike.

    Parameters
    ----------
    model, task_type, title
        As they were asked for.
    dimension
        Values in a vector, as it is stored.
    source
        Who computed the vectors: the gateway's host, or ``offline-lexical`` for the embedded stand-in.
    origin
        ``scheme://host[:port]`` of the gateway, or the stand-in's name and version; empty where it is not known.
    unit_length
        Whether they were stored at unit length; else they are as the service sent them.
    rows
        How many.
    """

    model: _Name
    task_type: _Name | None
    title: str | None
    dimension: _Count
    source: _Name
    origin: _Name
    unit_length: bool
    rows: _Count

    @property
    def kind(self) -> Kind:
        """Model, task and title."""
        return self.model, self.task_type, self.title


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What a pack says of itself. ``checksum`` is the SHA-256 over all other members, in their order."""

    format: int
    made_by: str
    created: str
    licence: str
    holds: str
    notices: Sequence[str]
    checksum: str
    groups: Sequence[Group]

    @property
    def rows(self) -> int:
        """How many vectors there are."""
        return sum(group.rows for group in self.groups)


@dataclass(frozen=True, eq=False)
class Recording:
    """A group and its content: a text and a row of ``vectors``, float32 ``(rows, dimension)``, each."""

    group: Group
    texts: Sequence[str]
    vectors: NDArray[np.float32]

    @cached_property
    def row_of(self) -> Mapping[str, int]:
        """The row of every text."""
        return {text: row for row, text in enumerate(self.texts)}


def makers_of_one_kind(groups: Iterable[Group]) -> Sequence[str]:
    """Return the sources of vectors that would answer for one another, where there are several; else nothing.

    Of what is looked up in a pack, nothing says who should have made it: a text under one model, task and title has
    to have one maker.
    """
    sources: dict[Kind, set[str]] = {}
    for group in groups:
        sources.setdefault(group.kind, set()).add(group.source)
    return next((sorted(each) for each in sources.values() if len(each) > 1), [])


def text_with_two_vectors(recordings: Sequence[Recording]) -> str | None:
    """Return a text that would have one vector or another, depending on how it is asked for; None where none has.

    Of several stored lengths one is the beginning of the other, and a vector as received points where its unit does.
    """
    by_kind: dict[Kind, list[Recording]] = {}
    for recording in recordings:
        by_kind.setdefault(recording.group.kind, []).append(recording)
    for one, other in (pair for alike in by_kind.values() for pair in combinations(alike, 2)):
        length = min(one.group.dimension, other.group.dimension)
        if one.group.dimension != other.group.dimension and not facts_of(one.group.model).prefixes_are_vectors:
            continue
        texts = [text for text in one.texts if text in other.row_of]
        left = one.vectors[[one.row_of[text] for text in texts], :length].astype(np.float64)
        right = other.vectors[[other.row_of[text] for text in texts], :length].astype(np.float64)
        cosines = np.sum(left * right, axis=1) / np.sqrt(np.sum(left**2, axis=1) * np.sum(right**2, axis=1))
        for text, cosine in zip(texts, cosines.tolist(), strict=True):
            if not cosine > _SAME_DIRECTION:
                return text
    return None


def packed(
    recordings: Sequence[Recording], *, made_by: str, created: str, licence: str, notices: Sequence[str]
) -> bytes:
    """Return the bytes of a pack; the same content gives the same bytes.

    Parameters
    ----------
    recordings
        The content.
    made_by, created, licence, notices
        For the manifest.
    """
    members = dict(_members(recordings))
    manifest = Manifest(
        format=FORMAT,
        made_by=made_by,
        created=created,
        licence=licence,
        holds=HOLDS,
        notices=list(notices),
        checksum=_checksum(members.values()),
        groups=[recording.group for recording in recordings],
    )
    body = io.BytesIO()
    with ZipFile(body, "w", ZIP_STORED) as file:
        # A fixed time, so that equal packs are equal files; ZIP knows none before 1980.
        for name, member in {MANIFEST: msgspec.json.format(msgspec.json.encode(manifest)), **members}.items():
            file.writestr(ZipInfo(name, (1980, 1, 1, 0, 0, 0)), member)
        file.comment = b"0" * _SEAL_CHARACTERS
    with body.getbuffer() as data:
        data[-_SEAL_CHARACTERS:] = _seal(data)
    return body.getvalue()


def unpacked(name: str, data: bytes) -> tuple[Manifest, Sequence[Recording]]:
    """Return what the bytes of a pack hold, after checking all of it.

    Parameters
    ----------
    name
        The file's, for the error.
    data
        Its content.

    Raises
    ------
    PackError
        When it is damaged, or a newer version wrote it.
    """
    try:
        with _unsealed(data) as file:
            told = file.read(MANIFEST)
            version = msgspec.json.decode(told, type=_Version).format
            if version <= FORMAT:
                manifest = msgspec.json.decode(told, type=Manifest)
                return manifest, _recordings(file, manifest)
    except Exception as error:  # noqa: BLE001 - whatever zipfile raises for a file that was made to deceive it
        reason = " ".join(str(error).split())[:_REASON_CHARACTERS].rstrip(".") or type(error).__name__
        raise PackError(
            f"{name!r} is damaged or is no pack: {reason}.\nNext: copy or download the file again."
        ) from None
    raise PackError(
        f"{name!r} was made by a newer vn_magic (format {version}; this one reads {FORMAT}).\n"
        "Next: update vn_magic, or ask for a pack that this version can read."
    )


class _Version(msgspec.Struct):
    format: _Count


def _members(recordings: Sequence[Recording]) -> Iterable[tuple[str, bytes]]:
    for number, recording in enumerate(recordings):
        yield _texts_name(number), msgspec.json.encode(list(recording.texts))
        array = io.BytesIO()
        np.lib.format.write_array(array, np.ascontiguousarray(recording.vectors, dtype="<f4"), allow_pickle=False)
        yield _vectors_name(number), array.getvalue()


def _texts_name(number: int) -> str:
    return f"texts-{number}.json"


def _vectors_name(number: int) -> str:
    return f"vectors-{number}.npy"


def _checksum(members: Iterable[bytes]) -> str:
    digest = sha256()
    for member in members:
        digest.update(member)
    return digest.hexdigest()


def _seal(data: bytes | memoryview) -> bytes:
    return sha256(memoryview(data)[:-_SEAL_CHARACTERS]).hexdigest().encode()


def _unsealed(data: bytes) -> ZipFile:
    """Return the file behind bytes that are as they were written; its members are no larger than it."""
    if not data.startswith(b"PK"):
        raise ValueError("it does not begin as one")
    if _seal(data) != data[-_SEAL_CHARACTERS:]:
        raise ValueError("its content does not fit its checksum")
    file = ZipFile(io.BytesIO(data))
    if any(member.compress_type != ZIP_STORED for member in file.infolist()):
        raise ValueError("it has compressed members")  # which could unpack to any size
    if sum(member.file_size for member in file.infolist()) > len(data):
        raise ValueError("its members lie within one another")  # a thousand of them could be the same megabytes
    return file


def _recordings(file: ZipFile, manifest: Manifest) -> Sequence[Recording]:
    groups = manifest.groups
    names = [(_texts_name(number), _vectors_name(number)) for number in range(len(groups))]
    if file.namelist() != [MANIFEST, *(name for pair in names for name in pair)]:
        raise ValueError("its members are not those that its manifest tells of")
    members = [(file.read(texts), file.read(vectors)) for texts, vectors in names]
    if _checksum(part for member in members for part in member) != manifest.checksum:
        raise ValueError("its vectors do not fit its manifest")
    if len({msgspec.structs.replace(group, rows=1) for group in groups}) < len(groups) or makers_of_one_kind(groups):
        raise ValueError("it has several vectors for one text")
    recordings = [_recording(group, *member) for group, member in zip(groups, members, strict=True)]
    if text_with_two_vectors(recordings) is not None:
        raise ValueError("it has several vectors for one text")
    return recordings


def _recording(group: Group, texts: bytes, vectors: bytes) -> Recording:
    if not f"{group.model}{group.task_type}{group.source}{group.origin}".isprintable():
        raise ValueError("its manifest has names that cannot be shown")
    recording = Recording(group, msgspec.json.decode(texts, type=list[str]), _matrix(vectors, group))
    if not len(recording.texts) == len(recording.row_of) == group.rows:
        raise ValueError("its texts are not as many as its manifest says")
    return recording


def _matrix(member: bytes, group: Group) -> NDArray[np.float32]:
    """Return the vectors of a ``.npy`` member, read-only and without a copy.

    numpy would read more kinds of files than `packed` writes, evaluate their headers, and reserve what they claim.
    """
    start = len(_NPY_MAGIC) + 2
    end = start + int.from_bytes(member[start - 2 : start], "little")
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({group.rows}, {group.dimension}), }}"
    is_so = member.startswith(_NPY_MAGIC) and member[start:end].rstrip() == header.encode()
    if not is_so or len(member) - end != 4 * group.rows * group.dimension:
        raise ValueError("its vectors are not as many or not as long as its manifest says")
    matrix = np.frombuffer(member, "<f4", offset=end).reshape(group.rows, group.dimension)
    largest = np.maximum(matrix.max(axis=1), -matrix.min(axis=1))  # NaN where there is one
    if not (np.isfinite(largest) & (largest > 0)).all():
        raise ValueError("it has a vector that is not finite, or all zeros")
    return matrix.astype(np.float32, copy=False)
