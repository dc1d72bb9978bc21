"""The recipe with DuckDB and its spatial extension: python -m bench.peers.with_duckdb SOURCE CRS TARGET."""

from __future__ import annotations

import sys

import duckdb
import duckdb_ext


def main(source: str, crs: str, target: str) -> None:
    database = duckdb_ext.init(duckdb.connect())
    database.execute("LOAD spatial")
    # Straight from ST_Read everything behind it runs on one thread; from a table it runs on all.
    database.execute(f"CREATE TEMP TABLE source AS FROM ST_Read('{source}')")
    in_4326 = "geom" if crs == "EPSG:4326" else f"ST_Transform(geom, '{crs}', 'EPSG:4326', always_xy := true)"
    valid = "CASE WHEN ST_IsValid(g) THEN g ELSE ST_MakeValid(g) END"
    database.execute(
        f"""
        COPY (
            SELECT * EXCLUDE (g), {valid} AS geom
            FROM (SELECT * EXCLUDE (geom), {in_4326} AS g FROM source)
        ) TO '{target}' (FORMAT parquet, COMPRESSION zstd)
        """
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
