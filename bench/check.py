"""What is in a GeoParquet file, for comparing outputs: python -m bench.check FILE prints JSON."""

from __future__ import annotations

import json
import sys

import numpy as np
import pyarrow.parquet as pq
import shapely


def describe(path: str) -> dict[str, int | float]:
    """Rows, null and invalid geometries, vertices, and the sum of areas in the units of the file's CRS."""
    file = pq.ParquetFile(path)
    column = json.loads(file.metadata.metadata[b"geo"])["primary_column"]
    counts: dict[str, int | float] = {"rows": 0, "nulls": 0, "invalid": 0, "vertices": 0, "area": 0.0}
    for batch in file.iter_batches(50_000, columns=[column], use_threads=False):
        geometries = shapely.from_wkb(batch.column(0).to_numpy(zero_copy_only=False))
        null = shapely.is_missing(geometries)
        counts["rows"] += len(geometries)
        counts["nulls"] += int(null.sum())
        counts["invalid"] += int((~shapely.is_valid(geometries) & ~null).sum())
        counts["vertices"] += int(shapely.get_num_coordinates(geometries).sum())
        counts["area"] += float(np.nansum(shapely.area(geometries)))
    return counts


if __name__ == "__main__":
    sys.stdout.write(json.dumps(describe(sys.argv[1])))
