"""The recipe with SedonaDB: python -m bench.peers.with_sedonadb SOURCE CRS TARGET."""

from __future__ import annotations

import sys

import sedonadb  # type: ignore[import-untyped] # ships no types


def main(source: str, crs: str, target: str) -> None:
    sedona = sedonadb.connect()
    frame = sedona.read_pyogrio(source)
    geometry = next(name for name in frame.columns if name in {"geom", "wkb_geometry"})
    others = ", ".join(f'"{name}"' for name in frame.columns if name != geometry)
    in_4326 = geometry if crs == "EPSG:4326" else f"ST_Transform({geometry}, 'EPSG:4326')"
    # A CASE forgets that its result is a geometry: ST_GeomFromWKBUnchecked says so again, ST_SetCRS gives the CRS back.
    valid = "ST_GeomFromWKBUnchecked(CASE WHEN ST_IsValid(g) THEN g ELSE ST_MakeValid(g) END)"
    frame.to_view("source")
    sedona.sql(
        f"""
        SELECT {others}, ST_SetCRS({valid}, 'EPSG:4326') AS geom
        FROM (SELECT {others}, {in_4326} AS g FROM source)
        """
    ).to_parquet(target, compression="zstd(3)")


if __name__ == "__main__":
    main(*sys.argv[1:])
