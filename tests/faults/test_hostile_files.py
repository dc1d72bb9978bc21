"""Hostile and wrong files through the real service: the right code, nothing registered, nothing left behind."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyogrio
import pytest
import shapely

from tests.service import POINTS, Service, geojson, manifest, point, wait_for

Uploads = dict[str, bytes]


def written(directory: Path, suffix: str, driver: str, names: list[str] | None = None, **options: Any) -> Path:
    """Three points with a text column, as GDAL writes them."""
    path = directory / f"s{suffix}"
    table = pa.table({"name": names or ["a", "b", "c"], "geometry": shapely.to_wkb(shapely.points(np.eye(3)[:, :2]))})
    crs = options.pop("crs", "EPSG:4326")
    pyogrio.write_arrow(table, path, driver=driver, geometry_name="geometry", geometry_type="Point", crs=crs, **options)
    return path


def shapefile(directory: Path, *without: str, encoding: str | None = None, names: list[str] | None = None) -> Uploads:
    written(directory, ".shp", "ESRI Shapefile", names, encoding=encoding)
    return {f"shp/{p.name}": p.read_bytes() for p in directory.iterdir() if p.suffix not in without}


def zipped(**files: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, body in files.items():
            archive.writestr(name.replace("__", "/"), body)
    return out.getvalue()


VRT = b"""<OGRVRTDataSource><OGRVRTLayer name="x"><SrcDataSource>/etc/passwd</SrcDataSource></OGRVRTLayer>
</OGRVRTDataSource>"""
INFINITE = b'{"type":"Point","coordinates":[1e999,0]}'
METRES = geojson((point(500_000, 5_500_000), {}))
VRT_OF_URL = b"""<OGRVRTDataSource><OGRVRTLayer name="x"><SrcDataSource>/vsicurl/http://127.0.0.1:1/x.geojson</SrcDataSource>
<SrcSQL>select * from x</SrcSQL></OGRVRTLayer></OGRVRTDataSource>"""


def truncated(directory: Path) -> Uploads:
    whole = written(directory, ".gpkg", "GPKG").read_bytes()
    return {"x.gpkg": whole[: len(whole) // 3]}


def latin1(directory: Path) -> Uploads:
    """A .dbf whose bytes are Latin-1 and that says nothing about it: no .cpg, no language driver id."""
    files = shapefile(directory, encoding="ISO-8859-1", names=["Zürich", "b", "c"])
    files.pop("shp/s.cpg", None)
    dbf = bytearray(files["shp/s.dbf"])
    dbf[29] = 0
    return {**files, "shp/s.dbf": bytes(dbf)}


def bomb(_: Path) -> Uploads:
    return {"x.zip": zipped(**{"x.geojson": b" " * (64 * 1024 * 1024)})}


def two_layers(directory: Path) -> Uploads:
    written(directory, ".gpkg", "GPKG", layer="roads")
    return {"x.gpkg": written(directory, ".gpkg", "GPKG", layer="rivers", append=True).read_bytes()}


CASES: list[tuple[str, Callable[[Path], Uploads], str, str]] = [
    ("vrt-as-geojson", lambda _: {"x.geojson": VRT}, "GeoJSON", "content_mismatch"),
    ("vrt-as-gml", lambda _: {"x.gml": VRT}, "GML", "content_mismatch"),
    ("vrt-of-a-url", lambda _: {"x.gpkg": VRT_OF_URL}, "GPKG", "content_mismatch"),
    ("path-of-a-url", lambda _: {"x.geojson": b"/vsicurl/http://127.0.0.1:1/x.geojson"}, "GeoJSON", "content_mismatch"),
    ("url", lambda _: {"x.geojson": b"http://127.0.0.1:1/x.geojson"}, "GeoJSON", "content_mismatch"),
    ("zip-with-dotdot", lambda _: {"x.zip": zipped(**{"..__..__evil.geojson": POINTS})}, "GeoJSON", "archive_path"),
    ("zip-absolute", lambda _: {"x.zip": zipped(**{"__tmp__evil.geojson": POINTS})}, "GeoJSON", "archive_path"),
    ("zip-bomb", bomb, "GeoJSON", "archive_ratio"),
    ("zip-truncated", lambda _: {"x.zip": zipped(**{"x.geojson": POINTS})[:-30]}, "GeoJSON", "archive_invalid"),
    ("zip-without-it", lambda _: {"x.zip": zipped(**{"readme.txt": b"x"})}, "GeoJSON", "archive_no_source"),
    ("truncated-gpkg", truncated, "GPKG", "file_truncated"),
    ("text-as-gpkg", lambda _: {"x.gpkg": b"hello"}, "GPKG", "content_mismatch"),
    ("gpkg-as-gml", lambda d: {"x.gml": written(d, ".gpkg", "GPKG").read_bytes()}, "GML", "content_mismatch"),
    ("broken-geojson", lambda _: {"x.geojson": POINTS[:-20]}, "GeoJSON", "file_truncated"),
    ("empty", lambda _: {"x.geojson": b""}, "GeoJSON", "file_empty"),
    ("no-features", lambda _: {"x.geojson": geojson()}, "GeoJSON", "no_features"),
    ("shp-without-shx", lambda d: shapefile(d, ".shx"), "SHP", "sidecar_missing"),
    ("shp-without-dbf", lambda d: shapefile(d, ".dbf"), "SHP", "sidecar_missing"),
    ("shp-without-prj", lambda d: shapefile(d, ".prj"), "SHP", "crs_missing"),
    ("latin1-undeclared", latin1, "SHP", "encoding_missing"),
    ("two-layers", two_layers, "GPKG", "layer_ambiguous"),
    ("infinite", lambda _: {"x.geojson": INFINITE}, "GeoJSON", "coordinates_not_finite"),
    ("nowhere-on-earth", lambda _: {"x.geojson": METRES}, "GeoJSON", "outside_area_of_use"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "make", "fmt", "code"), CASES, ids=[case[0] for case in CASES])
def test_it_is_refused_with_its_code_and_nothing_is_left(
    service: Service, tmp_path: Path, name: str, make: Callable[[Path], Uploads], fmt: str, code: str
) -> None:
    before = service.lake()
    uploads = make(tmp_path)
    for key, body in uploads.items():
        service.put(f"hostile/{name}/{key}", body)
    key = next((key for key in uploads if key.endswith(".shp")), next(iter(uploads)))
    run = service.ingest(manifest(f"hostile-{name}", (f"hostile/{name}/{key}", fmt)))
    assert (run["status"], run["attempt"]) == ("failure", 1), run
    error = run["error"]
    assert error["code"] == code, error
    assert error["file"] == f"hostile/{name}/{key}"
    assert error["detail"]
    assert error["fix"]
    assert "Traceback" not in json.dumps(run)
    assert str(service.data_dir) not in json.dumps(error), "the reader's file is named, not our copy of it"
    assert service.versions(f"hostile-{name}") == []
    assert service.lake() == before
    wait_for(lambda: service.scratch() == [], "scratch to be empty")


def test_declaring_what_was_missing_makes_it_right(service: Service, tmp_path: Path) -> None:
    for key, body in latin1(tmp_path).items():
        service.put(f"mended/{key}", body)
    service.http.delete("/landing/mended/shp/s.prj")
    document = manifest("mended", ("mended/shp/s.shp", "SHP"))
    document["files"][0] |= {"crs": "EPSG:4326", "options": {"encoding": "ISO-8859-1"}}
    run = service.ingest(document)
    assert run["status"] == "success", run["error"]
    body = service.http.get("/assets/mended/v1/download").content
    import pyarrow.parquet as pq

    assert pq.read_table(io.BytesIO(body)).column("name").to_pylist() == ["Zürich", "b", "c"]


def test_features_of_different_properties_are_one_table(service: Service) -> None:
    service.put(
        "mixed.geojson", geojson((point(0, 0), {"a": 1}), (point(1, 1), {"b": "x"}), (None, {"a": 2, "b": "y"}))
    )
    run = service.ingest(manifest("mixed", ("mixed.geojson", "GeoJSON")))
    assert run["status"] == "success", run["error"]
    assert run["counts"]["rows_out"] == 3
    import pyarrow.parquet as pq

    table = pq.read_table(io.BytesIO(service.http.get("/assets/mixed/v1/download").content))
    assert table.column("a").to_pylist() == [1, None, 2]
    assert table.column("b").to_pylist() == [None, "x", "y"]
    assert [value is None for value in table.column("geom").to_pylist()] == [False, False, True]


def test_a_job_that_eats_memory_ends_with_that_reason(tmp_path: Path) -> None:
    """One feature larger than the limit: the job ends, the worker lives on."""
    from tests.service import running_service

    with running_service(tmp_path / "data", SPATIAL_ETL_RUN__MEMORY_LIMIT_BYTES=str(400 * 2**20)) as small:
        ring = shapely.linearrings(
            np.column_stack([np.linspace(0, 1, 20_000_000), np.random.default_rng(1).random(20_000_000)])
        )
        path = tmp_path / "big.fgb"
        table = pa.table({"geometry": [shapely.to_wkb(shapely.polygons(ring))]})
        pyogrio.write_arrow(
            table, path, driver="FlatGeobuf", geometry_name="geometry", geometry_type="Polygon", crs="EPSG:4326"
        )
        with path.open("rb") as body:
            assert small.http.put("/landing/big.fgb", content=body).status_code == 201
        run = small.ingest(manifest("big", ("big.fgb", "FlatGeobuf")))
        assert run["status"] == "failure", run
        assert run["error"]["code"] == "memory_limit", run["error"]
        small.put("p.geojson", POINTS)
        assert small.ingest(manifest("after", ("p.geojson", "GeoJSON")))["status"] == "success"
