"""Vector files, with what other libraries read in them."""

from __future__ import annotations

import json
import random
import sqlite3
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import duckdb
import geopandas
import pyarrow as pa
import pyogrio
import shapefile
import shapely
from shapely.geometry.base import BaseGeometry

from differential.case import FileKind, Found, Shapes, Unreadable, Written, as_written, values_of
from differential.compare import rounded
from differential.duckdb_spatial import read_apart
from differential.shapes import KINDS, ShapeKind
from differential.tables import arrow_table, of_fifteen_digits
from differential.values import Column, Limits

_CRS = "EPSG:4326"
_SINGLE: tuple[ShapeKind, ...] = ("Point", "LineString", "Polygon", "MultiPoint")


def _json_value(value: Any) -> Any:
    return value.isoformat(sep=" ") if isinstance(value, datetime) else str(value) if isinstance(value, date) else value


def _features(columns: Sequence[Column], shapes: Shapes) -> list[dict[str, Any]]:
    rows = zip(*(column.values for column in columns), strict=True)
    return [
        {
            "type": "Feature",
            "properties": {column.name: _json_value(value) for column, value in zip(columns, row, strict=True)},
            "geometry": None if shape is None else shapely.geometry.mapping(shape),
        }
        for row, shape in zip(rows, shapes, strict=True)
    ]


def write_geojson(rng: random.Random, columns: Sequence[Column], shapes: Shapes | None, folder: Path) -> Written:
    features, path = _features(columns, shapes or ()), folder / "layer.geojson"
    document = {"type": "FeatureCollection", "features": features}
    indent = rng.choice((None, 1))
    path.write_text(json.dumps(document, ensure_ascii=rng.random() < 0.5, indent=indent), encoding="utf-8")
    return Written(path, _as_json_keeps_it(columns, shapes), as_text=True, any_order=True, about={"indent": indent})


def write_geojson_lines(rng: random.Random, columns: Sequence[Column], shapes: Shapes | None, folder: Path) -> Written:
    ascii_only, path = rng.random() < 0.5, folder / "layer.geojsonl"
    lines = [json.dumps(each, ensure_ascii=ascii_only) for each in _features(columns, shapes or ())]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return Written(path, _as_json_keeps_it(columns, shapes), as_text=True, any_order=True)


def _as_json_keeps_it(columns: Sequence[Column], shapes: Shapes | None) -> Found:
    """Dates are texts there, which a reader may understand."""
    return Found({column.name: [_json_value(value) for value in column.values] for column in columns}, shapes)


def geojson_by_python(written: Written) -> Found:
    text = written.path.read_text(encoding="utf-8")
    lines = written.path.suffix == ".geojsonl"
    features = [json.loads(line) for line in text.splitlines()] if lines else json.loads(text)["features"]
    columns = {name: [each["properties"][name] for each in features] for name in written.holds.columns}
    shapes = [None if each["geometry"] is None else shapely.geometry.shape(each["geometry"]) for each in features]
    return Found(columns, shapes)


def _by_ogr(
    driver: str, name: str, adds: str = "", places: int | None = None, **options: Any
) -> Callable[..., Written]:
    """Writes with GDAL, from Arrow. adds, places: see `Written`."""

    def write(rng: random.Random, columns: Sequence[Column], shapes: Shapes | None, folder: Path) -> Written:
        assert shapes is not None
        if places is not None:
            shapes = [None if each is None else rounded(each, places) for each in shapes]
        table = arrow_table(rng, [_as_driver_keeps_it(column, driver) for column in columns])
        wkb = pa.array([None if each is None else shapely.to_wkb(each, flavor="iso") for each in shapes], pa.binary())
        first = next((each for each in shapes if each is not None), None)
        kind = "Unknown" if first is None else first.geom_type + (" Z" if first.has_z else "")
        path = folder / name
        pyogrio.write_arrow(
            table.append_column("geom", wkb),
            path,
            layer="layer",
            driver=driver,
            geometry_name="geom",
            crs=_CRS,
            geometry_type=kind,
            **options,
        )
        held = Found({each: values_of(table[each]) for each in table.column_names}, shapes)
        if path.is_dir():
            path = _zipped(path)
        about = {"driver": driver, "geometry": kind}
        return Written(path, held, adds=frozenset(adds.split()), places=places, about=about)

    return write


