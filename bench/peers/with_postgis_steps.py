"""The described path: load into PostGIS, one table for each step, an index, export; as SQL orchestrators commonly do.

python -m bench.peers.with_postgis_steps SOURCE CRS TARGET, with the server's URL in BENCH_POSTGIS_URL. Loading is
`ogr2ogr` with COPY and without an index where it is on the PATH (Debian's gdal-bin); else a binary COPY from pyogrio's
Arrow batches, which is faster. The export streams rows into GeoParquet, without a covering column.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys

import asyncpg
import pyarrow as pa
import pyarrow.parquet as pq
import pyogrio
from pyproj import CRS


async def main(source: str, crs: str, target: str) -> None:
    srid = int(crs.rpartition(":")[2])
    connection = await asyncpg.connect(os.environ["BENCH_POSTGIS_URL"])
    await connection.execute("SET jit = off; SET synchronous_commit = off; SET work_mem = '64MB'")
    try:
        fields = load_with_ogr2ogr(source) if shutil.which("ogr2ogr") else await load(connection, source)
        names = ", ".join(f'"{name}"' for name in fields.names)
        moved = f"ST_Transform(ST_SetSRID(geom, {srid}), 4326)"
        for statement in (
            f"CREATE UNLOGGED TABLE step_transform AS SELECT {names}, {moved} AS geom FROM step_load",
            f"CREATE UNLOGGED TABLE step_valid AS SELECT {names}, CASE WHEN ST_IsValid(geom) THEN geom "
            "ELSE ST_MakeValid(geom, 'method=linework') END AS geom FROM step_transform",
            "CREATE INDEX ON step_valid USING gist (geom)",
        ):
            await connection.execute(statement)
        await export(connection, fields, target)
    finally:
        await connection.execute("DROP TABLE IF EXISTS step_load, step_transform, step_valid")
        await connection.close()


def load_with_ogr2ogr(source: str) -> pa.Schema:
    """Returns the schema of the attributes."""
    options = ["-lco", "GEOMETRY_NAME=geom", "-lco", "SPATIAL_INDEX=NONE", "-lco", "UNLOGGED=ON", "-lco", "LAUNDER=NO"]
    target = [
        "-f",
        "PostgreSQL",
        os.environ["BENCH_POSTGIS_URL"],
        "-nln",
        "step_load",
        "--config",
        "PG_USE_COPY",
        "YES",
    ]
    print("loading with ogr2ogr", flush=True)  # into the log of the measurement
    subprocess.run(["ogr2ogr", *target, *options, source], check=True)
    with pyogrio.open_arrow(source, use_pyarrow=True) as (meta, reader):
        column = meta["geometry_name"] or "wkb_geometry"
        return pa.schema([field for field in reader.schema if field.name != column])


async def load(connection: asyncpg.Connection, source: str) -> pa.Schema:
    """Returns the schema of the attributes."""
    with pyogrio.open_arrow(source, use_pyarrow=True, batch_size=65_536) as (meta, reader):
        column = meta["geometry_name"] or "wkb_geometry"
        fields = pa.schema([field for field in reader.schema if field.name != column])
        kinds = ", ".join(f'"{field.name}" {sql_type(field.type)}' for field in fields)
        await connection.execute(f"CREATE UNLOGGED TABLE step_load ({kinds}, geom geometry)")
        await connection.set_type_codec("geometry", encoder=bytes, decoder=bytes, format="binary")
        for batch in reader:
            values = [batch.column(field.name).to_pylist() for field in fields]
            rows = zip(*values, batch.column(column).to_pylist(), strict=True)
            await connection.copy_records_to_table("step_load", records=rows)
    return fields


def sql_type(kind: pa.DataType) -> str:
    if pa.types.is_integer(kind):
        return "bigint" if kind.bit_width == 64 else "integer"
    if pa.types.is_floating(kind):
        return "double precision"
    return "date" if pa.types.is_date(kind) else "text"


async def export(connection: asyncpg.Connection, fields: pa.Schema, target: str) -> None:
    names = ", ".join(f'"{field.name}"' for field in fields)
    schema = pa.schema([*fields, pa.field("geom", pa.binary())])
    column = {"encoding": "WKB", "geometry_types": [], "crs": CRS(4326).to_json_dict()}
    geo = {"version": "1.1.0", "primary_column": "geom", "columns": {"geom": column}}
    with pq.ParquetWriter(target, schema, compression="zstd") as writer:
        async with connection.transaction():
            cursor = await connection.cursor(f"SELECT {names}, ST_AsBinary(geom) FROM step_valid")
            while rows := await cursor.fetch(50_000):
                columns = zip(zip(*rows, strict=True), schema.types, strict=True)
                arrays = [pa.array(values, kind) for values, kind in columns]
                writer.write_batch(pa.record_batch(arrays, schema=schema))
        writer.add_key_value_metadata({"geo": json.dumps(geo)})


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
