"""A join as one writes it by hand in DuckDB: python -m bench.peers.join_with_duckdb FOLDER CRS TARGET.

The rows may come in another order, the file has no `geo` metadata, and nothing is counted.
"""

from __future__ import annotations

import sys

import duckdb


def main(source: str, target: str) -> None:
    duckdb.sql(
        f"COPY (SELECT l.*, r.geom, r.bbox FROM '{source}/people.parquet' l LEFT JOIN '{source}/places.parquet' r "
        f"ON trim(l.code::VARCHAR) = trim(r.code::VARCHAR)) TO '{target}' (FORMAT parquet, COMPRESSION zstd)"
    )


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[3])
