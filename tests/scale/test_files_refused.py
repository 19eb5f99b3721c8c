"""Files and rows that cannot be used: a short error before anything is sent, and no output."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.engine import BAD_TEXT, behind
from support.gateways import Served, served
from support.tables import SIZE, Log, column_in, run, vectors_in

from vn_magic import Session
from vn_magic.cache import CachedVector, EmbeddingCache
from vn_magic.exceptions import BudgetError, InputError, ProvenanceError, RejectedTextError, SettingsError, TokenError
from vn_magic.files import whole_file
from vn_magic.keys import KeyRing
from vn_magic.offline import create_app
from vn_magic.progress import ProgressEvent
from vn_magic.scale import file_job
from vn_magic.settings import Recipe

NO_PARQUET = b"PAR1 this is no Parquet file PAR1"


@pytest.fixture(autouse=True)
def groups_of_three(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let files of this module have several groups."""
    monkeypatch.setattr(file_job, "GROUP_ROWS", 3)


def lines(*texts: str) -> bytes:
    return "\n".join(texts).encode()


def many_then(last: bytes) -> bytes:
    """Five rows that are fine, in two groups, and one that may not be."""
    return b"text,n\n" + b"".join(b"text %d,1\n" % number for number in range(5)) + last


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("in.csv", b"", "'in.csv' is empty, without as much as a header"),
        ("in.csv", b"a,b\n1,2\n", "There is no column 'text'; there are 'a', 'b'"),
        ("in.csv", b"a;text\n1;2\n", "the header is one cell, 'a;text'.\nNext: name it with -c, or the separator"),
        ("in.csv", b"text,a,a\nx,1,2\n", "There are two columns called 'a'"),
        ("in.csv", b"text,embedding\nx,1\n", "There is a column 'embedding' already"),
        ("in.csv", b"text,error\nx,1\n", "There is a column 'error' already"),
        ("in.csv", many_then(b"x,1,2\n"), "Line 7 of 'in.csv' has 3 cells, its header has 2"),
        ("in.csv", many_then(b'"x\n\ny"\n'), "Line 7 of 'in.csv' has 1 cells, its header has 2"),
        ("in.csv", many_then(b'"x,1\n\n'), "'in.csv' cannot be read as csv from line 7 on: unexpected end of data"),
        ("in.csv", many_then(b'"x"y,1\n'), "'in.csv' cannot be read as csv from line 7 on: ',' expected after '\"'"),
        ("in.csv", many_then(b"caf\xe9,1\n"), "Line 7 of 'in.csv' is not UTF-8"),
        ("in.csv", many_then(b" ,1\n"), "1 of 6 rows cannot be embedded: row 5 (blank). Nothing was sent"),
        ("in.csv", "text\na\n".encode("utf-16"), "Line 1 of 'in.csv' is not UTF-8"),
        ("in.jsonl", lines(*['{"text": "a"}'] * 5, "", '{"text": "a"'), "Line 7 of 'in.jsonl' is not a JSON object"),
        ("in.jsonl", lines('["a"]'), "Line 1 of 'in.jsonl' is not a JSON object: Expected `object`, got `array`"),
        ("in.jsonl", lines('{"text": "\\ud800"}'), "Line 1 of 'in.jsonl' is not a JSON object"),
        ("in.jsonl", b'{"text": "\xff"}', "Line 1 of 'in.jsonl' is not a JSON object"),
        ("in.jsonl", lines('{"text": "a"}', "[" * 100_000), "Line 2 of 'in.jsonl' is not a JSON object"),
        ("in.jsonl", lines('{"a": 1}'), "There is no column 'text'; there are 'a'"),
        ("in.jsonl", lines(*['{"text": "a"}'] * 5, '{"error": 1}'), "There is a column 'error' already"),
        ("in.jsonl", lines(*['{"text": "a"}'] * 5, '{"text": 5}'), "row 5 (not text but int). Nothing was sent"),
        ("in.jsonl", lines(*['{"text": "a"}'] * 5, '{"x": 5}'), "row 5 (missing). Nothing was sent"),
        ("in.parquet", NO_PARQUET, "'in.parquet' cannot be read as Parquet: "),
        ("in.parquet", b"", "'in.parquet' cannot be read as Parquet: "),
        ("in.txt", b"a", "The ending '.txt' of 'in.txt' is not known.\nNext: use .parquet, .csv or .jsonl"),
        ("in.csv.gz", gzip.compress(b"text\na\n"), "The ending '.gz' of 'in.csv.gz' is not known"),
    ],
)
def test_a_file_that_cannot_be_used_to_its_end_is_refused_before_anything_is_sent(
    session: Session, gateway: Served, tmp_path: Path, name: str, content: bytes, why: str
) -> None:
    source = tmp_path / name
    source.write_bytes(content)
    with pytest.raises(InputError) as refused:
        run(session, source, target := tmp_path / "out.jsonl")
    assert why in str(refused.value)
    assert len(str(refused.value).splitlines()) <= 2
    assert gateway.texts == []
    assert (target.exists(), list(tmp_path.glob(".*"))) == (False, [])


