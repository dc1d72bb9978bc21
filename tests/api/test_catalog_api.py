"""Searching the catalogue, and the files beside the data of a version."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import httpx
import pyarrow.parquet as pq
import pytest

from tests.servers import s3
from tests.service import POINTS, Service, geojson, manifest, point, raster_manifest, running_service

TERRAIN = Path(__file__).parents[2] / "samples" / "raster" / "terrain.tif"
TABLE = b"code;name\n" + b"".join(b"%d;n%d\n" % (number, number) for number in range(200)) + b"7;too;many\n"

Document = dict[str, Any]


def described(document: Document, **metadata: Any) -> Document:
    return {**document, "metadata": {**document["metadata"], **metadata}}


def table(batch_id: str, key: str) -> Document:
    document = manifest(batch_id, intent="ingest_tabular")
    document["files"] = [{"path": f"s3://landing-zone/{key}", "type": "tabular", "format": "CSV"}]
    return document


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A catalogue of its own, so that a test knows all that is in it."""
    with running_service(tmp_path_factory.mktemp("catalog") / "data") as started:
        fiji = geojson((point(179.5, -17), {"n": 1}), (point(178, -18), {"n": 2}))
        for key, body in (
            ("points.geojson", POINTS),
            ("fiji.geojson", fiji),
            ("terrain.tif", TERRAIN.read_bytes()),
            ("table.csv", TABLE),
        ):
            started.put(key, body)
        points = manifest("points", ("points.geojson", "GeoJSON"), tags={"dataset_id": "points", "level": 3})
        test = {"dataset_id": "fiji", "testing": True, "level": "3", "checked": True}
        for document in (
            described(points, title="Straßen von Łódź", keywords=["Roads", "Poland"], project="north"),
            described(manifest("fiji", ("fiji.geojson", "GeoJSON"), tags=test), keywords=["roads"]),
            described(raster_manifest("terrain", "terrain.tif"), title="Heights", description="Étude des Alpes"),
            described(table("table", "table.csv"), project="north"),
        ):
            run = started.ingest(document)
            assert run["status"] == "success", run["error"]
        yield started


def names(service: Service, **params: Any) -> list[str]:
    response = service.http.get("/assets", params=params)
    assert response.status_code == 200, response.text
    return sorted(asset["dataset_id"] for asset in response.json()["items"])


@pytest.mark.parametrize(
    ("params", "wanted"),
    [
        ({}, ["fiji", "points", "table", "terrain"]),
        ({"kind": "raster"}, ["terrain"]),
        ({"keyword": "ROADS"}, ["fiji", "points"]),
        ({"keyword": ["roads", "poland"]}, ["points"]),
        ({"project": "north"}, ["points", "table"]),
        ({"project": "north", "kind": "tabular"}, ["table"]),
        ({"tag": "level:3"}, ["fiji", "points"]),
        ({"tag": "level:3.0"}, ["points"]),
        ({"tag": ["level:3", "checked:true"]}, ["fiji"]),
        ({"tag": "testing:true"}, ["fiji"]),
        ({"testing": "true"}, ["fiji"]),
        ({"testing": "false"}, ["points", "table", "terrain"]),
        ({"text": "strassen lodz"}, ["points"]),
        ({"text": "etude ALPES"}, ["terrain"]),
        ({"text": "fiji"}, ["fiji"]),
        ({"text": "alpes fiji"}, []),
        ({"bbox": "-180,-90,180,90"}, ["fiji", "points", "terrain"]),
        ({"bbox": "9,4.5,20,20"}, ["points"]),
        ({"bbox": "9.01,4.5,20,20"}, []),
        ({"bbox": "179,-20,-179,-10"}, ["fiji"]),
        ({"bbox": "-179,-20,-178,-10"}, []),
        ({"since": "2026-01-01T00:00:00Z"}, ["fiji", "points", "table", "terrain"]),
        ({"since": "9998-01-01T00:00:00Z"}, []),
        ({"keyword": "roads", "bbox": "0,0,10,10", "testing": "false", "text": "poland"}, ["points"]),
    ],
)
def test_filters(service: Service, params: Document, wanted: list[str]) -> None:
    assert names(service, **params) == wanted


def test_a_raster_of_another_crs_is_found_where_it_lies(service: Service) -> None:
    terrain = service.http.get("/assets/terrain/v1").json()
    assert terrain["crs"] == "EPSG:25832"
    box = terrain["statistics"]["bounds_4326"]
    inside = f"{box['minx'] + 0.001},{box['miny'] + 0.001},{box['minx'] + 0.002},{box['miny'] + 0.002}"
    assert names(service, bbox=inside) == ["terrain"]
    assert names(service, bbox=f"{box['maxx'] + 0.001},{box['miny']},{box['maxx'] + 1},{box['maxy']}") == []