def _as_driver_keeps_it(column: Column, driver: str) -> Column:
    """SQLite keeps a real number without decimals as a whole one; GDAL writes 15 digits as text, all of KML as text."""
    if driver == "KML":
        if column.name in ("id", "name", "description", "begin", "end", "icon"):
            column = replace(column, name=f"{column.name}_")  # elements of their own
        texts = tuple(None if value is None else str(value) for value in column.values)
        return replace(column, kind="text", values=texts)
    if driver == "OpenFileGDB" and column.name != "nr":
        return replace(column, name=f"{column.name}_")  # `by` and other words of SQL get another name
    if column.kind != "real":
        return column
    if driver == "GML":
        return of_fifteen_digits(column)
    if driver == "GPKG":
        return replace(column, values=tuple(None if value is None else value + 0.0 for value in column.values))
    return column


def _zipped(folder: Path) -> Path:
    target = folder.with_suffix(folder.suffix + ".zip")
    with zipfile.ZipFile(target, "w") as archive:
        for each in sorted(folder.iterdir()):
            archive.write(each, f"{folder.name}/{each.name}")
    return target


def by_gdal(written: Written) -> Found:
    path = f"/vsizip/{written.path}" if written.path.suffix == ".zip" else written.path
    layer = written.about.get("layer")
    about, found = pyogrio.read_arrow(path, **({"layer": layer} if layer else {}))
    name = about["geometry_name"] or "wkb_geometry"
    return _of_arrow(found, name)


def _of_arrow(found: pa.Table, geometry: str) -> Found:
    columns = {name: values_of(found[name]) for name in found.column_names if name != geometry}
    return Found(columns, [None if w is None else shapely.from_wkb(bytes(w)) for w in found[geometry].to_pylist()])


def by_duckdb_spatial(written: Written) -> Found:
    """With the GDAL inside DuckDB's extension."""
    try:
        return _by_duckdb_spatial(written)
    except UnicodeDecodeError:
        if written.about.get("encoding") != "cp1252":
            raise
        raise Unreadable("DuckDB gives some names and texts in the bytes of the .dbf") from None


def _by_duckdb_spatial(written: Written) -> Found:
    path = f"/vsizip/{written.path}" if written.path.suffix == ".zip" else written.path
    with pa.ipc.open_stream(read_apart(path)) as stream:
        found = stream.read_all()
    names = found.column_names
    blobs = [each for each in names if found.schema.field(each).type in (pa.binary(), pa.large_binary())]
    geometry = blobs[-1] if blobs else names[-1]
    return _of_arrow(found.drop_columns([each for each in ("OGC_FID",) if each in names]), geometry)


_KML = "{http://www.opengis.net/kml/2.2}"
_KML_COLUMNS = (
    "id Name description timestamp begin end altitudeMode tessellate extrude visibility drawOrder icon snippet"
)


def kml_by_xml(written: Written) -> Found:
    """The elements of the document, as texts."""
    places = list(ElementTree.parse(written.path).iter(f"{_KML}Placemark"))
    rows = [{each.get("name"): each.text for each in place.iter(f"{_KML}SimpleData")} for place in places]
    columns = {name: [row.get(name) for row in rows] for name in written.holds.columns}
    return Found(columns, [_kml_shape(place) for place in places], is_text=True)


def _kml_shape(place: ElementTree.Element) -> BaseGeometry | None:
    found: list[BaseGeometry] = []
    for each in place.iter():
        match each.tag.removeprefix(_KML):
            case "Point":
                found.append(shapely.Point(_coordinates(each)[0]))
            case "LineString":
                found.append(shapely.LineString(_coordinates(each)))
            case "Polygon":
                rings = [_coordinates(ring) for ring in each.iter(f"{_KML}LinearRing")]
                found.append(shapely.Polygon(rings[0], rings[1:]))
    return shapely.GeometryCollection(found) if found else None


def _coordinates(element: ElementTree.Element) -> list[tuple[float, ...]]:
    text = next(element.iter(f"{_KML}coordinates")).text or ""
    return [tuple(map(float, each.split(","))) for each in text.split()]


def gpkg_by_sqlite(written: Written) -> Found:
    with sqlite3.connect(f"file:{written.path}?mode=ro", uri=True) as opened:
        cursor = opened.execute('SELECT * FROM "layer" ORDER BY fid')
        names = [each[0] for each in cursor.description]
        types = dict(opened.execute("SELECT name, type FROM pragma_table_info('layer')").fetchall())
        rows = cursor.fetchall()
    at = names.index("geom")
    columns = {
        name: [_gpkg_value(row[n], types[name]) for row in rows]
        for n, name in enumerate(names)
        if name not in ("fid", "geom")
    }
    return Found(columns, [_gpkg_shape(row[at]) for row in rows])


def _gpkg_value(value: Any, kind: str) -> Any:
    if value is None:
        return None
    match kind:
        case "BOOLEAN":
            return bool(value)
        case "DATE":
            return date.fromisoformat(value)
        case "DATETIME":
            # "Z" may be left out: it is UTC in any case (OGC 12-128r19, table 1).
            return datetime.fromisoformat(value).replace(tzinfo=UTC)
    return value


