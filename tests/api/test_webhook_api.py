"""POST /webhooks/minio as an object store sends it, against a real service."""

from __future__ import annotations

import gzip
import json
import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus

import httpx
import pytest

from tests.service import POINTS, Json, Service, manifest, running_service

TOKEN = "Grüße+from/the=store"  # noqa: S105 # of the tests' own service
MAX_BYTES = 64 * 1024


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """The sweep looks into the landing zone at the start only: what is taken in later came by the webhook."""
    settings = {
        "SPATIAL_ETL_WEBHOOK__TOKEN": TOKEN,
        "SPATIAL_ETL_WEBHOOK__MAX_BYTES": str(MAX_BYTES),
        "SPATIAL_ETL_SWEEP__MANIFESTS_SECONDS": "3600",
    }
    with running_service(tmp_path_factory.mktemp("webhook") / "data", **settings) as started:
        started.put("points.geojson", POINTS)
        yield started


def send(service: Service, body: bytes | Json, **headers: str) -> httpx.Response:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    given = {b"Authorization": f"Bearer {TOKEN}".encode(), b"Content-Type": b"application/json"}
    given |= {name.encode(): value.encode() for name, value in headers.items()}
    return service.http.post("/webhooks/minio", content=content, headers=list(given.items()))


def sent(service: Service, body: bytes | Json) -> Json:
    response = send(service, body)
    assert response.status_code == 200, response.text
    return response.json()


def event(key: str, etag: str, sequencer: str = "17C4A5B9", name: str = "s3:ObjectCreated:Put") -> Json:
    """As MinIO writes it down."""
    return {
        "EventName": name,
        "Key": f"landing-zone/{key}",
        "Records": [
            {
                "eventVersion": "2.0",
                "eventSource": "minio:s3",
                "eventTime": "2026-11-23T06:00:00.000Z",
                "eventName": name,
                "s3": {
                    "s3SchemaVersion": "1.0",
                    "bucket": {"name": "landing-zone", "arn": "arn:aws:s3:::landing-zone"},
                    "object": {"key": quote_plus(key), "size": 1, "eTag": etag, "sequencer": sequencer},
                },
            }
        ],
    }


def drop(service: Service, batch_id: str, key: str | None = None, **changes: Any) -> Json:
    """Put a manifest into the landing zone; the event that announces it."""
    key = key or f"manifests/{batch_id}.json"
    document = manifest(batch_id, ("points.geojson", "GeoJSON"), **changes)
    return event(key, service.put(key, json.dumps(document).encode())["etag"])


def landing(service: Service, prefix: str) -> list[str]:
    return [item["key"] for item in service.http.get("/landing", params={"prefix": prefix}).json()["items"]]


def test_a_dropped_manifest_is_carried_to_a_version(service: Service) -> None:
    receipt = sent(service, drop(service, "hook-first"))
    assert receipt["status"] == "done"
    (outcome,) = receipt["outcomes"]
    assert (outcome["result"], outcome["batch_id"]) == ("accepted", "hook-first")
    record = service.http.get("/manifests/hook-first").json()
    assert (record["source"], record["object_key"]) == ("webhook", "manifests/hook-first.json")
    (run,) = record["runs"]
    assert service.finished(run["run_id"])["status"] == "success"
    assert service.versions("hook-first") == [1]
    assert landing(service, "manifests/hook-first") == []
    (archived,) = landing(service, "archive/manifests/hook-first.")
    assert service.http.get(f"/landing/{archived}").json()["batch_id"] == "hook-first"


@pytest.mark.parametrize(
    "key", ["manifests/a b/c+d %25 & é.json", "manifests/Straße 100%.json", "manifests/z;=?#[1].json"]
)
def test_keys_that_need_escaping(service: Service, key: str) -> None:
    batch = f"hook-key-{len(key)}-{key.count('%')}"
    receipt = sent(service, drop(service, batch, key))
    assert [(o["result"], o["key"], o["batch_id"]) for o in receipt["outcomes"]] == [("accepted", key, batch)]
    assert landing(service, key) == []


