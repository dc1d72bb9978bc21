"""The landing zone, health, and the documentation that needs no internet."""

from __future__ import annotations

import json
import re
import socket
import time
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest

from tests.service import Service


@pytest.mark.parametrize(
    "key", ["l/plain.bin", "l/with space.bin", "l/100%25.bin", "l/ü/straße.bin", "l/a+b&c=d.bin", "l/q?.bin"]
)
def test_what_is_put_is_got_listed_and_deleted(service: Service, key: str) -> None:
    url = f"/landing/{quote(key)}"
    created = service.http.put(url, content=b"0123456789")
    assert created.status_code == 201
    assert created.json()["path"] == f"s3://landing-zone/{key}"
    assert created.headers["location"] == url
    assert service.http.put(url, content=b"abcdefghij").status_code == 200
    assert service.http.get(url).content == b"abcdefghij"
    assert service.http.get(url, headers={"Range": "bytes=2-3"}).content == b"cd"
    listed = service.http.get("/landing", params={"prefix": key}).json()["items"]
    assert [item["key"] for item in listed] == [key]
    assert service.http.delete(url).status_code == 204
    assert service.http.get(url).status_code == 404


OUTSIDE = ["..%2F..%2Fx", "a/%2e%2e/%2e%2e/x", "a%00b", "a%5Cb", "%ff", "/x"]


@pytest.mark.parametrize("path", [f"/landing/{key}" for key in OUTSIDE])
def test_no_key_leaves_its_bucket(service: Service, path: str) -> None:
    before = {str(p) for p in service.data_dir.parent.rglob("x")}
    response = service.http.put(path, content=b"!")
    assert response.status_code in (404, 405, 422), response.text
    assert {str(p) for p in service.data_dir.parent.rglob("x")} == before


def test_an_upload_that_breaks_off_leaves_nothing_and_is_no_error(service: Service) -> None:
    url = httpx.URL(service.url)
    with socket.create_connection((url.host, url.port)) as connection:
        connection.sendall(b"PUT /landing/broken-off HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nabc")
    time.sleep(0.5)
    assert service.http.get("/landing/broken-off").status_code == 404
    assert "Traceback" not in service.log.read_text()


def test_listings_are_paged(service: Service) -> None:
    for n in range(5):
        service.put(f"paged/{n}", b"x")
    keys: list[str] = []
    url = "/landing?prefix=paged/&limit=2"
    while url:
        page = service.http.get(url)
        keys += [item["key"] for item in page.json()["items"]]
        url = page.json()["next"] or ""
    assert keys == [f"paged/{n}" for n in range(5)]


def test_health_and_readiness(service: Service) -> None:
    assert service.http.get("/health").json()["status"] == "ok"
    ready = service.http.get("/ready")
    assert ready.status_code == 200
    assert {check["name"]: check["ok"] for check in ready.json()["checks"]} == {
        "ledger": True,
        "objects": True,
        "queue": True,
        "sweep": True,
    }
    assert all(check["latency_ms"] >= 0 for check in ready.json()["checks"])


@pytest.mark.parametrize("page", ["/docs", "/redoc"])
def test_the_documentation_takes_everything_from_this_service(service: Service, page: str) -> None:
    response = service.http.get(page)
    html, policy = response.text, response.headers["content-security-policy"]
    assert policy.startswith("default-src 'self'")
    assert "http" not in policy
    links = re.findall(r"""(?:src|href|url)\s*[=:]\s*["']([^"']+)["']""", html)
    assert len(links) >= 2
    for link in links:
        assert link.startswith("/"), f"{link} is not of this service"
        assert service.http.get(link).status_code == 200, link


def test_the_committed_openapi_is_the_one_served(service: Service) -> None:
    committed = json.loads((Path(__file__).parents[2] / "openapi" / "openapi.json").read_text(encoding="utf-8"))
    assert service.http.get("/openapi.json").json() == committed


def test_the_examples_of_the_docs_run_as_they_stand(service: Service) -> None:
    """What 'Try it out' sends, from top to bottom, taken from the document itself."""
    paths = service.http.get("/openapi.json").json()["paths"]

    def filled(path: str, method: str) -> str:
        for parameter in paths[path][method]["parameters"]:
            if parameter["in"] == "path":
                example = next(iter(parameter["examples"].values()))["value"]
                path = path.replace("{" + parameter["name"] + "}", str(example))
        return path

    upload = paths["/landing/{key}"]["put"]
    body = upload["requestBody"]["content"]["application/geo+json"]["example"]
    put = service.http.put(filled("/landing/{key}", "put"), json=body, headers={"Content-Type": "application/geo+json"})
    assert put.status_code in (200, 201)
    post = paths["/manifests"]["post"]["requestBody"]["content"]["application/json"]
    submitted = service.http.post("/manifests", json=next(iter(post["examples"].values()))["value"])
    assert submitted.status_code in (200, 202), submitted.text
    run_url = filled("/runs/{run_id}", "get")
    assert submitted.headers["location"] == run_url
    assert service.finished(submitted.json()["run_id"])["status"] == "success"
    gets = [path for path, methods in paths.items() if "get" in methods]
    assert len(gets) > 10
    for path in gets:
        response = service.http.get(filled(path, "get") if "{" in path else path)
        assert response.status_code == 200, f"{path}: {response.text[:300]}"