def _gpkg_shape(blob: bytes | None) -> BaseGeometry | None:
    """OGC 12-128r19, 2.1.3: a header, an envelope of a length that the flags say, WKB."""
    if blob is None:
        return None
    envelope = (blob[3] >> 1) & 7
    return shapely.from_wkb(blob[8 + (0, 32, 48, 48, 64)[envelope] :])


_DBF = {"text": ("C", 254, 0), "whole": ("N", 18, 0), "real": ("N", 20, 6), "yes_no": ("L", 1, 0), "day": ("D", 8, 0)}
_SHP = {"Point": 1, "LineString": 3, "Polygon": 5, "MultiPoint": 8}


def write_shapefile(rng: random.Random, columns: Sequence[Column], shapes: Shapes | None, folder: Path) -> Written:
    assert shapes is not None
    encoding = rng.choice(("utf-8", "cp1252"))
    held = [_as_dbf_keeps_it(column) for column in columns]
    texts = "".join([*(c.name for c in held), *(v for c in held for v in c.values if isinstance(v, str))])
    try:
        texts.encode(encoding)
    except UnicodeEncodeError:
        encoding = "utf-8"
    first = next((each for each in shapes if each is not None), None)
    kind = 0 if first is None else _SHP[first.geom_type] + (10 if first.has_z else 0)
    path = folder / "layer.shp"
    with shapefile.Writer(str(path), shapeType=kind, encoding=encoding) as writer:
        for column in held:
            code, size, decimals = _DBF[column.kind]
            writer.field(column.name, code, size, decimals)
        for row, shape in zip(zip(*(column.values for column in held), strict=True), shapes, strict=True):
            _write_shp(writer, shape)
            writer.record(
                *(
                    "" if value is None and column.kind == "text" else value
                    for value, column in zip(row, held, strict=True)
                )
            )
    path.with_suffix(".cpg").write_text("UTF-8" if encoding == "utf-8" else "cp1252")
    path.with_suffix(".prj").write_text(pyogrio_wkt())
    target = folder / "layer.zip"
    with zipfile.ZipFile(target, "w") as archive:
        for suffix in (".shp", ".shx", ".dbf", ".cpg", ".prj"):
            archive.write(path.with_suffix(suffix), f"layer{suffix}")
    return Written(target, as_written(held, shapes), about={"encoding": encoding, "shape type": kind})


def pyogrio_wkt() -> str:
    from pyproj import CRS

    return CRS(_CRS).to_wkt("WKT1_ESRI")


def _as_dbf_keeps_it(column: Column) -> Column:
    """A text has no spaces at its end, and an empty one is none; pyshp writes no spaces in names."""
    column = replace(column, name=column.name.replace(" ", "_"))
    if column.kind == "text":
        return replace(column, values=tuple(None if v is None else v.rstrip(" ") or None for v in column.values))
    return column


def _write_shp(writer: shapefile.Writer, shape: BaseGeometry | None) -> None:
    """Outer rings run clockwise."""
    if shape is None:
        writer.null()
        return
    has_z, parts = shape.has_z, [list(each.coords) for each in _parts(shape)]
    match shape.geom_type:
        case "Point":
            (writer.pointz if has_z else writer.point)(*parts[0][0])
        case "MultiPoint":
            (writer.multipointz if has_z else writer.multipoint)([each[0] for each in parts])
        case "LineString":
            (writer.linez if has_z else writer.line)(parts)
        case _:
            (writer.polyz if has_z else writer.poly)(parts)


def _parts(shape: BaseGeometry) -> list[BaseGeometry]:
    if isinstance(shape, shapely.Polygon):
        clockwise = shapely.orient_polygons(shape, exterior_cw=True)
        return [clockwise.exterior, *clockwise.interiors]
    return list(getattr(shape, "geoms", [shape]))


def shapefile_by_pyshp(written: Written) -> Found:
    with shapefile.Reader(str(written.path), encoding=written.about["encoding"]) as reader:
        names = [each[0] for each in reader.fields if each[0] != "DeletionFlag"]
        records = [[None if value == "" else value for value in record] for record in reader.iterRecords()]
        shapes = [None if each.shapeType == 0 else _shape_of(each) for each in reader.iterShapes()]
    return Found({name: [record[n] for record in records] for n, name in enumerate(names)}, shapes)


def _shape_of(shape: Any) -> BaseGeometry:
    """With its heights, which pyshp keeps beside its points."""
    flat = shapely.geometry.shape(shape.__geo_interface__)
    if not hasattr(shape, "z"):
        return flat
    heights = dict(zip(map(tuple, shape.points), shape.z, strict=True))
    return shapely.transform(
        shapely.force_3d(flat), lambda found: [(x, y, heights[x, y]) for x, y, _ in found], include_z=True
    )


