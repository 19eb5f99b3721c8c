"""Packs of known content, and packs that lie: sealed as a pack is, by who knows how."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, MutableMapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any
from zipfile import ZIP_STORED, ZipFile

import numpy as np
from numpy.typing import NDArray

from support.gateways import Message, Receive, Send, answering, json_answer
from vn_magic.pack import Pack
from vn_magic.pack_format import Group, Recording, packed, unpacked

MODEL = "gemini-embedding-001"
SOURCE = "gateway.example"
KIND: Mapping[str, Any] = {
    "model": MODEL,
    "task_type": "SEMANTIC_SIMILARITY",
    "title": None,
    "source": SOURCE,
    "origin": f"https://{SOURCE}",
    "unit_length": False,
}
NPY = "{{'descr': {descr!r}, 'fortran_order': {fortran}, 'shape': {shape}, }}"


def vector_of(text: str, dimension: int) -> NDArray[np.float32]:
    """A vector of this text's own, whose beginnings are its shorter vectors, and of no length in particular."""
    random = np.random.default_rng(list(sha256(text.encode("utf-8", "surrogatepass")).digest()))
    return random.standard_normal(dimension).astype(np.float32)


def recording(texts: Sequence[str], dimension: int = 768, **kind: Any) -> Recording:
    """Return texts as they might be recorded, each with its `vector_of`."""
    group = Group(**{**KIND, "dimension": dimension, "rows": len(texts), **kind})
    vectors = np.stack([vector_of(text, dimension) for text in texts])
    if group.unit_length:
        vectors /= np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)
    return Recording(group, texts, vectors)


def pack_bytes(*recordings: Recording, **manifest: Any) -> bytes:
    """Return the bytes of a pack of recordings."""
    told = {"made_by": "vn_magic 0.1.0", "created": "2026-05-16T08:00:00+00:00", "licence": "CC0", "notices": []}
    return packed(recordings, **{**told, **manifest})


def pack_of(*recordings: Recording, name: str = "lesson.vnpack") -> Pack:
    """Return a pack of recordings that went through bytes."""
    return Pack(name, *unpacked(name, pack_bytes(*recordings)))


def pack_file(path: Path, *recordings: Recording, **manifest: Any) -> Path:
    """Write a pack of recordings and return its path."""
    path.write_bytes(pack_bytes(*recordings, **manifest))
    return path


def sealed(data: bytes) -> bytes:
    """Return bytes with the seal that fits them in the place of the one at their end."""
    return data[:-64] + sha256(data[:-64]).hexdigest().encode()


def zipped(members: Sequence[tuple[str, bytes]], *, method: int = ZIP_STORED) -> bytes:
    """Return a sealed ZIP of any members, in this order, twice under one name included."""
    body = io.BytesIO()
    with ZipFile(body, "w", method) as file:
        for name, member in members:
            file.writestr(name, member)
        file.comment = b"0" * 64
    return sealed(body.getvalue())


def members_of(data: bytes) -> list[tuple[str, bytes]]:
    """Return the members of a pack."""
    with ZipFile(io.BytesIO(data)) as file:
        return [(name, file.read(name)) for name in file.namelist()]


def npy(
    matrix: NDArray[Any], *, descr: object = "<f4", fortran: object = False, shape: object = None, version: int = 1
) -> bytes:
    """Return a ``.npy`` whose header says what it likes of a matrix."""
    header = NPY.format(descr=descr, fortran=fortran, shape=matrix.shape if shape is None else shape).encode()
    header += b" " * (-(len(header) + 11) % 64) + b"\n"
    length = len(header).to_bytes(2 if version == 1 else 4, "little")
    return b"\x93NUMPY" + bytes([version, 0]) + length + header + matrix.tobytes()


def lying(
    data: bytes, *, manifest: Mapping[str, Any] | None = None, group: Mapping[str, Any] | None = None, **members: bytes
) -> bytes:
    """Return a pack with other fields in its manifest or its first group, or other members; all checksums fit.

    Parameters
    ----------
    data
        A pack.
    manifest, group
        Fields to replace.
    members
        ``texts`` and ``vectors`` of its first group.
    """
    told, *others = members_of(data)
    said = json.loads(told[1])
    content = [(name, members.get(name.partition("-0.")[0], member)) for name, member in others]
    said["checksum"] = sha256(b"".join(member for _, member in content)).hexdigest()
    said |= manifest or {}
    if group:
        said["groups"][0] |= group
    return zipped([("manifest.json", json.dumps(said).encode()), *content])


async def unsigned_gateway(scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
    """A gateway that answers with vectors of its own: by text, task and title, and signed by no stand-in."""
    body = json.loads((await receive())["body"])
    text = body["content"]["parts"][0]["text"]
    vector = vector_of(f"{text} {body.get('taskType')} {body.get('title')}", body["output_dimensionality"])
    answer = json_answer({"embedding": {"values": vector.astype(float).tolist()}})

    async def replay() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    await answering(answer)(scope, replay, send)