def test_a_bad_manifest_is_readable_with_its_faults(service: Service) -> None:
    receipt = sent(service, drop(service, "hook bad", "manifests/hook-bad.json", uploader=""))
    (outcome,) = receipt["outcomes"]
    assert outcome["result"] == "rejected"
    record = service.http.get(f"/manifests/{outcome['batch_id']}").json()
    assert (record["status"], record["runs"], record["manifest"]["batch_id"]) == ("rejected", [], "hook bad")
    assert {"/batch_id", "/uploader"} <= {fault["pointer"] for fault in record["faults"]}
    assert all(fault["fix"] for fault in record["faults"])
    listed = service.http.get("/manifests", params={"status": "rejected", "object_key": "manifests/hook-bad.json"})
    assert [item["batch_id"] for item in listed.json()["items"]] == [outcome["batch_id"]]
    assert landing(service, "manifests/hook-bad") == []
    assert len(landing(service, "archive/manifests/hook-bad.")) == 1
    actions = {(e["action"], e["resource_id"]) for e in service.http.get("/activity?limit=1000").json()["items"]}
    assert ("manifest.rejected", outcome["batch_id"]) in actions
    # The corrected one may use the same name and the batch id that it meant.
    assert sent(service, drop(service, "hook-mended", "manifests/hook-bad.json"))["outcomes"][0]["result"] == "accepted"


def test_thirty_repeats_in_any_order_are_one_run(service: Service) -> None:
    first = drop(service, "hook-thirty")
    etag = first["Records"][0]["s3"]["object"]["eTag"]
    bodies = [event("manifests/hook-thirty.json", etag, f"17C{n % 3}") for n in range(30)]
    with ThreadPoolExecutor(30) as pool:
        answers = list(pool.map(lambda body: send(service, body), bodies))
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.json()["delivery_id"] for answer in answers}) == 3
    runs = service.http.get("/runs", params={"batch_id": "hook-thirty"}).json()["items"]
    assert len(runs) == 1
    assert service.finished(runs[0]["run_id"])["status"] == "success"
    assert service.versions("hook-thirty") == [1]
    assert len(landing(service, "archive/manifests/hook-thirty.")) == 1
    late = sent(service, bodies[0])
    assert late["outcomes"][0]["batch_id"] == "hook-thirty"


def test_data_and_other_events_are_ignored_with_a_reason(service: Service) -> None:
    for body, reason in (
        (event("points.geojson", "e"), "Not a manifest"),
        (event("manifests/x.json", "e", name="s3:ObjectCreated:PutTagging"), "does not create"),
        ({"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": "landing-zone"}, "test event"),
    ):
        (outcome,) = sent(service, body)["outcomes"]
        assert outcome["result"] == "ignored"
        assert reason in outcome["detail"]
    (outcome,) = sent(service, event("manifests/never-there.json", "e"))["outcomes"]
    assert outcome["result"] == "gone"