def write_geoparquet(rng: random.Random, columns: Sequence[Column], shapes: Shapes | None, folder: Path) -> Written:
    table = arrow_table(rng, columns)
    held = Found({each: values_of(table[each]) for each in table.column_names}, shapes)
    frame = geopandas.GeoDataFrame(table.to_pandas(types_mapper=_arrow_type), geometry=list(shapes or ()), crs=_CRS)
    path = folder / "layer.parquet"
    version = rng.choice(("1.0.0", "1.1.0"))
    frame.to_parquet(
        path, index=False, schema_version=version, write_covering_bbox=version == "1.1.0" and rng.random() < 0.5
    )
    return Written(path, held, about={"version": version})


def _arrow_type(kind: pa.DataType) -> Any:
    import pandas as pd

    return pd.ArrowDtype(kind)


def geoparquet_by_duckdb(written: Written) -> Found:
    found = duckdb.execute("SELECT * FROM read_parquet(?)", [str(written.path)]).fetch_arrow_table()
    return _of_arrow(found.drop_columns([each for each in ("bbox",) if each in found.column_names]), "geometry")


def geoparquet_by_geopandas(written: Written) -> Found:
    found = geopandas.read_parquet(written.path, to_pandas_kwargs={"types_mapper": _arrow_type})
    columns = {
        str(name): values_of(pa.table({"v": found[name].array})["v"])
        for name in found.columns
        if name not in ("geometry", "bbox")
    }
    return Found(columns, list(found.geometry))


def _without_missing(read: Callable[[Written], Found]) -> Callable[[Written], Found]:
    def checked(written: Written) -> Found:
        if any(each is None for each in written.holds.shapes or ()):
            raise Unreadable("GDAL's Arrow stream of FlatGeobuf has garbage for a row without geometry")
        return read(written)

    return checked


_JSON_KINDS = ("text", "whole", "real", "yes_no", "day", "moment")
_GEO = Limits(_JSON_KINDS, digits=15)
_OGR: Mapping[str, Callable[[Written], Found]] = {"gdal": by_gdal, "duckdb": by_duckdb_spatial}
LAYERS = (
    FileKind("GeoJSON", _GEO, write_geojson, {"json": geojson_by_python, **_OGR}, KINDS),
    FileKind("GeoJSONSeq", _GEO, write_geojson_lines, {"json": geojson_by_python, "gdal": by_gdal}, KINDS),
    FileKind(
        "GPKG",
        Limits(
            ("text", "whole", "real", "yes_no", "day", "instant", "bytes"), places=0, days=(date(1000, 1, 1), date.max)
        ),
        _by_ogr("GPKG", "layer.gpkg"),
        {"sqlite3": gpkg_by_sqlite, **_OGR},
        KINDS,
    ),
    FileKind(
        "FlatGeobuf",
        Limits(("text", "whole", "real", "yes_no", "bytes")),
        _by_ogr("FlatGeobuf", "layer.fgb", SPATIAL_INDEX="NO"),
        {name: _without_missing(read) for name, read in _OGR.items()},
        KINDS,
    ),
    FileKind(
        "OpenFileGDB",
        Limits(("text", "whole", "real"), digits=9, plain_names=True),
        _by_ogr("OpenFileGDB", "layer.gdb", places=8),
        dict(_OGR),
        KINDS,
    ),
    FileKind(
        "GML",
        Limits(("text", "whole", "real", "yes_no", "day"), plain_names=True, spacing=False, empty_texts=False),
        _by_ogr("GML", "layer.gml", "gml_id lowerCorner upperCorner", 11),
        dict(_OGR),
        KINDS,
    ),
    FileKind(
        "KML",
        Limits(("text", "whole", "real"), digits=9, plain_names=True, spacing=False, empty_texts=False),
        _by_ogr("KML", "layer.kml", _KML_COLUMNS, 11),
        {"gdal": by_gdal, "xml": kml_by_xml},
        KINDS,
    ),
    FileKind(
        "SHP",
        Limits(
            ("text", "whole", "real", "yes_no", "day"),
            longest_name=10,
            longest_text=254,
            digits=17,
            decimals=6,
            empty_texts=False,
        ),
        write_shapefile,
        {"pyshp": shapefile_by_pyshp, **_OGR},
        _SINGLE,
    ),
    FileKind(
        "GeoParquet",
        Limits(("text", "whole", "real", "yes_no", "day", "moment", "instant", "decimal", "bytes")),
        write_geoparquet,
        {"duckdb": geoparquet_by_duckdb, "geopandas": geoparquet_by_geopandas},
        KINDS,
    ),
)