@pytest.mark.parametrize(
    ("written", "columns", "why"),
    [
        ("out.csv", {"tags": pa.array([[1]])}, "The column 'tags' holds lists or objects, which a .csv file cannot"),
        ("out.csv", {"raw": pa.array([b"x"])}, "The column 'raw' holds bytes, which a .csv file cannot"),
        ("out.csv", {"vn_magic_saved": pa.array(["x"])}, "The column 'vn_magic_saved' is in the way"),
        ("out.jsonl", {"raw": pa.array([b"x"])}, "The column 'raw' holds bytes, which a .jsonl file cannot"),
        ("out.csv", {"text": pa.array([7])}, "The column 'text' holds int64, not text"),
        ("out.csv", {"embedding": pa.array([7])}, "There is a column 'embedding' already"),
        ("out.txt", {}, "The ending '.txt' of 'out.txt' is not known"),
        ("nowhere/out.csv", {}, "'out.csv' cannot be written: No such file or directory"),
    ],
)
def test_what_the_output_cannot_hold_is_refused_before_anything_is_sent(
    session: Session, gateway: Served, tmp_path: Path, written: str, columns: dict[str, Any], why: str
) -> None:
    pq.write_table(pa.table({"text": pa.array(["a"]), **columns}), source := tmp_path / "in.parquet")
    with pytest.raises(InputError) as refused:
        run(session, source, tmp_path / written)
    assert why in str(refused.value)
    assert gateway.texts == []


@pytest.mark.parametrize(
    ("written", "rows", "why"),
    [
        ("out.csv", ('{"text": "a"}', '{"text": "b", "tags": []}'), "The column 'tags' holds lists or objects"),
        ("out.parquet", ('{"text": "a", "x": 1}', '{"text": "b", "x": "2"}'), "do not fit into one type of Parquet"),
        ("out.parquet", ('{"text": "a", "x": 1}', *['{"text": "b"}'] * 5, '{"text": "c", "x": true}'), "one type"),
        ("out.parquet", (f'{{"text": "a", "x": {10**30}}}',), "one type of Parquet"),
    ],
)
def test_json_lines_that_do_not_fit_the_output_are_refused_before_anything_is_sent(
    session: Session, gateway: Served, tmp_path: Path, written: str, rows: tuple[str, ...], why: str
) -> None:
    source = tmp_path / "in.jsonl"
    source.write_bytes(lines(*rows))
    with pytest.raises(InputError, match=why):
        run(session, source, tmp_path / written)
    assert gateway.texts == []