def test_pages_of_a_search(service: Service) -> None:
    found, url = [], "/assets?keyword=roads&limit=1&tag=level:3"
    while url:
        page = service.http.get(url)
        assert page.status_code == 200, page.text
        assert len(page.json()["items"]) == 1
        found += [asset["dataset_id"] for asset in page.json()["items"]]
        url = page.json()["next"]
        if url:
            assert page.links["next"]["url"] == url
            other = service.http.get(url.replace("keyword=roads", "keyword=poland"))
            assert (other.status_code, other.json()["errors"][0]["code"]) == (422, "cursor_invalid")
    assert found == ["fiji", "points"]


@pytest.mark.parametrize(
    ("params", "pointer", "code", "says"),
    [
        ({"bbox": "1,2,3"}, "query/bbox", "bbox_invalid", "minx,miny,maxx,maxy"),
        ({"bbox": "1,2,3,4,5,6"}, "query/bbox", "bbox_invalid", "minx,miny,maxx,maxy"),
        ({"bbox": ""}, "query/bbox", "bbox_invalid", "minx,miny,maxx,maxy"),
        ({"bbox": "a,b,c,d"}, "query/bbox", "bbox_invalid", "'a,b,c,d'"),
        ({"bbox": "0,0,nan,1"}, "query/bbox", "bbox_invalid", "four numbers"),
        ({"bbox": "0,0,inf,1"}, "query/bbox", "bbox_invalid", "four numbers"),
        ({"bbox": "0,0,181,1"}, "query/bbox", "bbox_invalid", "maxx is 181"),
        ({"bbox": "47,8,48,95"}, "query/bbox", "bbox_invalid", "Longitude comes first"),
        ({"bbox": "0,2,1,1"}, "query/bbox", "bbox_invalid", "miny (2) is more than maxy (1)"),
        ({"tag": "level"}, "query/tag/0", "tag_invalid", "name:value"),
        ({"tag": ["a:b", ":3"]}, "query/tag/1", "tag_invalid", "':3'"),
        ({"keyword": " "}, "query/keyword/0", "keyword_empty", "keyword"),
        ({"text": "?!"}, "query/text", "text_empty", "'?!'"),
        ({"text": ""}, "query/text", "text_empty", "at least one word"),
        ({"keyword": ["k"] * 11}, "query/keyword", "too_long", "10"),
        ({"kind": "vector"}, "query/kind", "literal_error", "spatial"),
        ({"since": "yesterday"}, "query/since", "datetime_from_date_parsing", "yesterday"),
    ],
)
def test_a_filter_that_is_wrong_is_told(service: Service, params: Document, pointer: str, code: str, says: str) -> None:
    response = service.http.get("/assets", params=params)
    assert response.status_code == 422
    (fault,) = response.json()["errors"]
    assert (fault["pointer"], fault["code"]) == (pointer, code)
    assert says in f"{fault['detail']} {fault['fix']}"


def test_all_that_is_wrong_is_told_at_once(service: Service) -> None:
    response = service.http.get("/assets", params={"bbox": "0,91,200,-91", "tag": "x", "text": "-"})
    found = [fault["pointer"] for fault in response.json()["errors"]]
    assert found == ["query/tag/0", "query/text", *["query/bbox"] * 4]


