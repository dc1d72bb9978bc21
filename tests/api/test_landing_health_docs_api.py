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

from app.models.intents import INTENTS
from tests.service import Service

ROOT = Path(__file__).parents[2]


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


def test_ranges_of_any_number_of_digits(service: Service) -> None:
    service.put("ranges", b"0123456789")
    many = "9" * 5000
    for header, status, body in (
        (f"bytes={many}-", 416, None),
        (f"bytes={many}-{many}", 416, None),
        (f"bytes=2-{many}", 206, b"23456789"),
        (f"bytes=-{many}", 206, b"0123456789"),
        (f"bytes={'0' * 5000}8-", 206, b"89"),
        ("bytes=-0", 416, None),
    ):
        answer = service.http.get("/landing/ranges", headers={"Range": header})
        assert (answer.status_code, answer.content if body else None) == (status, body), header[:20]


def test_a_key_is_an_object_or_a_folder(service: Service) -> None:
    service.put("l/one/two", b"x")
    for key, said in (("l/one", "is a folder"), ("l/one/two/three", "There is an object 'l/one/two'")):
        for answer in (
            service.http.put(f"/landing/{key}", content=b"x"),
            service.http.post("/landing/presign", json={"key": key}),
            service.http.post("/landing/presign", json={"key": key, "method": "POST"}),
        ):
            assert (answer.status_code, answer.json()["code"]) == (409, "key_conflict"), answer.text
            assert said in answer.json()["detail"]
    listed = service.http.get("/landing", params={"prefix": "l/one", "limit": 1}).json()["items"]
    assert [item["key"] for item in listed] == ["l/one/two"]


@pytest.mark.parametrize("prefix", ["../", "a/../b", "//", "a//", "./", "x" * 256])
def test_prefix_that_no_key_has(service: Service, prefix: str) -> None:
    service.put("a/b", b"x")
    answer = service.http.get("/landing", params={"prefix": prefix})
    assert (answer.status_code, answer.json()["items"]) == (200, [])


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


def test_redoc_loads_no_image_from_elsewhere(service: Service) -> None:
    script = service.http.get("/static-offline-docs/redoc.standalone.js")
    assert script.headers["content-type"].startswith("text/javascript")
    assert len(script.content) > 1_000_000
    loaded = re.findall(r"""src:\s*["'](\w+:[^"']*)["']""", script.text)
    assert loaded == ["data:,"]


def test_the_committed_openapi_is_the_one_served(service: Service) -> None:
    committed = json.loads((ROOT / "openapi" / "openapi.json").read_text(encoding="utf-8"))
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
    keys = {name: each["value"] for name, each in upload["parameters"][0]["examples"].items()}
    bodies = {
        name: (media_type, each["value"])
        for media_type, content in upload["requestBody"]["content"].items()
        for name, each in content.get("examples", {}).items()
    }
    assert bodies.keys() | {"terrain"} == keys.keys()
    for name, (media_type, body) in bodies.items():
        content = body if isinstance(body, str) else json.dumps(body)
        put = service.http.put(f"/landing/{keys[name]}", content=content, headers={"Content-Type": media_type})
        assert put.status_code in (200, 201)
    service.put(keys["terrain"], (ROOT / "samples" / "raster" / "terrain.tif").read_bytes())
    examples = paths["/manifests"]["post"]["requestBody"]["content"]["application/json"]["examples"]
    assert examples == paths["/manifests/plan"]["post"]["requestBody"]["content"]["application/json"]["examples"]
    assert {each["value"]["intent"] for each in examples.values()} == {intent.name for intent in INTENTS}
    for number, (name, example) in enumerate(examples.items()):
        assert example["summary"].startswith(f"{example['value']['intent']}: ")
        submitted = service.http.post("/manifests", json=example["value"])
        assert submitted.status_code in (200, 202), submitted.text
        assert number or submitted.headers["location"] == filled("/runs/{run_id}", "get")
        run = service.finished(submitted.json()["run_id"])
        assert run["status"] == "success", f"{name}: {run['error']}"
    gets = [path for path, methods in paths.items() if "get" in methods]
    assert len(gets) > 10
    for path in gets:
        response = service.http.get(filled(path, "get") if "{" in path else path)
        # The example is a run that published its product.
        wanted = 404 if path == "/runs/{run_id}/rejected" else 200
        assert response.status_code == wanted, f"{path}: {response.text[:300]}"


def test_authorize_offers_the_api_key_first(service: Service) -> None:
    schemes = service.http.get("/openapi.json").json()["components"]["securitySchemes"]
    assert next(iter(schemes)) == "ApiKey"
    assert len(schemes) == 2
