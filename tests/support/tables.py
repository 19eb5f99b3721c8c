"""Table files for jobs on files, and running these."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

import vn_magic
from vn_magic import Session
from vn_magic.embeddings import Provenance
from vn_magic.progress import JobSummary, ProgressEvent
from vn_magic.scale.file_job import embed_file
from vn_magic.scale.table_files import TableFiles

SIZE = 128


@dataclass
class Log:
    """A watcher that remembers."""

    events: list[ProgressEvent] = field(default_factory=list)
    looked_at: list[int] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)

    def checked(self, rows: int) -> None:
        self.looked_at.append(rows)

    def tell(self, notices: Sequence[str]) -> None:
        self.notices.extend(notices)

    def note(self, event: ProgressEvent) -> None:
        self.events.append(event)

    def draw(self) -> None:
        pass


def run(
    session: Session, source: Path, target: Path, column: str = "text", *, watcher: Any = None, **options: Any
) -> tuple[Provenance, JobSummary]:
    """Embed a file with small vectors."""
    separator, replaces = options.pop("separator", None), options.pop("replaces", False)
    files = TableFiles(source, target, column, separator, replaces)
    return embed_file(session, files, session.prepare([], **{"dimension": SIZE, **options}), watcher or Log())


def vectors_in(path: Path) -> NDArray[np.float32]:
    """Return the vectors of a file that was written, NaN where there is none."""
    if path.suffix == ".jsonl":
        rows = [json.loads(line)["embedding"] for line in path.read_text(encoding="utf-8").splitlines()]
        return np.array([[np.nan] * SIZE if row is None else row for row in rows], np.float32).reshape(-1, SIZE)
    frame: Any = vn_magic.load(path)
    matrix: NDArray[np.float32] = frame.vec.matrix
    return matrix


def column_in(path: Path, name: str) -> list[Any]:
    """Return a column of a file that was written."""
    if path.suffix == ".jsonl":
        return [json.loads(line).get(name) for line in path.read_text(encoding="utf-8").splitlines()]
    column = vn_magic.load(path)[name].astype(object)
    return column.where(column.notna(), None).tolist()


def write_table(path: Path, columns: dict[str, list[Any]]) -> Path:
    """Write a small table, as people's tools do."""
    frame = pd.DataFrame(columns)
    if path.suffix == ".parquet":
        frame.to_parquet(path, row_group_size=4)
    elif path.suffix == ".csv":
        frame.to_csv(path, index=False)
    else:
        frame.to_json(path, orient="records", lines=True, force_ascii=False)
    return path
