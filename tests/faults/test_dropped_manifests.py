"""Dropped manifests in real processes: files copied by hand, slow copies, and kill -9 on the way."""

from __future__ import annotations

import json
import shutil
import sqlite3
import threading
import time
from pathlib import Path

import httpx
import pytest

from tests.service import POINTS, Service, manifest, running_service, wait_for

TOKEN = "t0ken"  # noqa: S105 # of the tests' own service
QUICK = {"SPATIAL_ETL_SWEEP__MANIFESTS_SECONDS": "0.3", "SPATIAL_ETL_WEBHOOK__TOKEN": TOKEN}
SLOW = {**QUICK, "SPATIAL_ETL_SWEEP__MANIFESTS_SECONDS": "3600"}


def landing_zone(data_dir: Path) -> Path:
    return data_dir / "objects" / "landing-zone"


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def taken_in_once(service: Service, batch: str) -> None:
    """The manifest became one run and one version, and lies in the archive."""
    runs = wait_for(lambda: service.http.get("/runs", params={"batch_id": batch}).json()["items"], f"a run of {batch}")
    assert len(runs) == 1
    assert service.finished(runs[0]["run_id"])["status"] == "success"
    zone = landing_zone(service.data_dir)
    wait_for(lambda: not (zone / "manifests").exists() or files(zone / "manifests") == [], "an empty manifests/")
    assert len([name for name in files(zone) if name.startswith(f"archive/manifests/{batch}.")]) == 1
    assert service.versions(batch) == [1]
    accepted = [
        entry
        for entry in service.http.get("/activity", params={"limit": 1000}).json()["items"]
        if (entry["action"], entry["resource_id"]) == ("manifest.accepted", batch)
    ]
    assert len(accepted) <= 1
    assert len(service.http.get("/runs", params={"batch_id": batch}).json()["items"]) == 1


def test_data_and_manifest_copied_into_the_landing_zone(data_dir: Path, tmp_path: Path) -> None:
    with running_service(data_dir, **QUICK) as service:
        zone = landing_zone(data_dir)
        wait_for(zone.is_dir, "the landing zone")
        (tmp_path / "points.geojson").write_bytes(POINTS)
        document = manifest("copied", ("inbox/Ä points.geojson", "GeoJSON"))
        (tmp_path / "copied.json").write_text(json.dumps(document))
        (zone / "inbox").mkdir()
        (zone / "manifests").mkdir(exist_ok=True)
        shutil.copy(tmp_path / "points.geojson", zone / "inbox" / "Ä points.geojson")
        shutil.copy(tmp_path / "copied.json", zone / "manifests" / "copied.json")
        taken_in_once(service, "copied")
        record = service.http.get("/manifests/copied").json()
        assert (record["source"], record["object_key"]) == ("sweep", "manifests/copied.json")


def test_a_bad_manifest_copied_by_hand_is_told_and_archived(data_dir: Path) -> None:
    with running_service(data_dir, SPATIAL_ETL_WORKER__PROCESSES="0", **QUICK) as service:
        folder = landing_zone(data_dir) / "manifests"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "bad.json").write_text(json.dumps(manifest("bad", ("a.gpkg", "GPGK"))))
        listed = wait_for(
            lambda: service.http.get("/manifests", params={"status": "rejected"}).json()["items"], "the rejection"
        )
        (record,) = listed
        (fault,) = record["faults"]
        assert (fault["pointer"], fault["code"]) == ("/files/0/format", "format_unknown")
        assert "GPKG" in fault["fix"]
        wait_for(lambda: files(landing_zone(data_dir)), "the archive")
        wait_for(lambda: not (folder / "bad.json").exists(), "the move")
        (archived,) = files(landing_zone(data_dir))
        assert archived.startswith("archive/manifests/bad.")
        assert service.http.get(f"/manifests/{record['batch_id']}").json()["faults"] == record["faults"]


