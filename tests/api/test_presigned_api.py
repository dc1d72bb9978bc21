"""Uploads and downloads past the service, by presigned URLs of a real object store."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import anyio
import httpx
import pytest

from app.settings import MiB, ObjectsSettings
from tests.servers import s3
from tests.service import POINTS, Service, manifest, running_service


@pytest.fixture(scope="module")
def settings() -> ObjectsSettings:
    return s3.radosgw_endpoint().settings()


@pytest.fixture(scope="module")
def s3_service(tmp_path_factory: pytest.TempPathFactory, settings: ObjectsSettings) -> Iterator[Service]:
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


def test_from_upload_to_download(s3_service: Service) -> None:
    presigned = s3_service.http.post("/landing/presign", json={"key": "p/points.geojson"})
    assert presigned.status_code == 200, presigned.text
    assert presigned.json()["path"] == "s3://landing-zone/p/points.geojson"
    with httpx.Client(trust_env=False) as anybody:
        assert anybody.put(presigned.json()["url"], content=POINTS).status_code == 200
        run = s3_service.ingest(manifest("presigned", ("p/points.geojson", "GeoJSON")))
        assert run["status"] == "success", run
        asset = s3_service.http.get(run["links"]["asset"]).json()
        (source,) = asset["inputs"]
        assert source["sha256"] == hashlib.sha256(POINTS).hexdigest()
        redirect = s3_service.http.get(asset["links"]["download"])
        assert redirect.status_code == 307
        assert redirect.headers["etag"] == f'"{asset["content_hash"]}"'
        assert "no-store" in redirect.headers["cache-control"]
        url = f"{s3_service.url}{asset['links']['download']}"
        body = anybody.get(url, follow_redirects=True).content
        assert asset["content_hash"] == "sha256:" + hashlib.sha256(body).hexdigest()
        part = anybody.get(url, follow_redirects=True, headers={"Range": "bytes=-4"})
        assert (part.status_code, part.content) == (206, b"PAR1")
    known = s3_service.http.get(asset["links"]["download"], headers={"If-None-Match": redirect.headers["etag"]})
    assert known.status_code == 304
    ready = s3_service.http.get("/ready").json()
    assert {check["name"]: check["details"].get("backend") for check in ready["checks"]}["objects"] == "s3"


def test_form(s3_service: Service) -> None:
    wanted = {"key": "p/form.bin", "method": "POST", "max_bytes": 3}
    form = s3_service.http.post("/landing/presign", json=wanted).json()
    with httpx.Client(trust_env=False) as anybody:
        for body, accepted in ((b"four", False), (b"abc", True)):
            sent = anybody.post(form["url"], data=form["fields"], files={"file": ("x", body)})
            assert sent.is_success is accepted, sent.text
    assert s3_service.http.get("/landing/p/form.bin").content == b"abc"


def test_a_key_is_an_object_or_a_folder(s3_service: Service) -> None:
    s3_service.put("q/one/two", b"x")
    for key in ("q/one", "q/one/two/three"):
        for answer in (
            s3_service.http.put(f"/landing/{key}", content=b"x"),
            s3_service.http.post("/landing/presign", json={"key": key}),
            s3_service.http.post("/landing/presign", json={"key": key, "method": "POST"}),
        ):
            assert (answer.status_code, answer.json()["code"]) == (409, "key_conflict"), answer.text


def test_what_presign_refuses(s3_service: Service) -> None:
    for wanted, code in (
        ({"key": "../x"}, "key_invalid"),
        ({"key": "x", "max_bytes": 1}, "request_invalid"),
        ({"key": "x", "method": "GET"}, "request_invalid"),
        ({"key": "x", "bytes": 1}, "request_invalid"),
    ):
        response = s3_service.http.post("/landing/presign", json=wanted)
        assert (response.status_code, response.json()["code"]) == (422, code), wanted


def test_a_directory_has_no_urls(service: Service) -> None:
    response = service.http.post("/landing/presign", content=b"[" + b" " * 2 * MiB)
    assert (response.status_code, response.json()["code"]) == (413, "body_too_large")
    response = service.http.post("/landing/presign", json={"key": "a b.bin"})
    assert (response.status_code, response.json()["code"]) == (501, "presign_unsupported")
    assert "PUT /landing/a%20b.bin" in response.json()["fix"]
