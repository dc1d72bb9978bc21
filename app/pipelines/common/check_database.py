"""The DuckDB in which a product is checked: it reads one file, and its settings cannot be changed any more."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet as pq

from app.messages.checks import CHECKS_MEMORY
from app.pipelines.common.check_columns import ProductColumns


@dataclass(frozen=True, slots=True)
class CheckedFile:
    """A Parquet file as SQL sees it: the columns c0, c1, … of `t`, and `file_row_number`, from 0.

    memory_bytes: what DuckDB may hold.
    """

    connection: duckdb.DuckDBPyConnection
    columns: ProductColumns
    path: Path
    rows: int
    memory_bytes: int

    def select(self, what: str, rest: str = "") -> duckdb.DuckDBPyConnection:
        """Run `SELECT what FROM the file rest`, made of aliases, quoted values and contained expressions."""
        file = f"read_parquet({quoted(str(self.path))}, file_row_number = true) AS t({self.columns.aliases})"
        return self.connection.execute(f"SELECT {what} FROM {file} {rest}")  # noqa: S608 # see above


@contextmanager
def open_checked(path: Path, threads: int, memory_bytes: int, spill: Path | None = None) -> Iterator[CheckedFile]:
    """Open the file for checks.

    Args:
        path: the Parquet file.
        threads: for DuckDB.
        memory_bytes: for DuckDB.
        spill: a folder for what does not fit into memory; by default one beside the file.

    Raises:
        RunRefused: checks_memory, from the body.
    """
    config: dict[str, Any] = {
        "threads": threads,
        "memory_limit": f"{memory_bytes // 2**20}MiB",
        "temp_directory": str(spill or path.parent / "checks"),
        "autoload_known_extensions": False,
        "autoinstall_known_extensions": False,
    }
    with duckdb.connect(":memory:", config=config) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute(f"SET allowed_paths = [{quoted(str(path))}]")
        connection.execute("SET enable_external_access = false")
        connection.execute("SET lock_configuration = true")
        described = connection.execute("DESCRIBE SELECT * FROM read_parquet(?)", [str(path)]).fetchall()
        types = [row[1] for row in described]
        try:
            with pq.ParquetFile(path) as parquet:
                # The names as they are: DuckDB changes those that are empty, or that differ in case only.
                names, rows = parquet.schema_arrow.names, parquet.metadata.num_rows
            yield CheckedFile(connection, ProductColumns(names, types), path, rows, memory_bytes)
        except duckdb.OutOfMemoryException:
            raise CHECKS_MEMORY(limit=memory_bytes // 2**20) from None


def quoted(text: str) -> str:
    """A text as SQL writes it."""
    return "'" + text.replace("'", "''") + "'"
