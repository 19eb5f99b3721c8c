"""What is left in a notebook that was run."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from nbformat import NotebookNode


def outputs(notebook: NotebookNode, source: str | None = None) -> Iterator[NotebookNode]:
    """Yield the outputs of the cell with this source, or of all cells."""
    cells = [cell for cell in notebook.cells if cell.cell_type == "code" and source in (None, cell.source)]
    assert cells, source
    for cell in cells:
        yield from cell.outputs


def errors(found: Iterable[NotebookNode]) -> list[list[str]]:
    """Return the lines of every error."""
    return [list(output.traceback) for output in found if output.output_type == "error"]


def streams(found: Iterable[NotebookNode], name: str) -> list[str]:
    """Return all texts of ``stdout`` or ``stderr``."""
    return [output.text for output in found if output.output_type == "stream" and output.name == name]
