"""Files of every vector format, written by GDAL (GeoParquet: by pyarrow) from an Arrow table."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pyogrio
import shapely
from pyproj import CRS

# format → (GDAL's driver, suffix, layer creation options)
WRITERS: Mapping[str, tuple[str | None, str, dict[str, str]]] = {
    "GeoJSON": ("GeoJSON", ".geojson", {}),
    "GeoJSONSeq": ("GeoJSONSeq", ".geojsonl", {}),
    "GPKG": ("GPKG", ".gpkg", {}),
    "SHP": ("ESRI Shapefile", ".shp", {"ENCODING": "UTF-8"}),
    "FlatGeobuf": ("FlatGeobuf", ".fgb", {"SPATIAL_INDEX": "NO"}),
    "KML": ("LIBKML", ".kml", {}),
    "GML": ("GML", ".gml", {}),
    "OpenFileGDB": ("OpenFileGDB", ".gdb", {"TARGET_ARCGIS_VERSION": "ARCGIS_PRO_3_2_OR_LATER"}),
    "GeoParquet": (None, ".parquet", {}),
}
Puts = Callable[[Path], str]


def points(count: int) -> list[str]:
    return [f"POINT ({9 + i} 48)" for i in range(count)]


def table(geometry: Sequence[str | bytes | None], attributes: Mapping[str, pa.Array] | None = None) -> pa.Table:
    """geometry: WKT, or WKB as it is."""
    wkb = [shapely.from_wkt(each).wkb if isinstance(each, str) else each for each in geometry]
    return pa.table({**(attributes or {}), "geometry": pa.array(wkb, pa.binary())})


def layer(
    fmt: str,
    geometry: Sequence[str | bytes | None],
    attributes: Mapping[str, pa.Array] | None = None,
    *,
    crs: str | None = "EPSG:4326",
    kind: str = "Unknown",
    json_column: str | None = None,
    **options: str,
) -> Puts:
    """kind: geometry type of the layer; json_column: an attribute that is marked as JSON text."""
    made = table(geometry, attributes)
    if json_column is not None:
        at = made.schema.get_field_index(json_column)
        mark = {"ARROW:extension:name": "arrow.json", "ARROW:extension:metadata": ""}
        made = made.cast(made.schema.set(at, made.schema.field(at).with_metadata(mark)))

    def put(landing: Path) -> str:
        driver, suffix, own = WRITERS[fmt]
        target = landing / f"data{suffix}"
        if driver is None:
            pq.write_table(made.replace_schema_metadata({"geo": geo(crs)}), target)
        else:
            pyogrio.write_arrow(
                made, target, driver=driver, geometry_name="geometry", geometry_type=kind, crs=crs, **{**own, **options}
            )
        if not target.is_dir():
            return target.name
        shutil.make_archive(str(target), "zip", landing, target.name)
        return f"{target.name}.zip"

    return put


def geo(crs: str | None, **more: Any) -> str:
    """GeoParquet's metadata; crs None: the file says that it has none."""
    known = {} if crs == "EPSG:4326" else {"crs": None if crs is None else json.loads(_projjson(crs))}
    column = {"encoding": "WKB", "geometry_types": [], **known, **more}
    return json.dumps({"version": "1.1.0", "primary_column": "geometry", "columns": {"geometry": column}})


def _projjson(crs: str) -> str:
    return str(CRS.from_user_input(crs).to_json())
