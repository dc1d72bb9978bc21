"""CSV to Parquet with DuckDB as it comes: python -m bench.peers.csv_with_duckdb SOURCE CRS TARGET."""

from __future__ import annotations

import sys

import duckdb


def main(source: str, target: str) -> None:
    duckdb.sql(f"COPY (FROM read_csv('{source}')) TO '{target}' (FORMAT parquet, COMPRESSION zstd)")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[3])
