"""One table of any format as typed Parquet in scratch: what every pipeline does that reads tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from app.messages.tabular import (
    ALL_QUARANTINED,
    HEADER_ONLY,
    LINES_BLANK,
    QUARANTINE_TOO_LARGE,
    ROWS_NULL_FILLED,
    ROWS_QUARANTINED,
    TABLE_ROWS_LOST,
)
from app.models.formats import find_format
from app.models.manifests.file_options import FileOptions
from app.pipelines.common.column_types import types_by_column
from app.pipelines.contract.context import FetchedFile, RunContext
from app.pipelines.tabular.notation import notation_of
from app.pipelines.tabular.open import open_table
from app.pipelines.tabular.quarantine import Quarantine
from app.pipelines.tabular.source import OpenedTable, TypedSource
from app.pipelines.tabular.typed_table import (
    ColumnReader,
    WriteOptions,
    WrittenTable,
    copy_table,
    types_of,
    write_table,
)
from app.pipelines.tabular.warnings import text_column_warnings


def open_file(ctx: RunContext, fetched: FetchedFile) -> OpenedTable:
    """Open a table, and warn of what was found then. Raises RunRefused: what `open_table` raises."""
    source = open_table(fetched, ctx.limits, ctx.watch)
    for warning in source.warnings:
        ctx.watch.warn(warning)
    return source


def convert(
    ctx: RunContext,
    fetched: FetchedFile,
    source: OpenedTable,
    cleaned: Sequence[str],
    target: Path,
    quarantine: Quarantine,
    readers: Mapping[int, ColumnReader] | None = None,
) -> WrittenTable:
    """Write the rows as typed Parquet to `target`, and those that cannot be read to the quarantine.

    Args:
        cleaned: the names of the columns in the target.
        readers: {number of the column: what reads it}.

    Raises:
        RunRefused: what `write_table` and `copy_table` raise; column_unknown.
    """
    readers = readers or {}
    if isinstance(source, TypedSource):
        return copy_table(source, cleaned, target, ctx.watch, readers)
    options = options_of_file(fetched)
    declared = types_by_column(options.types or {}, source.names, cleaned, source.file)
    kept = {number: kind for number, kind in declared.items() if number not in types_of(readers)}
    how = WriteOptions(cleaned, kept, options.nulls or (), notation_of(options), ctx.limits.rows, ctx.threads, readers)
    return write_table(source, how, target, quarantine, ctx.watch)


def check(
    ctx: RunContext, fetched: FetchedFile, source: OpenedTable, path: Path, outcome: WrittenTable,
    quarantine: Quarantine,
) -> None:  # fmt: skip
    """Check that no row is lost and that few enough are quarantined; warn of what was found.

    Args:
        path: what `convert` wrote.

    Raises:
        RunRefused: rows_lost, rows_quarantined, no_rows.
    """
    counts, file = outcome.counts, source.file
    read, written, quarantined = counts["rows_in"], counts["rows_out"], counts["rows_quarantined"]
    if read != written + quarantined:
        raise TABLE_ROWS_LOST(file=file, read=read, written=written, quarantined=quarantined)
    options = options_of_file(fetched)
    lines_quarantined = counts["lines_quarantined"]
    if lines_quarantined:
        lines = written + lines_quarantined
        share = ctx.limits.quarantine_share if options.quarantine_share is None else options.quarantine_share
        worst = "; ".join(f"line {each['line']}: {each['reason']}" for each in quarantine.samples[:3])
        if lines_quarantined > share * lines:
            raise QUARANTINE_TOO_LARGE(
                file=file, lines_quarantined=lines_quarantined, lines=lines, worst=worst, share=share
            )
        ctx.watch.warn(ROWS_QUARANTINED(file=file, worst=worst, count=quarantined, samples=quarantine.samples))
    if written == 0:
        raise ALL_QUARANTINED(file=file) if lines_quarantined else HEADER_ONLY(file=file)
    if counts["rows_null_filled"]:
        ctx.watch.warn(ROWS_NULL_FILLED(file=file, count=counts["rows_null_filled"]))
    if counts["lines_blank"]:
        ctx.watch.warn(LINES_BLANK(file=file, count=counts["lines_blank"]))
    fmt = find_format(fetched.declared.format)
    takes = fmt.options if fmt is not None else ()
    for warning in text_column_warnings(path, outcome.schema, source, options, takes):
        ctx.watch.warn(warning)


def options_of_file(fetched: FetchedFile) -> FileOptions:
    """files[].options of the manifest."""
    return fetched.declared.options or FileOptions()