HOSTILE = {
    "nothing": b"",
    "no json": b"{",
    "no utf-8": b"\xff\xfe\x00",
    "zero bytes": b"\0" * 100,
    "null": b"null",
    "bomb": b"[" * 50_000,
    "object bomb": b'{"Records":' * 5_000,
    "long number": b"1" * 50_000,
    "surrogate": json.dumps(event("manifests/x.json", "e")).replace("17C4A5B9", "\\ud800").encode(),
    "surrogate key": b'{"Records":[{"eventName":"\\udcff","s3":{"bucket":{"name":"b"},"object":{"key":"\\ud800"}}}]}',
    "many": json.dumps({"Records": [{}] * 5_000}).encode(),
    "gzip": gzip.compress(b"{}"),
    "html": b"<html><body>hello</body></html>",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_whatever_is_sent_is_answered_well(service: Service, name: str) -> None:
    receipt = sent(service, HOSTILE[name])
    assert receipt["status"] == "done"
    assert {outcome["result"] for outcome in receipt["outcomes"]} <= {"unreadable", "ignored", "gone"}
    assert all(outcome["detail"] for outcome in receipt["outcomes"])
    assert sent(service, HOSTILE[name]) == receipt
    listed = service.http.get("/webhooks/deliveries", params={"limit": 1000})
    assert listed.status_code == 200
    (kept,) = [item for item in listed.json()["items"] if item["delivery_id"] == receipt["delivery_id"]]
    assert (kept["repeats"], kept["status"]) == (1, "done")


def test_a_huge_body_is_read_to_its_end_and_not_kept(service: Service) -> None:
    """Cut off, the sender would see a broken connection and repeat it for ever."""
    body = json.dumps(drop(service, "hook-huge")).encode() + b" " * (8 * 1024 * 1024)
    receipt = sent(service, body)
    (outcome,) = receipt["outcomes"]
    assert outcome["result"] == "unreadable"
    assert "SPATIAL_ETL_WEBHOOK__MAX_BYTES" in outcome["detail"]
    assert service.http.get("/manifests/hook-huge").status_code == 404
    listed = service.http.get("/webhooks/deliveries").json()["items"]
    (kept,) = [item for item in listed if item["delivery_id"] == receipt["delivery_id"]]
    assert (len(kept["body"]), kept["body_length"]) == (4096, MAX_BYTES)


WRONG = [
    *("", "Bearer", "Bearer wrong", "Bearer \xff\xfe", TOKEN),
    *(f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}", f"Basic {TOKEN}", f"Bearer {TOKEN} {TOKEN}"),
]


@pytest.mark.parametrize("given", WRONG)
def test_without_the_right_token_nothing_is_recorded(service: Service, given: str) -> None:
    before = service.http.get("/webhooks/deliveries").json()["items"]
    response = send(service, event("manifests/x.json", "t", given), Authorization=given)
    assert (response.status_code, response.json()["code"]) == (401, "unauthorized")
    assert response.headers["www-authenticate"] == "Bearer"
    assert response.headers["content-type"] == "application/problem+json"
    assert TOKEN not in response.text
    assert service.http.get("/webhooks/deliveries").json()["items"] == before


@pytest.mark.parametrize("token", [None, ""])
def test_without_a_configured_token_the_webhook_is_closed(data_dir: Path, token: str | None) -> None:
    settings = {"SPATIAL_ETL_WORKER__PROCESSES": "0"} | ({} if token is None else {"SPATIAL_ETL_WEBHOOK__TOKEN": token})
    with running_service(data_dir, **settings) as closed:
        for authorization in ("", "Bearer", "Bearer x"):
            response = closed.http.post("/webhooks/minio", content=b"{}", headers={"Authorization": authorization})
            assert (response.status_code, response.json()["code"]) == (503, "webhook_closed")
            assert "SPATIAL_ETL_WEBHOOK__TOKEN" in response.json()["fix"]
            assert response.headers["retry-after"]
        assert closed.http.get("/webhooks/deliveries").json()["items"] == []


def test_deliveries_are_listed_newest_first_by_status_and_page(service: Service) -> None:
    ids = [sent(service, event("listed.txt", "e", f"list-{n}"))["delivery_id"] for n in range(5)]
    seen: list[str] = []
    url = "/webhooks/deliveries?status=done&limit=2"
    while url and len(seen) < 5:
        page = service.http.get(url)
        assert page.status_code == 200
        seen += [item["delivery_id"] for item in page.json()["items"]]
        url = page.links["next"]["url"] if "next" in page.links else ""
    assert seen[:5] == ids[::-1]
    assert service.http.get("/webhooks/deliveries?status=received").json()["items"] == []
    assert service.http.get("/webhooks/deliveries?status=lost").status_code == 422
    (kept,) = [i for i in service.http.get("/webhooks/deliveries").json()["items"] if i["delivery_id"] == ids[0]]
    assert json.loads(kept["body"])["Key"] == "landing-zone/listed.txt"
    assert kept["ip"] == "127.0.0.1"


def test_listed_deliveries_are_of_bounded_size(service: Service) -> None:
    document = event("bounded.txt", "e", "bounded")
    (record,) = document["Records"]
    objects = [{**record["s3"]["object"], "key": f"b{n}", "sequencer": f"bounded-{n}"} for n in range(150)]
    document["Records"] = [{**record, "s3": {**record["s3"], "object": each}} for each in objects]
    body = json.dumps(document)
    receipt = sent(service, body.encode())
    assert len(receipt["outcomes"]) == 150
    listed = service.http.get("/webhooks/deliveries").json()["items"]
    (kept,) = [item for item in listed if item["delivery_id"] == receipt["delivery_id"]]
    assert (kept["body"], kept["body_length"]) == (body[:4096], len(body))
    assert (kept["outcomes"], kept["outcome_count"]) == (receipt["outcomes"][:100], 150)


def test_listed_manifests_have_no_documents(service: Service) -> None:
    sent(service, drop(service, "hook-short"))
    (item,) = service.http.get("/manifests", params={"object_key": "manifests/hook-short.json"}).json()["items"]
    assert "manifest" not in item
    assert (item["batch_id"], item["source"], item["file_count"], item["fault_count"]) == (
        "hook-short",
        "webhook",
        1,
        0,
    )
    whole = service.http.get(item["links"]["self"]).json()
    assert {name: whole[name] for name in ("batch_id", "source", "content_hash", "object_key", "ingested_at")} == {
        name: item[name] for name in ("batch_id", "source", "content_hash", "object_key", "ingested_at")
    }


def test_names_that_come_twice_are_refused_by_the_api_too(service: Service) -> None:
    text = json.dumps(manifest("hook-twice", ("points.geojson", "GeoJSON")))
    text = text.replace('"batch_id"', '"batch_id": "other", "batch_id"', 1)
    response = service.http.post("/manifests", content=text, headers={"Content-Type": "application/json"})
    assert (response.status_code, response.json()["code"]) == (422, "manifest_invalid")
    assert [(e["pointer"], e["code"]) for e in response.json()["errors"]] == [("/batch_id", "name_repeated")]
    deep = text.replace('"tags"', '"join_config": ' + "[" * 900 + "]" * 900 + ', "tags"')
    deep = deep.replace('"batch_id": "other", ', "")
    answer = service.http.post("/manifests", content=deep, headers={"Content-Type": "application/json"})
    assert answer.status_code in (400, 422), answer.text
    reserved = service.post(manifest("rejected.0123456789abcdef", ("points.geojson", "GeoJSON")))
    assert [error["code"] for error in reserved.json()["errors"]] == ["batch_id_reserved"]


def test_a_ledger_that_is_away_is_the_one_thing_that_is_refused(data_dir: Path) -> None:
    settings = {"SPATIAL_ETL_WEBHOOK__TOKEN": TOKEN, "SPATIAL_ETL_WORKER__PROCESSES": "0"}
    with running_service(data_dir, **settings) as service:
        body = drop(service, "hook-away")
        with sqlite3.connect(data_dir / "ledger.sqlite") as ledger:
            ledger.execute("ALTER TABLE webhook_deliveries RENAME TO away")
        response = send(service, body)
        assert (response.status_code, response.json()["code"]) == (503, "ledger_unavailable")
        assert response.headers["retry-after"]
        with sqlite3.connect(data_dir / "ledger.sqlite") as ledger:
            ledger.execute("ALTER TABLE away RENAME TO webhook_deliveries")
        assert sent(service, body)["outcomes"][0]["result"] in ("accepted", "known")
