"""Parquet files, read and written in groups; the gate to pyarrow."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from vn_magic.embeddings import Embeddings, Provenance
from vn_magic.exceptions import InputError
from vn_magic.files import SAVED_KEY
from vn_magic.frames import ATTRS_KEY, EMBEDDING_COLUMN, ERROR_COLUMN
from vn_magic.scale.csv_file import CsvTable
from vn_magic.scale.json_lines_file import JsonLinesGroup
from vn_magic.scale.tables import Group, GroupSize, Kind, Table, Write, check_names, errors_of, note_of

# Rows decoded at a time: a row group may be as large as the file.
_BATCH_ROWS = 1024
_PAGE_BUFFER = 1 << 20
# Under this name of a schema's metadata pandas keeps `DataFrame.attrs`.
_ATTRS = b"PANDAS_ATTRS"
_VECTOR = pa.list_(pa.float32())


class ParquetGroup:
    """Rows of a Parquet file."""

    def __init__(self, table: pa.Table, column: str) -> None:
        self.table = table
        self.texts: Sequence[object] = table.column(column).to_pylist()

    def columns(self) -> Mapping[str, Sequence[object]]:
        """Return all columns as Python's values; days and times as texts that keep all digits."""
        return {name: _values(name, self.table.column(name)) for name in self.table.column_names}

    def records(self) -> Iterator[Mapping[str, object]]:
        """Yield the rows as Python's values by name."""
        columns = self.columns()
        return (dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True))


class ParquetTable:
    """A Parquet file.

    Parameters
    ----------
    path
        The file.
    column
        The column of the texts.

    Raises
    ------
    InputError
        When it is no Parquet file, or has no such column of texts.
    """

    def __init__(self, path: Path, column: str) -> None:
        self._path, self._column = path, column
        with _reading(path), pq.ParquetFile(path) as file:
            self.schema: pa.Schema = file.schema_arrow
            count, size = file.metadata.num_rows, _size_of(file.metadata)
        self._row_size = size / max(count, 1)
        self.names: Sequence[str] = self.schema.names
        check_names(self.names, column)
        self.kinds: Mapping[str, Kind] = {field.name: _kind_of(field.type) for field in self.schema}
        texts = self.schema.field(column).type
        if not (_is_text(texts) or pa.types.is_null(texts)):
            raise InputError(f"The column {column!r} holds {texts}, not text.\nNext: name the column of texts with -c.")

    def groups(self, most: GroupSize, *, texts_only: bool = False) -> Iterator[ParquetGroup]:
        """Yield the rows; see `Table.groups`."""
        # Not more at a time than an eighth of a group, by what the file says of its rows.
        at_once = max(1, min(_BATCH_ROWS, most.rows, int(most.size / 8 / (self._row_size + 1))))
        batches: list[pa.RecordBatch] = []
        rows = size = 0
        with _reading(self._path), pq.ParquetFile(self._path, buffer_size=_PAGE_BUFFER, pre_buffer=False) as file:
            for batch in file.iter_batches(at_once, columns=[self._column] if texts_only else None):
                if batches and (rows + batch.num_rows > most.rows or size >= most.size):
                    yield self._group(batches)
                    batches, rows, size = [], 0, 0
                batches.append(batch)
                rows += batch.num_rows
                size += _bytes_of(batch)
            if rows:
                yield self._group(batches)

    def _group(self, batches: Sequence[pa.RecordBatch]) -> ParquetGroup:
        return ParquetGroup(pa.Table.from_batches(batches), self._column)


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Tell errors of pyarrow as ours."""
    try:
        yield
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise InputError(
            f"{path.name!r} cannot be read as Parquet: {reason}.\nNext: check the file, or write it anew."
        ) from None


class ParquetWriter:
    """A Parquet file with vectors, a row group a group; `vn_magic.load` and ``pandas.read_parquet`` read it.

    Columns of a Parquet file keep their types, whatever they are. Those of JSON lines get what all their values are.
    """

    def __init__(self) -> None:
        self._schema: pa.Schema | None = None

    def check(self, table: Table) -> None:
        """Refuse nothing: what it cannot hold is found by `learn`."""
        if isinstance(table, CsvTable):
            self._schema = pa.schema([pa.field(name, pa.string()) for name in table.names])

    def learn(self, group: Group) -> None:
        """Find out of what type the columns of untyped files are.

        Raises
        ------
        InputError
            When the values of a column are of several types.
        """
        if not isinstance(group, JsonLinesGroup):
            return
        fields = [pa.field(name, _type_of(name, values)) for name, values in group.columns().items()]
        known = [self._schema] if self._schema is not None else []
        try:
            self._schema = pa.unify_schemas([*known, pa.schema(fields)], promote_options="permissive")
        except pa.ArrowException as error:
            raise _of_several_types(str(error)) from None

    @contextmanager
    def writing(
        self, file: io.BufferedWriter, table: Table, provenance: Provenance, *, with_errors: bool
    ) -> Iterator[Write]:
        """Write row groups, then the footer; see `Writer.writing`."""
        carried = table.schema if isinstance(table, ParquetTable) else self._schema
        if carried is None:  # no row has told
            carried = pa.schema([pa.field(name, pa.string()) for name in table.names])
        schema = carried.append(pa.field(EMBEDDING_COLUMN, _VECTOR))
        if with_errors:
            schema = schema.append(pa.field(ERROR_COLUMN, pa.string()))
        schema = schema.with_metadata(_metadata(schema, provenance))
        # Values of vectors hardly ever repeat: a dictionary of them is made in vain.
        writer = pq.ParquetWriter(file, schema, use_dictionary=[*carried.names])

        def write(group: Group, embeddings: Embeddings) -> None:
            table = group.table if isinstance(group, ParquetGroup) else _table_of(group, carried)
            columns = [*table.unify_dictionaries().columns, _vectors(embeddings)]
            if with_errors:
                columns.append(pa.array(errors_of(embeddings), pa.string()))
            writer.write_table(pa.Table.from_arrays(columns, schema=schema), row_group_size=len(embeddings))

        try:
            yield write
            writer.close()
        except BaseException:
            with suppress(Exception):
                writer.close()
            writer.is_open = False  # or what is left would be written once more, as garbage, to a file that is closed
            raise


def _table_of(group: Group, schema: pa.Schema) -> pa.Table:
    try:
        return pa.Table.from_pydict(dict(group.columns()), schema)
    except pa.ArrowException as error:
        raise _of_several_types(str(error)) from None


def _vectors(embeddings: Embeddings) -> pa.ListArray:
    rows, dimension = embeddings.matrix.shape
    offsets = np.arange(rows + 1, dtype=np.int32) * dimension
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(embeddings.matrix.reshape(-1)))


def _metadata(schema: pa.Schema, provenance: Provenance) -> dict[bytes, bytes]:
    """Return the schema's metadata with the provenance where pandas leaves it for ``df.vec``."""
    known: dict[bytes, bytes] = dict(schema.metadata or {})
    attrs = json.loads(known.get(_ATTRS, b"{}"))
    note = note_of(provenance)
    # As pandas will see them: the columns of an index are none of the frame's.
    frame = schema.empty_table().replace_schema_metadata(_pandas_notes(known)).to_pandas()
    attrs[ATTRS_KEY] = {**attrs.get(ATTRS_KEY, {}), EMBEDDING_COLUMN: note["provenance"]}
    attrs[SAVED_KEY] = {**note, "kinds": [{"dtype": "as in the schema"}] * frame.shape[1]}
    return {**_pandas_notes(known, attrs), _ATTRS: json.dumps(attrs).encode()}


