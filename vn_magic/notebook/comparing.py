"""``%vn compare``: one list of texts under several settings, as a table and a chart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from IPython.core.interactiveshell import InteractiveShell
from IPython.display import display

from vn_magic.exceptions import InputError
from vn_magic.notebook.card import Card
from vn_magic.notebook.drawing import parse
from vn_magic.notebook.expressions import evaluated
from vn_magic.notebook.names import check_output_name
from vn_magic.session import Session
from vn_magic.wording import counted

COMPARE_OPTIONS: Mapping[str, str] = {
    "-c": "column",
    "--column": "column",
    "-d": "dimensions",
    "--dim": "dimensions",
    "-t": "task_types",
    "--task": "task_types",
    "-m": "models",
    "--model": "models",
    "--labels": "labels",
    "-k": "k",
    "-o": "out",
    "--out": "out",
}
"""Every spelling of an option, and the argument that it gives."""

COMPARE_USAGE = "DF [-c COLUMN] [--dim N,…] [--task TASK,…] [--model MODEL,…] [--labels COLUMN] [-k N] [-o OUT]"

_TEXT_WIDTH = 100

_HELP = f"""\
%vn compare {COMPARE_USAGE}

Embeds the texts under every combination of models, tasks and dimensions, the session's where none are named, and shows
a line for each. DF is an expression: a frame, a Series, a list of texts. Lists have commas and no blanks.

  -c, --column   column of the texts; needed where a frame has several
  -d, --dim      values in a vector, e.g. 128,256,768,3072; one request a text serves them all where the model allows
  -t, --task     e.g. SEMANTIC_SIMILARITY,CLUSTERING
  -m, --model    e.g. gemini-embedding-001
  --labels       a column that near rows should agree in
  -k             neighbours of a row that are looked at (default 10)
  -o, --out      variable for the table

  overlap@k          share of a row's k nearest rows that it has under the first line's setting too
  rank_correlation   Spearman's rho between the similarities of all pairs here and in the first line
  purity@k           share of a row's k nearest rows with its label
  silhouette         how much nearer rows are to their own label's rows than to the next label's (cosine distance)

`help("vn_magic.explore.comparison")` has the formulas and their sources.

example: %vn compare reviews -c review --dim 128,256,768,3072 --labels product -o table"""


def compare(line: Sequence[str], session: Session, shell: InteractiveShell) -> None:
    """Compare settings on a user's texts; the table is bound only when all of it is there."""
    if line[0].strip() in ("-h", "--help"):
        print(_HELP)  # noqa: T201 - help is output
        return
    # Imported here: charts and figures are 20 ms that nobody should wait for who does not compare.
    from vn_magic.classroom.comparison import wait_for_comparison  # noqa: PLC0415 - see above
    from vn_magic.classroom.comparison_report import chart, said_of, shown  # noqa: PLC0415 - see above
    from vn_magic.classroom.settings_grid import settings_grid  # noqa: PLC0415 - see above

    expression, arguments = parse("compare", line[0].rstrip().removesuffix(";"), COMPARE_OPTIONS)
    if not expression:
        raise InputError(
            "%vn compare needs texts, e.g. `%vn compare reviews -c review --dim 128,768`.\n"
            "Next: `%vn compare -h` shows the options."
        )
    out = arguments.pop("out", None)
    if out is not None:
        check_output_name(out)
    tasks, dimensions = _several("--task", arguments.get("task_types")), _several("--dim", arguments.get("dimensions"))
    options: dict[str, Any] = {
        **arguments,
        "models": _several("--model", arguments.get("models")),
        "task_types": None if tasks is None else [task.upper() for task in tasks],
        "dimensions": None if dimensions is None else [_number("--dim", dimension) for dimension in dimensions],
        "k": _number("-k", arguments.get("k", "10")),
    }
    grid = settings_grid(evaluated(expression, shell.user_ns, "%vn compare"), session, **options)
    in_kernel, kept = getattr(shell, "kernel", None) is not None, not session.asks_nobody
    card = Card(out or "comparison", in_kernel=in_kernel, quiet=False, kept=kept)
    try:
        table = wait_for_comparison(grid, session, card.note, card.draw)
    except BaseException:
        card.fail()
        raise
    if out is not None:
        shell.push({out: table})
    said = said_of(table)
    size = f"{counted(len(table), 'setting')} × {counted(said['rows'], 'row')}"
    card.finish_with([f"{out or 'comparison'}   {size}   {said['source']}", *said["notes"]])
    looked_at = shown(table)
    # By itself pandas leaves out columns in the middle of what is wider than a terminal: the figures.
    text = looked_at.to_string(line_width=_TEXT_WIDTH)
    display({"text/plain": text, "text/html": looked_at.to_html(notebook=True)}, raw=True)
    display(chart(table))


def _several(option: str, value: str | None) -> list[str] | None:
    """Return the values of a list with commas, or None where the option is not there."""
    if value is None:
        return None
    values = [part.strip() for part in value.split(",")]
    if not all(values):
        raise InputError(
            f"%vn compare: the list after {option} has an empty place.\nNext: write it without blanks: {option} A,B,C."
        )
    return values


def _number(option: str, value: str) -> int:
    try:
        return int(value)
    except ValueError:
        raise InputError(
            f"%vn compare: {option} takes whole numbers, not {value!r}.\nNext: `%vn compare -h` shows the options."
        ) from None