def test_an_output_that_is_there_is_kept_unless_it_is_to_be_replaced(session: Session, tmp_path: Path) -> None:
    source, target = tmp_path / "in.csv", tmp_path / "out.csv"
    source.write_bytes(b"text\na\n")
    target.write_bytes(b"precious")
    with pytest.raises(InputError, match=r"There is a file 'out.csv' already.\nNext: choose another name, or replace"):
        run(session, source, target)
    assert target.read_bytes() == b"precious"
    with pytest.raises(InputError, match="same file"):
        run(session, source, source, replaces=True)
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(InputError, match=r"There is a folder 'folder.csv' already"):
        run(session, source, tmp_path / "folder.csv", replaces=True)
    run(session, source, target, replaces=True)
    assert column_in(target, "text") == ["a"]


@pytest.mark.parametrize("separator", ["", ";;", '"', "\n"])
def test_a_separator_is_one_character_of_a_csv_input(session: Session, tmp_path: Path, separator: str) -> None:
    (tmp_path / "in.csv").write_bytes(b"text\na\n")
    (tmp_path / "in.jsonl").write_bytes(b'{"text": "a"}')
    with pytest.raises(InputError, match="expected one character"):
        run(session, tmp_path / "in.csv", tmp_path / "out.csv", separator=separator)
    with pytest.raises(InputError, match=r"--sep goes with a .csv INPUT"):
        run(session, tmp_path / "in.jsonl", tmp_path / "out.csv", separator=separator)


def test_options_and_token_are_looked_at_before_a_long_file_is(
    session: Session, gateway: Served, tmp_path: Path
) -> None:
    (tmp_path / "in.csv").write_bytes(many_then(b"one,cell,too many\n"))
    log = Log()
    for options in ({"dimension": 64}, {"batch_size": 101}, {"title": "t"}):
        with pytest.raises((InputError, SettingsError)):
            run(session, tmp_path / "in.csv", tmp_path / "out.csv", watcher=log, **options)
    with Session(base_url=gateway.url) as tokenless, pytest.raises(TokenError):
        run(tokenless, tmp_path / "in.csv", tmp_path / "out.csv", watcher=log)
    assert log.looked_at == []


