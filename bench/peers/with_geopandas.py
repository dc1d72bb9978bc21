"""The recipe with geopandas: python -m bench.peers.with_geopandas SOURCE CRS TARGET."""

from __future__ import annotations

import sys

import geopandas


def main(source: str, target: str) -> None:
    frame = geopandas.read_file(source, use_arrow=True)
    if frame.crs != "EPSG:4326":
        frame = frame.to_crs("EPSG:4326")
    geometries = frame.geometry.copy()
    invalid = ~geometries.is_valid & geometries.notna()
    geometries[invalid] = geometries[invalid].make_valid()
    frame = frame.set_geometry(geometries)
    frame.to_parquet(target, compression="zstd")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[3])
