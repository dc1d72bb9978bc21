"""Small good files of every format, for mutations."""

from __future__ import annotations

import io
import json

import pyarrow as pa
import pyarrow.parquet as pq

from tests.hostile import grids, markup, vectors
from tests.hostile.case import Bait, zipped
from tests.pipelines.tables import cell, row, workbook

NOWHERE = Bait("", "")
UTM = {"crs": "EPSG:32632"}


def samples() -> dict[str, tuple[str, str, dict[str, bytes], dict[str, str]]]:
    """{format: (kind, format, files, further fields of the manifest's entry)}."""
    vector: dict[str, dict[str, bytes]] = {
        "GeoJSON": {
            "x": vectors.collection(*(vectors.feature(a=i, b="x", c=[1, {"d": None}]) for i in range(3))).encode()
        },
        "GeoJSONSeq": {"x": "".join(json.dumps(vectors.feature(a=i)) + "\n" for i in range(3)).encode()},
        "GPKG": {"x": vectors.written("GPKG", ".gpkg")[".gpkg"]},
        "FlatGeobuf": {"x": vectors.written("FlatGeobuf", ".fgb")[".fgb"]},
        "SHP": _made(vectors.shp()(NOWHERE)),
        "KML": _made(
            markup.kml("", place="<ExtendedData><Data name='a'><value>1</value></Data></ExtendedData>")(NOWHERE)
        ),
        "GML": _made(markup.gml()(NOWHERE)),
        "OpenFileGDB": {"x": zipped(vectors.written("OpenFileGDB", ".gdb"), 0)},
        "GeoParquet": _made(vectors.geoparquet([vectors.ONE] * 3)(NOWHERE)),
    }
    table = pa.table({"a": [1, 2, 3], "b": ["x", "y", None], "c": [[1], [], None]})
    out = io.BytesIO()
    pq.write_table(table, out)
    rows = [row(1, cell("A1", "a"), cell("B1", "b")), row(2, cell("A2", 1), cell("B2", "x"))]
    tabular = {
        "CSV": b'id,name,day\n1,"a, b",2026-01-02\n2,c,2026-01-03\n',
        "TSV": b"id\tname\n1\ta\n2\tb\n",
        "JSONL": b'{"a": 1, "b": "x"}\n{"a": 2.5, "c": [1, 2]}\n',
        "XLSX": workbook({"S": "".join(rows)}, shared=["<t>x</t>"]),
        "Parquet": out.getvalue(),
    }
    raster = {
        "GTiff": {"x": grids.drawn()},
        "COG": {"x": grids.drawn("COG")},
        "netCDF": {"x": grids.drawn("netCDF")},
        "PNG": grids.placed(grids.drawn("PNG"), "png", "pgw"),
        "JPEG": grids.placed(grids.drawn("JPEG"), "jpg", "jgw"),
        "JP2": {"x": grids.drawn("JP2OpenJPEG")},
    }
    found = {fmt: ("vector", fmt, files, {}) for fmt, files in vector.items()}
    found |= {fmt: ("tabular", fmt, {"x": body}, {}) for fmt, body in tabular.items()}
    found |= {
        fmt: ("raster", fmt, files, UTM if fmt in ("PNG", "JPEG", "JP2") else {}) for fmt, files in raster.items()
    }
    return found


def _made(made: object) -> dict[str, bytes]:
    if isinstance(made, bytes):
        return {"x": made}
    assert isinstance(made, dict)
    return made