def test_a_slow_copy_is_waited_for(data_dir: Path) -> None:
    with running_service(data_dir, SPATIAL_ETL_WORKER__PROCESSES="1", **QUICK) as service:
        service.put("points.geojson", POINTS)
        folder = landing_zone(data_dir) / "manifests"
        folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps(manifest("slow-copy", ("points.geojson", "GeoJSON")))
        with (folder / "slow-copy.json").open("w") as file:
            for start in range(0, len(text), len(text) // 2):
                file.write(text[start : start + len(text) // 2])
                file.flush()
                # Longer than what makes a file old enough, and a dozen looks.
                time.sleep(2.6)
        taken_in_once(service, "slow-copy")
        assert service.http.get("/manifests", params={"status": "rejected"}).json()["items"] == []


def deliveries(data_dir: Path) -> list[tuple[str, str]]:
    with sqlite3.connect(f"file:{data_dir / 'ledger.sqlite'}?mode=ro", uri=True) as ledger:
        return ledger.execute("SELECT delivery_id, status FROM webhook_deliveries").fetchall()


def outcomes(data_dir: Path) -> list[dict[str, object]]:
    """All outcomes of the only delivery."""
    with sqlite3.connect(f"file:{data_dir / 'ledger.sqlite'}?mode=ro", uri=True) as ledger:
        ((text,),) = ledger.execute("SELECT outcomes FROM webhook_deliveries").fetchall()
    found: list[dict[str, object]] = json.loads(text)
    return found


def record(key: str, etag: str = "e") -> dict[str, object]:
    thing = {"key": key, "eTag": etag, "sequencer": key}
    return {"eventName": "s3:ObjectCreated:Put", "s3": {"bucket": {"name": "landing-zone"}, "object": thing}}


@pytest.mark.parametrize("repeated", [False, True])
def test_killed_between_recording_and_processing(data_dir: Path, repeated: bool) -> None:
    """The event of interest comes last of thousands, so that there is time to kill everything before it."""
    headers = {"Authorization": f"Bearer {TOKEN}"}
    settings = {**SLOW, "SPATIAL_ETL_WEBHOOK__MAX_BYTES": str(4 * 1024 * 1024)}
    service = Service(data_dir, **settings)
    service.start()
    service.put("points.geojson", POINTS)
    document = manifest("killed", ("points.geojson", "GeoJSON"))
    etag = service.put("manifests/killed.json", json.dumps(document).encode())["etag"]
    records = [*(record(f"manifests/none-{n}.json") for n in range(3_000)), record("manifests/killed.json", etag)]
    body = json.dumps({"Records": records}).encode()
    answers: list[httpx.Response] = []

    def send() -> None:
        try:
            answers.append(httpx.post(f"{service.url}/webhooks/minio", content=body, headers=headers, timeout=60))
        except httpx.HTTPError:
            return

    sender = threading.Thread(target=send)
    sender.start()
    wait_for(lambda: deliveries(data_dir), "the record of the delivery")
    service.kill_everything()
    sender.join()
    assert answers == [], "killed too late for this test"
    ((delivery_id, status),) = deliveries(data_dir)
    assert status == "received"
    assert (landing_zone(data_dir) / "manifests" / "killed.json").exists()

    settings["SPATIAL_ETL_SWEEP__MANIFESTS_SECONDS"] = "0.5"
    with running_service(data_dir, **settings) as again:
        if repeated:
            # The store did not hear a 200, so it says it again.
            answer = again.http.post("/webhooks/minio", content=body, headers=headers)
            assert answer.status_code == 200
            assert answer.json()["delivery_id"] == delivery_id
        taken_in_once(again, "killed")
        wait_for(lambda: deliveries(data_dir) == [(delivery_id, "done")], "the end of the delivery")
        (kept,) = again.http.get("/webhooks/deliveries").json()["items"]
        assert kept["repeats"] == int(repeated)
        assert len(kept["outcomes"]) == 100 < kept["outcome_count"], "the page has the first of them"
        outcome = outcomes(data_dir)[-1]
        assert outcome["result"] in ("accepted", "known")
        assert (outcome["key"], outcome["batch_id"]) == ("manifests/killed.json", "killed")


def test_killed_at_any_moment(data_dir: Path) -> None:
    """Events and kills in a row: every manifest is taken in once, whatever was under way."""
    headers = {"Authorization": f"Bearer {TOKEN}"}
    batches = [f"shot-{n}" for n in range(5)]
    for n, batch in enumerate(batches):
        service = Service(data_dir, **{**QUICK, "SPATIAL_ETL_WORKER__PROCESSES": "0"})
        service.start()
        service.put("points.geojson", POINTS)
        document = manifest(batch, ("points.geojson", "GeoJSON"))
        service.put(f"manifests/{batch}.json", json.dumps(document).encode())
        body = json.dumps({"Records": [record(f"manifests/{batch}.json")]}).encode()

        def send(url: str = service.url, body: bytes = body) -> None:
            try:
                httpx.post(f"{url}/webhooks/minio", content=body, headers=headers, timeout=60)
            except httpx.HTTPError:
                return

        sender = threading.Thread(target=send)
        sender.start()
        time.sleep(0.004 * n)
        service.kill_everything()
        sender.join()
    with running_service(data_dir, **QUICK) as service:
        for batch in batches:
            taken_in_once(service, batch)
        wait_for(lambda: {status for _, status in deliveries(data_dir)} <= {"done"}, "the end of all deliveries")
        assert service.http.get("/manifests", params={"status": "rejected"}).json()["items"] == []
