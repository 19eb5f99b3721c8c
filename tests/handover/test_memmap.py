"""``df.vec.to_memmap()``: a file that NumPy maps, bit for bit, and a note of its origin beside it."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from vn_magic import Provenance
from vn_magic.exceptions import InputError, ProvenanceError
from vn_magic.frames import column_of


def framed(matrix: np.ndarray, unit_length: bool = True) -> pd.DataFrame:
    frame = pd.DataFrame({"number": range(len(matrix))})
    frame["embedding"] = column_of(matrix, frame.index)
    kind = Provenance("offline-lexical", "offline-lexical", None, matrix.shape[1], unit_length)
    frame.attrs["vn_magic"] = {"embedding": kind.as_json()}
    return frame


def test_numpy_maps_the_same_bits(tmp_path: Path) -> None:
    matrix = np.random.default_rng(0).standard_normal((1000, 300)).astype(np.float32)
    matrix[0, :3] = -0.0, np.inf, 1e-45
    matrix[7] = np.nan
    mapped = framed(matrix).vec.to_memmap(tmp_path / "rows.npy")
    assert isinstance(mapped, np.memmap)
    assert (mapped.dtype, mapped.shape, mapped.flags.c_contiguous) == (np.float32, (1000, 300), True)
    for read in (mapped, np.load(tmp_path / "rows.npy", mmap_mode="r"), np.load(tmp_path / "rows.npy")):
        assert np.array_equal(read.view(np.uint32), matrix.view(np.uint32))


def test_it_cannot_be_written_to(whole: pd.DataFrame, tmp_path: Path) -> None:
    mapped = whole.vec.to_memmap(tmp_path / "rows.npy")
    with pytest.raises(ValueError, match="read-only"):
        mapped[0, 0] = 1


def test_filtered_and_sorted_rows_are_in_the_order_of_the_frame(tmp_path: Path) -> None:
    matrix = np.random.default_rng(0).standard_normal((2000, 256)).astype(np.float32)
    part = framed(matrix).sort_values("number", ascending=False).iloc[::3]
    assert np.array_equal(part.vec.to_memmap(tmp_path / "rows.npy"), matrix[::-1][::3])


@pytest.mark.parametrize("step", [1, -1], ids=["one matrix", "scattered rows"])
def test_no_second_matrix_is_held(tmp_path: Path, step: int) -> None:
    matrix = np.random.default_rng(0).standard_normal((16_000, 256)).astype(np.float32)
    frame = framed(matrix).iloc[::step]
    tracemalloc.start()
    frame.vec.to_memmap(tmp_path / "rows.npy")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < matrix.nbytes / 3


def test_the_note_beside_it_holds_the_provenance_and_says_that_the_stand_in_is_not_semantic(
    whole: pd.DataFrame, tmp_path: Path
) -> None:
    whole.vec.to_memmap(tmp_path / "rows.npy")
    note = json.loads((tmp_path / "rows.npy.json").read_text(encoding="utf-8"))
    assert Provenance.from_json(note["provenance"]) == whole.vec.provenance
    assert note["origin"].startswith("offline-lexical: lexical, not semantic")
    assert (note["column"], note["rows"]) == ("embedding", 5)
    assert sorted(path.name for path in tmp_path.glob("*rows*")) == ["rows.npy", "rows.npy.json"]


def test_no_rows_are_a_file_of_no_rows(whole: pd.DataFrame, tmp_path: Path) -> None:
    assert whole.iloc[:0].vec.to_memmap(tmp_path / "rows.npy").shape == (0, 256)


def test_a_new_file_takes_an_old_ones_place_and_a_map_of_the_old_one_stays(tmp_path: Path) -> None:
    old, new = (np.full((3, 128), value, dtype=np.float32) for value in (1, 2))
    before = framed(old).vec.to_memmap(tmp_path / "rows.npy")
    after = framed(new, unit_length=False).vec.to_memmap(tmp_path / "rows.npy")
    assert (before == 1).all()
    assert (after == 2).all()
    note = json.loads((tmp_path / "rows.npy.json").read_text(encoding="utf-8"))
    assert note["provenance"]["unit_length"] is False


def test_a_row_that_is_no_vector_leaves_the_old_file_and_its_note_alone(tmp_path: Path) -> None:
    matrix = np.ones((3000, 128), dtype=np.float32)
    framed(matrix).vec.to_memmap(tmp_path / "rows.npy")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    spoilt = framed(2 * matrix)
    spoilt.iloc[2999, 1] = None
    with pytest.raises(InputError, match="is not a vector but NoneType"):
        spoilt.vec.to_memmap(tmp_path / "rows.npy")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_vectors_that_contradict_their_note_are_not_written(tmp_path: Path) -> None:
    frame = framed(np.ones((3, 128), dtype=np.float32))
    frame["embedding"] = column_of(np.ones((3, 64), dtype=np.float32), frame.index)
    with pytest.raises(ProvenanceError, match="64 values"):
        frame.vec.to_memmap(tmp_path / "rows.npy")
    assert not (tmp_path / "rows.npy").exists()


def test_a_note_that_cannot_be_written_leaves_no_file_under_another_ones_note(tmp_path: Path) -> None:
    framed(np.ones((3, 128), dtype=np.float32)).vec.to_memmap(tmp_path / "rows.npy")
    (tmp_path / ".rows.npy.json.part").mkdir()  # where the note is written before it is moved
    with pytest.raises(InputError, match="cannot be written there"):
        framed(np.ones((9, 128), dtype=np.float32)).vec.to_memmap(tmp_path / "rows.npy")
    assert not (tmp_path / "rows.npy.json").exists()


def test_a_series_does_as_well(whole: pd.DataFrame, tmp_path: Path) -> None:
    assert np.array_equal(whole["embedding"].vec.to_memmap(tmp_path / "rows.npy"), whole.vec.matrix)


def test_another_ending_is_refused(whole: pd.DataFrame, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"'\.bin' is not known; a memmap is a \.npy file"):
        whole.vec.to_memmap(tmp_path / "rows.bin")


def test_a_folder_that_is_not_there_is_said_in_two_lines(whole: pd.DataFrame, tmp_path: Path) -> None:
    with pytest.raises(InputError) as told:
        whole.vec.to_memmap(tmp_path / "nowhere" / "rows.npy")
    assert str(told.value) == (
        "'rows.npy' cannot be written there: No such file or directory.\nNext: choose a folder that exists."
    )