def test_the_files_of_a_raster(service: Service) -> None:
    asset = service.http.get("/assets/terrain/v1").json()
    data, preview = service.http.get(asset["links"]["files"]).json()["items"]
    assert (data["name"], data["role"], data["size"]) == ("data.tif", "data", asset["size"])
    assert data["content_hash"] == asset["content_hash"]
    assert data["media_type"].startswith("image/tiff")
    assert (preview["name"], preview["role"], preview["media_type"]) == ("preview.png", "companion", "image/png")
    assert asset["links"]["preview"] == preview["links"]["self"] == "/assets/terrain/v1/files/preview.png"
    assert "quarantine" not in asset["links"]
    image = service.http.get(asset["links"]["preview"])
    assert image.headers["content-type"] == "image/png"
    assert image.content.startswith(b"\x89PNG\r\n")
    assert len(image.content) == preview["size"]
    assert preview["content_hash"] == "sha256:" + hashlib.sha256(image.content).hexdigest()
    assert image.headers["etag"] == f'"{preview["content_hash"]}"'
    assert 'filename="terrain_v1_preview.png"' in image.headers["content-disposition"]
    again = service.http.get(asset["links"]["preview"], headers={"If-None-Match": image.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    part = service.http.get(asset["links"]["preview"], headers={"Range": "bytes=1-3"})
    assert (part.status_code, part.content) == (206, b"PNG")
    beyond = service.http.get(asset["links"]["preview"], headers={"Range": f"bytes={preview['size']}-"})
    assert beyond.status_code == 416
    same = service.http.get(data["links"]["self"])
    assert same.content == service.http.get(asset["links"]["download"]).content
    assert same.headers["content-type"].startswith("image/tiff")


def test_the_rows_of_a_table_that_were_set_aside(service: Service) -> None:
    asset = service.http.get("/assets/table/v1").json()
    assert [each["name"] for each in service.http.get(asset["links"]["files"]).json()["items"]] == [
        "data.parquet",
        "quarantine.parquet",
    ]
    answer = service.http.get(asset["links"]["quarantine"])
    assert answer.headers["content-type"] == "application/vnd.apache.parquet"
    (row,) = pq.read_table(io.BytesIO(answer.content)).to_pylist()
    assert (row["line"], row["reason"]) == (202, "3 fields instead of 2")


def test_files_that_are_not_there(service: Service) -> None:
    for path, says in (
        ("/assets/points/v1/files/preview.png", "It has data.parquet."),
        ("/assets/terrain/v1/files/other.png", "It has data.tif, preview.png."),
        ("/assets/terrain/v1/files/..%2Fv1%2Fdata.tif", ""),
        ("/assets/terrain/v2/files", "the newest is 1"),
        ("/assets/terrain/v2/files/preview.png", "the newest is 1"),
        ("/assets/nowhere/v1/files", "no dataset"),
    ):
        response = service.http.get(path)
        assert response.status_code == 404, path
        assert says in f"{response.json()['detail']} {response.json().get('fix')}"


def test_a_companion_that_is_gone_from_the_lake(service: Service) -> None:
    service.put("again.tif", TERRAIN.read_bytes())
    run = service.ingest(raster_manifest("gone", "again.tif"))
    assert run["status"] == "success", run["error"]
    (preview,) = [key for key in service.lake() if key.startswith("gone/") and key.endswith(".png")]
    (service.data_dir / "objects" / "data-lake" / preview).unlink()
    response = service.http.get("/assets/gone/v1/files/preview.png")
    assert response.status_code == 404
    assert "missing in the lake" in response.json()["detail"]
    assert service.http.get("/assets/gone/v1/files/data.tif").status_code == 200


@pytest.fixture(scope="module")
def s3_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    settings = s3.radosgw_endpoint().settings()
    assert settings.access_key is not None
    assert settings.secret_key is not None
    environment = {
        "SPATIAL_ETL_OBJECTS__BACKEND": "s3",
        "SPATIAL_ETL_OBJECTS__ENDPOINT": str(settings.endpoint),
        "SPATIAL_ETL_OBJECTS__ACCESS_KEY": settings.access_key.get_secret_value(),
        "SPATIAL_ETL_OBJECTS__SECRET_KEY": settings.secret_key.get_secret_value(),
        "SPATIAL_ETL_OBJECTS__BUCKET_PREFIX": settings.bucket_prefix,
    }
    with running_service(tmp_path_factory.mktemp("s3") / "data", **environment) as started:
        yield started
    anyio.run(s3.remove_buckets, settings)


def test_a_companion_in_an_object_store_with_urls(s3_service: Service) -> None:
    s3_service.put("terrain.tif", TERRAIN.read_bytes())
    run = s3_service.ingest(raster_manifest("terrain", "terrain.tif"))
    assert run["status"] == "success", run["error"]
    _, preview = s3_service.http.get("/assets/terrain/v1/files").json()["items"]
    redirect = s3_service.http.get(preview["links"]["self"])
    assert redirect.status_code == 307
    assert redirect.headers["etag"] == f'"{preview["content_hash"]}"'
    assert "no-store" in redirect.headers["cache-control"]
    with httpx.Client(trust_env=False) as anybody:
        body = anybody.get(redirect.headers["location"]).content
        part = anybody.get(redirect.headers["location"], headers={"Range": "bytes=1-3"})
    assert preview["content_hash"] == "sha256:" + hashlib.sha256(body).hexdigest()
    assert (part.status_code, part.content) == (206, b"PNG")
    known = s3_service.http.get(preview["links"]["self"], headers={"If-None-Match": redirect.headers["etag"]})
    assert known.status_code == 304
