"""Opening a table of any format: THE place where a tabular format gets its reader."""

from __future__ import annotations

from app.errors import RunRefused
from app.jobs.notes import file_at_hand
from app.models.formats import find_format
from app.models.manifest import FileOptions
from app.pipelines.context import FetchedFile, Watch
from app.pipelines.formats.tabular_bytes import plain_file
from app.pipelines.formats.tabular_csv import open_csv
from app.pipelines.formats.tabular_jsonl import open_jsonl
from app.pipelines.formats.tabular_parquet import ParquetTable, open_parquet
from app.pipelines.formats.tabular_source import TableSource
from app.pipelines.formats.tabular_xlsx import open_xlsx
from app.settings import Limits


def open_table(fetched: FetchedFile, limits: Limits, watch: Watch) -> TableSource | ParquetTable:
    """Open and check the file that the manifest declares. Raises RunRefused for what is not a table of that format.

    Formats that must be read once to know their columns tell `watch` that they go on.
    """
    declared, file = fetched.declared, fetched.declared.key
    file_at_hand(file)
    fmt = find_format(declared.format)
    if fmt is None or fmt.type != "tabular":
        raise RunRefused(
            f"{file} is declared as {declared.format}, which is no format of tables.",
            "Declare CSV, TSV, XLSX, JSONL or Parquet.",
            reason="format_not_tabular",
            file=file,
        )
    options = declared.options or FileOptions.model_validate({})
    path = fetched.path
    if fmt.name == "Parquet":
        return open_parquet(path, limits, file)
    if fmt.name == "XLSX":
        return open_xlsx(path, options, limits, file, watch)
    path = plain_file(path, fmt, limits, file)
    if fmt.name == "JSONL":
        return open_jsonl(path, options, limits, file, watch)
    return open_csv(path, options, "\t" if fmt.name == "TSV" else None, limits, file)
