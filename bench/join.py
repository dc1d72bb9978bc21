"""The input of the join part, and what is in a result: python -m bench.join make FOLDER ROWS | check FILE."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import shapely
from pyproj import CRS

from app.pipelines.common.geoparquet_writer import GeoParquetWriter
from app.pipelines.tabular.writer import TableWriter

STEP = 50_000
ROWS_EACH = 5


def make(folder: Path, features: int) -> None:
    """Features of 8 vertices with a code, and five times as many rows in no order: of ten one matches nothing."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(20260101)
    angles = np.linspace(0, 2 * np.pi, 8, endpoint=False)
    ring = np.stack([np.cos(angles), np.sin(angles)], axis=1) * 1e-4
    schema = pa.schema([("code", pa.string()), ("name", pa.string())])
    with GeoParquetWriter(folder / "places.parquet", schema, "bbox", CRS("EPSG:4326")) as writer:
        for first in range(0, features, STEP):
            count = min(STEP, features - first)
            shapes = shapely.polygons(rng.uniform(5, 15, (count, 1, 2)) + ring * rng.uniform(0.5, 1.5, (count, 8, 1)))
            codes = codes_of(np.arange(first, first + count))
            columns = [codes, pc.binary_join_element_wise("Haus", codes, " ")]
            wkb = pa.array(shapely.to_wkb(shapes, flavor="iso"), pa.binary())
            writer.write(columns, wkb, shapely.bounds(shapes), {"Polygon"})
    fields = [("code", pa.string()), ("id", pa.int64()), ("price", pa.decimal128(18, 2)), ("day", pa.date32()),
              ("x", pa.float64()), ("use", pa.string())]  # fmt: skip
    uses = pa.array(["Acker", "Grünland", "Gehölz", "Streuobst"])
    with TableWriter(folder / "people.parquet", pa.schema(fields)) as table:
        for first in range(0, features * ROWS_EACH, STEP):
            count = min(STEP, features * ROWS_EACH - first)
            columns = [
                codes_of(rng.integers(0, features * 10 // 9, count)),
                pa.array(np.arange(first, first + count)),
                pa.array(rng.integers(0, 10**7, count), pa.int32()).cast(pa.decimal128(18, 2)),
                pa.array(rng.integers(0, 20_000, count).astype(np.int32)).cast(pa.date32()),
                pa.array(rng.uniform(0, 1, count)),
                uses.take(pa.array(rng.integers(0, 4, count))),
            ]
            table.write(pa.record_batch(columns, schema=pa.schema(fields)))


def codes_of(numbers: np.ndarray) -> pa.Array:
    return pc.utf8_lpad(pa.array(numbers).cast(pa.string()), 9, "0")


def check(path: str) -> dict[str, object]:
    """Rows, rows with a geometry, a sum in which every row's geometry counts; whether the rows kept their order."""
    found = duckdb.sql(
        f"SELECT count(*), count(geom), sum(id * (hash(geom) % 1000)) FILTER (geom IS NOT NULL) "
        f"FROM read_parquet('{path}')"
    ).fetchall()[0]
    ids = pq.read_table(path, columns=["id"]).column(0).to_numpy()
    in_order = bool((np.diff(ids) > 0).all())
    return {"rows": found[0], "matched": found[1], "sum": str(found[2]), "in_order": in_order,
            "geo": b"geo" in (pq.read_metadata(path).metadata or {}), "bytes": Path(path).stat().st_size}  # fmt: skip


if __name__ == "__main__":
    if sys.argv[1] == "make":
        make(Path(sys.argv[2]), int(sys.argv[3]))
    else:
        sys.stdout.write(json.dumps(check(sys.argv[2])))