def test_what_another_run_is_just_writing_is_refused_and_left_alone(session: Session, tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_bytes(b"text\na\n")
    with whole_file(target := tmp_path / "out.csv") as file:
        file.write(b"first")
        with pytest.raises(InputError, match=r"'out.csv' is just being written by another run"):
            run(session, tmp_path / "in.csv", target)
        file.write(b" come")
    assert target.read_bytes() == b"first come"


def test_what_a_killed_run_has_left_is_replaced(session: Session, tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_bytes(b"text\na\n")
    (tmp_path / ".out.csv.part").write_bytes(b"half of a line that is longer than all that will be written" * 1000)
    run(session, tmp_path / "in.csv", target := tmp_path / "out.csv")
    assert column_in(target, "text") == ["a"]
    assert list(tmp_path.glob(".*")) == []


@pytest.fixture
def picky(token: str) -> Any:
    """A gateway that does not take one text."""

    async def rule(text: str) -> tuple[int, dict[str, str], bytes] | None:
        return BAD_TEXT if text == "poison" else None

    with served(behind(rule, create_app(token=token))) as server, Session(base_url=server.url, token=token) as session:
        yield server, session


@pytest.mark.parametrize("written", ["out.csv", "out.jsonl", "out.parquet"])
def test_a_row_that_the_gateway_rejects_is_named_as_the_file_counts_it(
    picky: tuple[Served, Session], tmp_path: Path, written: str
) -> None:
    server, session = picky
    (tmp_path / "in.csv").write_bytes(many_then(b"poison,1\nlast,1\n"))
    with pytest.raises(RejectedTextError, match=r"^Row 5 \('poison'\): "):
        run(session, tmp_path / "in.csv", target := tmp_path / written)
    assert not target.exists()
    before = len(server.texts)
    run(session, tmp_path / "in.csv", target, on_error="keep")
    assert set(server.texts[before:]) <= {"poison", "last"}  # the others were paid for and kept
    reasons = column_in(target, "error")
    assert [str(reason)[:5] for reason in reasons] == ["None"] * 5 + ["Row 5", "None"]
    assert np.isnan(vectors_in(target)).all(axis=1).tolist() == [False] * 5 + [True, False]


def test_a_budget_is_the_files_and_a_further_run_goes_on_from_where_it_ended(
    session: Session, gateway: Served, tmp_path: Path
) -> None:
    (tmp_path / "in.csv").write_bytes(many_then(b"last,1\n"))
    with pytest.raises(BudgetError, match=r"rows from 3 on \(3 of 5 requests used\)"):
        run(session, tmp_path / "in.csv", target := tmp_path / "out.csv", max_requests=5)
    assert (len(gateway.texts), target.exists()) == (3, False)
    _, summary = run(session, tmp_path / "in.csv", target, max_requests=5)
    assert (summary.new, summary.cached, len(gateway.texts)) == (3, 3, 6)


def test_vectors_of_another_maker_in_a_later_group_are_not_mixed_in(session: Session, tmp_path: Path) -> None:
    """The stand-in signs what it serves; these rows were cached while something else answered at its address."""
    (tmp_path / "in.csv").write_bytes(many_then(b"last,1\n"))
    keys = KeyRing(session.settings.base_url, Recipe("gemini-embedding-001", SIZE, "SEMANTIC_SIMILARITY"))
    foreign = [
        CachedVector(keys.key(text), np.ones(SIZE, np.float32), "other.example")
        for text in ("text 3", "text 4", "last")
    ]
    cache = EmbeddingCache(tmp_path / "cache")
    cache.keep(foreign)
    cache.close()
    with pytest.raises(ProvenanceError, match=r"rows from 3 on are of another maker") as refused:
        run(session, tmp_path / "in.csv", target := tmp_path / "out.csv")
    assert "other.example" in str(refused.value)
    assert "offline-lexical" in str(refused.value)
    assert not target.exists()
    run(session, tmp_path / "in.csv", target, refresh=True)
    assert len(vectors_in(target)) == 6


def test_what_changes_in_a_file_between_its_two_readings_is_an_error_and_no_output(
    session: Session, tmp_path: Path
) -> None:
    source = tmp_path / "in.csv"
    source.write_bytes(many_then(b"last,1\n"))

    class Meddling(Log):
        def checked(self, rows: int) -> None:
            if rows == 6:
                source.write_bytes(many_then(b",1\n"))

    with pytest.raises(InputError, match=r"row 5 \(blank\)"):
        run(session, source, target := tmp_path / "out.csv", watcher=Meddling())
    assert (target.exists(), list(tmp_path.glob(".*"))) == (False, [])


@pytest.mark.parametrize(
    "spoil", [lambda data: data[: len(data) // 2], lambda data: data.replace(b"text 4", b"text \xff")]
)
def test_a_parquet_file_that_is_damaged_is_said_so(
    session: Session, gateway: Served, tmp_path: Path, spoil: Callable[[bytes], bytes]
) -> None:
    table = pa.table({"text": [f"text {number}" for number in range(8)]})
    pq.write_table(table, source := tmp_path / "in.parquet", compression="none", use_dictionary=False)
    source.write_bytes(spoil(source.read_bytes()))
    with pytest.raises(InputError, match=r"'in.parquet' cannot be read as Parquet"):
        run(session, source, tmp_path / "out.parquet")
    assert gateway.texts == []


def test_notices_are_told_when_they_come_and_not_after_hours(session: Session, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file where the cache's folder should be")
    (tmp_path / "in.csv").write_bytes(many_then(b"last,1\n"))

    class Watching(Log):
        def note(self, event: ProgressEvent) -> None:
            super().note(event)
            told_at.append(len(self.notices))

    told_at: list[int] = []
    _, summary = run(session, tmp_path / "in.csv", tmp_path / "out.csv", watcher=(log := Watching()))
    cache, stand_in = log.notices
    assert cache.startswith("The cache file cannot be used just now")
    assert stand_in.startswith("Offline stand-in")
    assert (told_at[0], told_at[-1], summary.notices) == (0, 2, ())