def _pandas_notes(known: Mapping[bytes, bytes], attrs: object = None) -> dict[bytes, bytes]:
    """Return the metadata with what pandas wrote about its frame, which has a column more now, whose name is a text."""
    if b"pandas" not in known:
        return dict(known)
    notes: dict[str, Any] = json.loads(known[b"pandas"])
    if len(levels := notes.get("column_indexes", [])) != 1 or levels[0].get("pandas_type") != "unicode":
        notes["column_indexes"] = []
    if "attributes" in notes:
        notes["attributes"] = attrs or {}
    return {**known, b"pandas": json.dumps(notes).encode()}


def _type_of(name: str, values: Sequence[object]) -> pa.DataType:
    try:
        return pa.array(values).type
    except (pa.ArrowException, OverflowError) as error:
        raise _of_several_types(f"the column {name!r}: {error}") from None


def _of_several_types(reason: str) -> InputError:
    return InputError(
        f"A column's values do not fit into one type of Parquet: {reason.splitlines()[0].rstrip('.')}.\n"
        "Next: make them all of one type, or write a .jsonl file."
    )


def _values(name: str, column: pa.ChunkedArray) -> list[object]:
    kind = column.type
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind) or pa.types.is_time(kind):
        column = pc.cast(column, pa.string())
    try:
        return list(column.to_pylist())
    except UnicodeDecodeError as error:
        raise InputError(f"The column {name!r} is not UTF-8: {error}.\nNext: write a .parquet file.") from None


def _kind_of(kind: pa.DataType) -> Kind:
    types = pa.types
    if types.is_dictionary(kind):
        return _kind_of(kind.value_type)
    if types.is_boolean(kind):
        return "boolean"
    if types.is_integer(kind) and not types.is_uint64(kind):  # which Python reads, and pandas' signed type does not
        return "integer"
    if types.is_floating(kind):
        return "number"
    if (
        _is_text(kind)
        or types.is_uint64(kind)
        or types.is_temporal(kind)
        or types.is_decimal(kind)
        or types.is_null(kind)
    ):
        return "text"
    return "nested" if types.is_nested(kind) else "binary"


def _is_text(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _size_of(metadata: pq.FileMetaData) -> int:
    return sum(metadata.row_group(number).total_byte_size for number in range(metadata.num_row_groups))


def _bytes_of(batch: pa.RecordBatch) -> int:
    """Return what a batch takes, without dictionaries, which all batches share."""
    columns = (each.indices if pa.types.is_dictionary(each.type) else each for each in batch.columns)
    return sum(each.nbytes for each in columns)
