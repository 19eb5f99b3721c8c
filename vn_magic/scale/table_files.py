"""Where the rows of a job come from and where they go: what can be told before anything is read or made."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from vn_magic.exceptions import InputError
from vn_magic.scale.csv_file import CsvTable, CsvWriter
from vn_magic.scale.json_lines_file import JsonLinesTable, JsonLinesWriter
from vn_magic.scale.tables import Table, Writer


@dataclass(frozen=True, slots=True)
class TableFiles:
    """Where the rows come from, and where they go.

    Parameters
    ----------
    source, target
        ``.parquet``, ``.csv`` or ``.jsonl``, each of any kind.
    column
        The column of the texts.
    separator
        Of a CSV source; None for a comma.
    replaces
        Whether an older target may be replaced.
    """

    source: Path
    target: Path
    column: str
    separator: str | None = None
    replaces: bool = False

    def opened(self) -> tuple[Table, Writer]:
        """Return what reads the one and writes the other; nothing is made yet.

        Raises
        ------
        InputError
            When one of them is of no use, as far as its name, its header or its schema tell.
        """
        reads, writes = _ending_of(self.source), _ending_of(self.target)
        if not self.source.is_file():
            raise InputError(f"There is no file {self.source.name!r} there.\nNext: check the path and the folder.")
        if self.separator is not None and reads != ".csv":
            raise InputError(f"--sep goes with a .csv INPUT, and this is {self.source.name!r}.\nNext: leave it out.")
        self.check_target()
        table, writer = _table(self, reads), _writer(writes)
        writer.check(table)
        return table, writer

    def check_target(self) -> None:
        """Refuse to replace what is not to be replaced.

        Raises
        ------
        InputError
        """
        if not self.target.exists():
            return
        if self.target.samefile(self.source):
            raise InputError("INPUT and OUTPUT are the same file.\nNext: choose another name for the output.")
        if not self.replaces or not self.target.is_file():
            raise InputError(
                f"There is {'a file' if self.target.is_file() else 'a folder'} {self.target.name!r} already.\n"
                "Next: choose another name, or replace a file with --force."
            )


def _ending_of(path: Path) -> str:
    ending = path.suffix.lower()
    if ending not in (".parquet", ".csv", ".jsonl", ".ndjson"):
        raise InputError(
            f"The ending {path.suffix!r} of {path.name!r} is not known.\nNext: use .parquet, .csv or .jsonl."
        )
    if ending == ".parquet" and find_spec("pyarrow") is None:
        raise InputError('Parquet needs pyarrow, which is not installed.\nNext: pip install "vn_magic[parquet]".')
    return ending


def _table(files: TableFiles, ending: str) -> Table:
    if ending == ".parquet":
        from vn_magic.scale.parquet_file import ParquetTable  # noqa: PLC0415 - pyarrow is an extra

        return ParquetTable(files.source, files.column)
    if ending == ".csv":
        return CsvTable(files.source, files.column, "," if files.separator is None else files.separator)
    return JsonLinesTable(files.source, files.column)


def _writer(ending: str) -> Writer:
    if ending == ".parquet":
        from vn_magic.scale.parquet_file import ParquetWriter  # noqa: PLC0415 - as above

        return ParquetWriter()
    return CsvWriter() if ending == ".csv" else JsonLinesWriter()
