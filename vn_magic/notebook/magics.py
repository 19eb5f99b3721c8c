"""``%%embed``, ``%embed`` and ``%vn``: thin skins over the session."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from IPython.core.interactiveshell import InteractiveShell
from IPython.core.magic import Magics, line_cell_magic, line_magic, magics_class, needs_local_scope, no_var_expand

from vn_magic.exceptions import InputError
from vn_magic.frames import is_dask_collection
from vn_magic.notebook import vn
from vn_magic.notebook.card import Card, show_lines
from vn_magic.notebook.expressions import evaluated
from vn_magic.notebook.forecast import plan_lines
from vn_magic.notebook.lazy import bound_line, dry_run_line
from vn_magic.notebook.names import check_output_name
from vn_magic.notebook.options import (
    EmbedLine,
    help_text,
    options_of_job,
    parse_cell_line,
    parse_line,
    refuse_tokens,
)
from vn_magic.request import EmbedOptions, Request, Vectors
from vn_magic.rows import DEFAULT_COLUMN, Rows, split_rows
from vn_magic.scale.sessions import expected_provenance
from vn_magic.session import Session


@magics_class
class EmbedMagics(Magics):
    """The magics of one shell, and the session that they share.

    Parameters
    ----------
    shell
        The shell that loads the extension.
    session
        Settings, token, cache and connection.
    """

    def __init__(self, shell: InteractiveShell, session: Session) -> None:
        super().__init__(shell)
        self.session = session
        self._shell = shell  # traitlets types `shell` as optional

    @no_var_expand
    @needs_local_scope
    @line_cell_magic
    def embed(self, line: str, cell: str | None = None, local_ns: Mapping[str, Any] | None = None) -> Vectors | None:
        """Turn text into vectors."""
        variables = {**self._shell.user_ns, **(local_ns or {})}
        return self.session.guard(lambda: self._embed(line, cell, variables))

    @no_var_expand
    @line_magic
    def vn(self, line: str) -> None:
        """Do everything that is not embedding: `%vn` alone lists what there is."""
        self.session.guard(lambda: vn.run(line, self.session, self._shell))

    def _embed(self, line: str, cell: str | None, variables: Mapping[str, Any]) -> Vectors | None:
        refuse_tokens(line, self.session)
        parsed = parse_line(line) if cell is None else parse_cell_line(line)
        if parsed.options.help:
            print(help_text())  # noqa: T201 - help is output
            return None
        if parsed.out is not None:
            check_output_name(parsed.out)
        data = evaluated(parsed.expression, variables, "%embed") if cell is None else _rows_of(parsed, cell, variables)
        if is_dask_collection(data):
            return self._embed_lazily(parsed, data)
        request = self.session.prepare(data, **_options_of(parsed))
        if parsed.options.dry_run:
            plan, texts = self.session.run(self.session.plan_job(request))
            show_lines(plan_lines(plan, texts, request, self.session.settings, self.session.totals))
            return None
        return self._run(request, parsed)

    def _run(self, request: Request, parsed: EmbedLine) -> Vectors | None:
        """Run the job under a card; the result is bound, or returned, whatever becomes of the card."""
        card = Card(
            parsed.out or "result",
            in_kernel=getattr(self._shell, "kernel", None) is not None,
            quiet=parsed.options.quiet,
            kept=request.options.use_cache and not self.session.asks_nobody,
        )
        try:
            embeddings = self.session.run_request(request, card.note, card.draw)
        except BaseException:
            card.fail()
            raise
        result = request.shaped(embeddings)
        if parsed.out is not None:
            self._shell.push({parsed.out: result})
        card.finish(embeddings)
        return result if parsed.out is None else None

    def _embed_lazily(self, parsed: EmbedLine, data: Any) -> Vectors | None:  # noqa: ANN401 - dask has no types
        from vn_magic.scale import collection  # noqa: PLC0415 - for those who use dask

        options = _options_of(parsed)
        request = collection.settled(self.session, data, **options)
        provenance = expected_provenance(self.session, request.recipe)
        if parsed.options.dry_run:
            show_lines([dry_run_line(data.npartitions, provenance)])
            return None
        result = collection.collection_of(self.session, data, request, options["column"])
        if parsed.out is None:
            return result
        self._shell.push({parsed.out: result})
        if not parsed.options.quiet:
            show_lines([bound_line(parsed.out, data.npartitions, provenance)])
        return None


EmbedMagics.embed.__doc__ = help_text()


def _rows_of(parsed: EmbedLine, cell: str, variables: Mapping[str, Any]) -> Rows:
    options = parsed.options
    if options.column is not None and options.split not in ("csv", "jsonl"):
        raise InputError("%%embed: -c names a column of --split csv or --split jsonl.\nNext: add one of them.")
    if options.sep is not None and options.split != "csv":
        raise InputError("%%embed: --sep goes with --split csv.\nNext: add it, or leave out --sep.")
    column = DEFAULT_COLUMN if options.column is None else options.column  # `-c ''` names a column as well
    separator = "," if options.sep is None else options.sep
    rows = split_rows(cell, options.split or "lines", column=column, separator=separator)
    # After splitting: a value with a line break or a comma stays in its row.
    return rows.filled_in(variables) if options.vars else rows


def _options_of(parsed: EmbedLine) -> EmbedOptions:
    column = parsed.options.column if parsed.expression else None
    return {**options_of_job(parsed.options), "column": column, "result": parsed.options.result}
