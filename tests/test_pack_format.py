"""The file of a pack: what was written comes back bit for bit, and whatever is not as it should be is a PackError."""

from __future__ import annotations

import io
import json
import os
import pickle
import random
import tracemalloc
import warnings
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from zipfile import ZIP_DEFLATED, ZIP_STORED, ZipFile

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.packs import lying, members_of, npy, pack_bytes, pack_file, recording, sealed, zipped

from vn_magic.exceptions import PackError
from vn_magic.pack import Pack
from vn_magic.pack_format import HOLDS, Manifest, unpacked

TEXTS = st.lists(
    st.text(st.characters(blacklist_categories=["Cs"]), min_size=1), min_size=1, max_size=5, unique=True
)  # fmt: skip
TWO = pack_bytes(recording(["a", "b"], 4), recording(["b"], 3, task_type="CLUSTERING"))


@pytest.fixture(autouse=True)
def no_warnings() -> Iterator[None]:
    """A warning would stand on a kernel's stderr."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def refused(data: bytes, why: str = "") -> str:
    """Return the first line of the error about a pack that must not be used."""
    with pytest.raises(PackError) as caught:
        unpacked("lesson.vnpack", data)
    first, second = str(caught.value).split("\n")
    assert why in first
    assert len(first) < 300
    assert second.startswith("Next: ")
    assert caught.value.__cause__ is None
    return first


# What was written


@given(
    TEXTS,
    st.integers(1, 9),
    st.sampled_from([None, "CLUSTERING"]),
    st.none() | st.text(st.characters(blacklist_categories=["Cs"])),
    st.booleans(),
)
@settings(max_examples=60)
def test_texts_vectors_and_what_they_are_come_back_bit_for_bit(
    texts: list[str], dimension: int, task: str | None, title: str | None, unit_length: bool
) -> None:
    written = recording(texts, dimension, task_type=task, title=title, unit_length=unit_length)
    manifest, [read] = unpacked("x", pack_bytes(written))
    assert (read.group, list(read.texts)) == (written.group, texts)
    assert read.vectors.dtype == np.float32
    assert read.vectors.tobytes() == written.vectors.tobytes()
    assert manifest.rows == len(texts)


def test_the_manifest_can_be_read_with_any_tool_that_opens_zip_files(tmp_path: Path) -> None:
    path = pack_file(tmp_path / "lesson.vnpack", recording(["a"], 4), licence="CC BY 4.0, A. Teacher", notices=["so"])
    with ZipFile(path) as file:
        assert file.namelist() == ["manifest.json", "texts-0.json", "vectors-0.npy"]
        assert file.testzip() is None
        assert {member.date_time for member in file.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        told = json.loads(file.read("manifest.json"))
        assert np.load(io.BytesIO(file.read("vectors-0.npy"))).shape == (1, 4)
    assert b'\n  "licence": "CC BY 4.0, A. Teacher",\n' in path.read_bytes()
    assert told["format"] == 1
    assert told["holds"] == HOLDS
    assert "can read the texts" in HOLDS
    assert set(told) == set(Manifest.__struct_fields__)
    assert told["groups"] == [{**msgspec.to_builtins(recording(["a"], 4).group)}]


def test_equal_content_gives_equal_files() -> None:
    assert pack_bytes(recording(["a", "b"], 4)) == pack_bytes(recording(["a", "b"], 4))
    assert pack_bytes(recording(["a", "b"], 4)) != pack_bytes(recording(["a", "c"], 4))


def test_vectors_are_read_without_a_copy_and_cannot_be_written_to() -> None:
    _, [read] = unpacked("x", pack_bytes(recording(["a", "b"], 4)))
    assert not read.vectors.flags.writeable
    assert not read.vectors.flags.owndata
    with pytest.raises(ValueError, match="cannot set WRITEABLE"):
        read.vectors.setflags(write=True)


def test_fields_that_a_later_version_adds_are_passed_over() -> None:
    manifest, [read, _] = unpacked("x", lying(TWO, manifest={"course": "AI 1"}, group={"price": 3}))
    assert (manifest.format, list(read.texts)) == (1, ["a", "b"])


# Damage


def test_a_flipped_byte_anywhere_is_noticed() -> None:
    for at in range(len(TWO)):
        damaged = bytearray(TWO)
        damaged[at] ^= 0x01
        assert "damaged or is no pack" in refused(bytes(damaged))


def test_a_pack_that_is_cut_or_has_anything_behind_it_is_refused() -> None:
    for length in range(len(TWO)):
        refused(TWO[:length])
    for more in (b"\0", b"\n", b"PK\x05\x06" + bytes(18), TWO):
        refused(TWO + more, "its content does not fit its checksum")


@pytest.mark.parametrize(
    "data", [b"", b"<!DOCTYPE html>", b"version https://git-lfs.github.com/spec/v1\n", b"\0" * 999]
)
def test_what_came_in_the_place_of_a_pack_is_said_to_be_none(data: bytes) -> None:
    refused(data, "is damaged or is no pack: it does not begin as one")


def test_a_newer_pack_is_refused_with_both_versions_and_a_cure() -> None:
    with pytest.raises(PackError) as caught:
        unpacked("lesson.vnpack", lying(TWO, manifest={"format": 2, "groups": "of another kind"}))
    assert str(caught.value) == (
        "'lesson.vnpack' was made by a newer vn_magic (format 2; this one reads 1).\n"
        "Next: update vn_magic, or ask for a pack that this version can read."
    )


# Packs that lie: whoever made them has sealed them, too


def test_a_sealed_pack_with_any_byte_flipped_is_refused_or_has_the_same_texts_and_vectors() -> None:
    def content(data: bytes) -> list[tuple[list[str], bytes]]:
        return [(list(each.texts), each.vectors.tobytes()) for each in unpacked("x", data)[1]]

    whole, kept = content(TWO), 0
    for at in range(len(TWO) - 64):
        for flip in (0x01, 0x20, 0x80, 0xFF):
            damaged = bytearray(TWO)
            damaged[at] ^= flip
            try:
                assert content(sealed(bytes(damaged))) == whole
            except PackError:
                continue
            kept += 1
    assert kept > 100  # a letter of the licence, a time stamp: not all of it is about the content


def test_sealed_noise_is_refused_or_read_whatever_it_is() -> None:
    draw = random.Random(6)
    outcomes = set()
    for _ in range(3000):
        noisy = bytearray(TWO)
        for _ in range(draw.randint(1, 6)):
            at = draw.randrange(len(noisy) - 80)
            noise = draw.randbytes(draw.randint(0, 20))
            noisy[at : at + draw.choice((0, len(noise), 30))] = noise
        try:
            unpacked("x", sealed(bytes(noisy)))
            outcomes.add("read")
        except PackError as error:
            outcomes.add(str(error).split(": ")[1].split("\n")[0][:20])
    assert len(outcomes) > 5


def _without(name: str) -> bytes:
    return zipped([member for member in members_of(TWO) if member[0] != name])


def _twice(name: str) -> bytes:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # zipfile's own, of a duplicate name
        return zipped([*members_of(TWO), (name, dict(members_of(TWO))[name])])


def _reordered() -> bytes:
    manifest, *others = members_of(TWO)
    return zipped([manifest, *reversed(others)])


@pytest.mark.parametrize("name", [name for name, _ in members_of(TWO)])
def test_a_member_that_is_missing_or_there_twice_is_refused(name: str) -> None:
    refused(_without(name))
    refused(_twice(name), "its members are not those that its manifest tells of")


@pytest.mark.parametrize("name", ["extra.txt", "/etc/passwd", "../../.bashrc", "texts-2.json", "a/"])
def test_a_member_too_many_is_refused_whatever_its_name(name: str) -> None:
    refused(zipped([*members_of(TWO), (name, b"x")]), "its members are not those that its manifest tells of")
    refused(zipped([(name, b"x"), *members_of(TWO)]))


def test_members_in_another_order_are_refused() -> None:
    refused(_reordered(), "its members are not those that its manifest tells of")


def test_members_of_another_pack_are_refused() -> None:
    manifest, *_ = members_of(TWO)
    other = pack_bytes(recording(["a", "c"], 4), recording(["b"], 3, task_type="CLUSTERING"))
    refused(zipped([manifest, *members_of(other)[1:]]), "its vectors do not fit its manifest")


def test_a_compressed_member_is_refused_before_it_is_unpacked() -> None:
    bomb = zipped([("manifest.json", b" " * 50_000_000)], method=ZIP_DEFLATED)
    assert len(bomb) < 100_000
    assert _memory_of(lambda: refused(bomb, "it has compressed members")) < 5e6


def test_members_that_lie_within_one_another_are_refused_before_they_are_read() -> None:
    body = io.BytesIO()
    with ZipFile(body, "w", ZIP_STORED) as file:
        file.writestr("manifest.json", b"{}")
        file.writestr("vectors-0.npy", bytes(100_000))
        # The directory has the same megabytes a hundred times.
        file.filelist.extend(file.filelist[-1:] * 100)
        file.comment = b"0" * 64
    assert _memory_of(lambda: refused(sealed(body.getvalue()), "its members lie within one another")) < 2e6


@pytest.mark.parametrize("field", ["encrypted", "patched", "strong"])
def test_members_that_zipfile_refuses_to_read_are_refused(field: str) -> None:
    flag = {"encrypted": 0x01, "patched": 0x20, "strong": 0x40}[field]
    data = bytearray(TWO)
    data[data.index(b"PK\x01\x02") + 8] |= flag
    refused(sealed(bytes(data)))


@pytest.mark.parametrize("offset", [0, 7, 1 << 31, (1 << 32) - 2, (1 << 63) - 1, (1 << 64) - 1])
def test_a_member_at_an_impossible_place_is_refused(offset: int) -> None:
    body = io.BytesIO()
    with ZipFile(body, "w", ZIP_STORED) as file:
        file.writestr("manifest.json", b"{}" * 10)
        file.filelist[0].header_offset = offset or len(TWO)
        file.comment = b"0" * 64
    refused(sealed(body.getvalue()))


ROWS = np.arange(1, 9, dtype=np.float32).reshape(2, 4)


@pytest.mark.parametrize(
    "vectors",
    [
        b"",
        b"\x93NUMPY",
        b"\x93NUMPY\x01\x00\xff\xff{}",
        npy(ROWS, shape=(1, 8)),
        npy(ROWS, shape=(8,)),
        npy(ROWS, shape=(2, 2, 2)),
        npy(ROWS, shape=(2, 4, 1)),
        npy(ROWS, shape=(-2, -4)),
        npy(ROWS, shape=(10**12, 4)),
        npy(ROWS, shape=(2, 10**12)),
        npy(ROWS, shape="(2, 4) + (1,) * 10**9"),
        npy(ROWS, shape="__import__('os').abort()"),
        npy(ROWS, shape="(" * 5000),
        npy(ROWS, shape="(2L, 4L)"),
        npy(ROWS, fortran=True),
        npy(ROWS.astype(np.float64), descr="<f8"),
        npy(ROWS.astype(">f4"), descr=">f4"),
        npy(ROWS.astype(np.float16), descr="<f2"),
        npy(ROWS.view(np.int32), descr="<i4"),
        npy(ROWS, descr="|O"),
        npy(ROWS, descr=[("x", "<f4")]),
        npy(ROWS, descr="<V1000000000"),
        npy(ROWS, version=2),
        npy(ROWS, version=3),
        npy(ROWS)[:-1],
        npy(ROWS) + b"\0",
        npy(ROWS[:1]) + bytes(16),
        pickle.dumps(ROWS),
    ],
    ids=lambda data: repr(data[10:60]),
)
def test_vectors_of_any_other_kind_than_a_pack_has_are_refused_unread(vectors: bytes) -> None:
    why = "its vectors are not as many or not as long as its manifest says"
    assert _memory_of(lambda: refused(lying(TWO, vectors=vectors), why)) < 1e6


def test_an_array_of_objects_is_not_unpickled(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> Any:
            return (Path.touch, (tmp_path / "was-here",))

    body = io.BytesIO()
    np.save(body, np.array([[Evil()] * 4] * 2, dtype=object), allow_pickle=True)
    refused(lying(TWO, vectors=body.getvalue()))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 0.0, -0.0])
def test_a_vector_that_is_not_finite_or_all_zeros_is_refused(value: float) -> None:
    rows = ROWS.copy()
    rows[1] = value
    refused(lying(TWO, vectors=npy(rows)), "it has a vector that is not finite, or all zeros")
    rows[1] = [1, value, 2, 3]
    if value == 0:
        assert unpacked("x", lying(TWO, vectors=npy(rows)))[1][0].vectors[1].tolist() == [1, 0, 2, 3]
    else:
        refused(lying(TWO, vectors=npy(rows)), "it has a vector that is not finite, or all zeros")


@pytest.mark.parametrize(
    "texts",
    [b"", b"null", b"{}", b'"ab"', b'["a"]', b'["a", "b", "c"]', b'["a", "a"]', b'["a", "a", "b"]', b'["a", null]',
     b'["a", 1]', b'["a", "\xff"]', b'["a", "b"', b'["a", "b"] x', b"[" * 100_000, b'["a", "\\ud800"]',
     b"\xef\xbb\xbf[]"],
    ids=lambda data: repr(data[:20]),
)  # fmt: skip
def test_texts_that_do_not_fit_the_vectors_are_refused(texts: bytes) -> None:
    refused(lying(TWO, texts=texts))


@pytest.mark.parametrize(
    "group",
    [
        {"rows": 1},
        {"rows": 3},
        {"rows": 0},
        {"rows": -2},
        {"rows": 10**30},
        {"rows": "2"},
        {"rows": True},
        {"dimension": 2},
        {"dimension": 8},
        {"dimension": 0},
        {"dimension": -4},
        {"dimension": 2**62},
        {"dimension": 4.5},
        {"dimension": None},
        {"rows": 4, "dimension": 2},
        {"model": None},
        {"model": 1},
        {"model": "x" * 301},
        {"model": "\x1b]0;evil\x07"},
        {"source": "gate\nway"},
        {"source": "\u202egateway"},
        {"source": ["gateway"]},
        {"origin": "x" * 10**6},
        {"task_type": 1},
        {"task_type": "a\0"},
        {"title": 1},
        {"unit_length": "yes"},
        {"unit_length": 1},
    ],
    ids=repr,
)
def test_a_group_that_is_not_what_the_manifest_says_is_refused(group: dict[str, Any]) -> None:
    refused(lying(TWO, group=group))


@pytest.mark.parametrize(
    "manifest",
    [
        {"format": 0},
        {"format": -1},
        {"format": "1"},
        {"format": True},
        {"format": None},
        {"format": 1.5},
        {"groups": []},
        {"groups": {}},
        {"groups": [1]},
        {"groups": None},
        {"notices": "one"},
        {"notices": [1]},
        {"notices": None},
        {"licence": None},
        {"licence": 1},
        {"made_by": []},
        {"created": 2026},
        {"holds": None},
        {"checksum": "0" * 64},
        {"checksum": None},
    ],
    ids=repr,
)
def test_a_manifest_of_other_types_than_it_has_is_refused(manifest: dict[str, Any]) -> None:
    refused(lying(TWO, manifest=manifest))


@pytest.mark.parametrize("field", Manifest.__struct_fields__)
def test_a_manifest_without_one_of_its_fields_is_refused(field: str) -> None:
    told, *others = members_of(TWO)
    said = json.loads(told[1])
    del said[field]
    refused(zipped([("manifest.json", json.dumps(said).encode()), *others]))


@pytest.mark.parametrize(
    "manifest",
    [
        b"",
        b"null",
        b"[]",
        b'{"format": 1}',
        b"[" * 200_000,
        b'{"format":' * 100_000,
        b'{"format": 1, "x": ' + b"[" * 200_000 + b"]" * 200_000 + b"}",
        b'{"format": 1' + b"0" * 5000 + b"}",
        b'{"format": 1e999}',
        b'{"format": 1, "format": "x"}',
        b"\xff\xfe{}",
        b"\0",
    ],
    ids=lambda data: repr(data[:20]),
)
def test_a_manifest_that_is_none_is_refused(manifest: bytes) -> None:
    refused(zipped([("manifest.json", manifest), *members_of(TWO)[1:]]))


def test_two_groups_that_would_answer_for_one_another_are_refused() -> None:
    same = pack_bytes(recording(["a"], 4), recording(["a"], 4))
    refused(same, "it has several vectors for one text")
    refused(pack_bytes(recording(["a"], 4), recording(["a", "b"], 4)), "it has several vectors for one text")
    makers = pack_bytes(recording(["a"], 4), recording(["b"], 5, source="other.example"))
    refused(makers, "it has several vectors for one text")
    kinds = pack_bytes(
        recording(["a"], 4), recording(["a"], 5), recording(["a"], 4, unit_length=True), recording(["a"], 4, title="t")
    )
    assert unpacked("x", kinds)[0].rows == 4


def test_an_error_does_not_repeat_what_a_hostile_file_says() -> None:
    body = zipped([("manifest.json", b"{}")])
    renamed = body.replace(b"manifest.json", b"evil\x1b[31m,,,,", 1)  # in one of the two places that name it
    assert "\x1b" not in refused(sealed(renamed), "differ")
    endless = io.BytesIO()
    with ZipFile(endless, "w", ZIP_STORED) as file:
        file.writestr("x" * 60_000, b"{}")
        file.filelist[0].filename = "manifest.json"  # in the directory alone
        file.comment = b"0" * 64
    refused(sealed(endless.getvalue()), "File name in directory")


def _memory_of(work: Callable[[], object]) -> int:
    work()  # what is imported or compiled once is not counted
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_reading_takes_about_twice_the_memory_of_the_file() -> None:
    data = pack_bytes(recording([f"text {number}" for number in range(1000)], 768))
    assert _memory_of(lambda: unpacked("x", data)) < 1.5 * len(data)


# Places that hold no pack


def test_a_pack_that_is_not_there_is_said_so(tmp_path: Path) -> None:
    for path in (tmp_path / "lesson.vnpack", tmp_path, tmp_path / "a" / "b", Path("\0"), Path()):
        with pytest.raises(PackError, match=r"There is no pack '.*' there\.\nNext: check the path"):
            Pack.read(path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes in folders")
def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "lesson.vnpack")
    with pytest.raises(PackError, match="There is no pack"):
        Pack.read(tmp_path / "lesson.vnpack")


def test_a_name_that_is_too_long_is_an_error_of_ours() -> None:
    with pytest.raises(PackError, match=r"cannot be read: File name too long|There is no pack"):  # as the system says
        Pack.read(Path("x" * 5000))


def test_a_home_folder_is_found_and_a_strangers_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    pack_file(tmp_path / "lesson.vnpack", recording(["a"], 4))
    assert Pack.read(Path("~/lesson.vnpack")).name == "lesson.vnpack"
    with pytest.raises(PackError, match="There is no pack"):
        Pack.read(Path("~nobody-of-this-name/lesson.vnpack"))


def test_zipfile_still_writes_what_the_seal_relies_on() -> None:
    assert zipfile.ZipFile(io.BytesIO(TWO)).comment == TWO[-64:]
