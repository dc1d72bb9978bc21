"""Runs that are asked for again, and manifests that are withdrawn."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.clients import open_clients
from app.ledger import Guard
from app.main import create_app
from app.models.api_key import ANONYMOUS
from app.models.asset import SourceInput
from app.models.base import utcnow
from app.models.manifests.manifest import ManifestStatus
from app.models.runs.run import Run, RunStatus
from app.pipelines.job.inputs import RecordedInputs, recorded_before
from app.services.intake.submit import run_id_for
from app.services.runs import control as runs_control
from app.settings import Settings
from tests.contract.ledgers import MINUTE, T0, a_manifest, a_run, claim, put_asset, put_run
from tests.service import POINTS, Service, geojson, manifest, point

OTHER = geojson((point(3, 4), {"n": 1, "name": "other"}))


def again(service: Service, url: str, **params: str) -> dict[str, Any]:
    response = service.http.post(url, params=params)
    assert response.status_code == 202, response.text
    assert response.headers["location"] == f"/runs/{response.json()['run_id']}"
    return service.finished(response.json()["run_id"])


def codes(run: dict[str, Any]) -> set[str]:
    return {warning["code"] for warning in run["warnings"]}


def fetched(service: Service, run: dict[str, Any]) -> dict[str, Any]:
    events = service.http.get(f"/runs/{run['run_id']}/events").json()
    (event,) = [event for event in events if event["code"] == "inputs.fetched"]
    data: dict[str, Any] = event["data"]
    return data


def test_the_same_inputs_end_unchanged_unless_a_new_version_is_wanted(service: Service) -> None:
    service.put("rerun/p.geojson", POINTS)
    first = service.ingest(manifest("rerun-same", ("rerun/p.geojson", "GeoJSON")))
    second = again(service, f"/runs/{first['run_id']}/rerun")
    assert second["run_id"] == run_id_for("rerun-same", 2) != first["run_id"]
    assert (second["retry_of"], second["status"]) == (first["run_id"], "success")
    assert (second["reserved_version"], second["unchanged_version"]) == (None, 1)
    third = again(service, "/manifests/rerun-same/rerun", new_version="always")
    assert (third["retry_of"], third["new_version"], third["reserved_version"]) == (second["run_id"], "always", 2)
    assert service.versions("rerun-same") == [2, 1]
    assert "inputs_changed" not in codes(second) | codes(third)
    assert fetched(service, first) == fetched(service, third)
    record = service.http.get("/manifests/rerun-same").json()
    assert [run["run_id"] for run in record["runs"]] == [run["run_id"] for run in (third, second, first)]
    assert record["status"] == "success"
    entries = service.http.get("/activity", params={"limit": 100}).json()["items"]
    of_third = {entry["action"]: entry for entry in entries if entry["resource_id"] == third["run_id"]}
    assert {"run.asked_again", "run.success"} <= of_third.keys()
    # Who asked for the run, which is not who delivered the files.
    assert of_third["run.success"]["user"] == of_third["run.asked_again"]["user"] == third["asked_by"] == ANONYMOUS
    assert of_third["run.success"]["details"]["uploader"] == record["manifest"]["uploader"] != ANONYMOUS


def test_inputs_that_differ_are_named(service: Service) -> None:
    service.put("rerun/changing.geojson", POINTS)
    first = service.ingest(manifest("rerun-changed", ("rerun/changing.geojson", "GeoJSON")))
    service.put("rerun/changing.geojson", OTHER)
    second = again(service, f"/runs/{first['run_id']}/rerun")
    (warning,) = [warning for warning in second["warnings"] if warning["code"] == "inputs_changed"]
    assert "landing-zone/rerun/changing.geojson has other content" in warning["message"]
    assert first["run_id"] in warning["message"]
    (sample,) = warning["samples"]
    assert sample["before"] == fetched(service, first)["inputs"][0]["sha256"]
    assert sample["now"] == fetched(service, second)["inputs"][0]["sha256"] != sample["before"]
    assert second["reserved_version"] == 2
    # An older run may be named too: it is compared with what that one read.
    service.put("rerun/changing.geojson", POINTS)
    third = again(service, f"/runs/{first['run_id']}/rerun")
    assert third["retry_of"] == first["run_id"]
    assert "inputs_changed" not in codes(third)


def test_a_failure_is_run_again_and_compared_with_what_it_read(service: Service) -> None:
    service.put("rerun/bad.geojson", b'{"type":"FeatureCollection","features":[')
    first = service.ingest(manifest("rerun-mended", ("rerun/bad.geojson", "GeoJSON")))
    assert first["status"] == "failure"
    assert fetched(service, first)["complete"] is False
    service.put("rerun/bad.geojson", POINTS)
    second = again(service, "/manifests/rerun-mended/rerun")
    assert (second["status"], second["reserved_version"]) == ("success", 1)
    assert "inputs_changed" in codes(second)
    assert service.http.get("/manifests/rerun-mended").json()["error_message"] is None


def test_what_was_missing_then_is_no_change(service: Service) -> None:
    service.put("rerun/one.geojson", POINTS)
    files = (("rerun/one.geojson", "GeoJSON"), ("rerun/two.geojson", "GeoJSON"))
    first = service.ingest(manifest("rerun-missing", *files))
    assert first["error"]["code"] == "file_missing"
    service.put("rerun/two.geojson", POINTS)
    second = again(service, f"/runs/{first['run_id']}/rerun")
    assert second["status"] == "success"
    assert "inputs_changed" not in codes(second)
    assert len(fetched(service, second)["inputs"]) == 2


@pytest.mark.parametrize("url", ["/runs/nowhere/rerun", "/runs/nowhere/cancel", "/manifests/nowhere/rerun"])
def test_what_is_not_there_cannot_be_asked_for(service: Service, url: str) -> None:
    response = service.http.post(url)
    assert (response.status_code, response.json()["code"]) == (404, "not_found")
    assert service.http.delete("/manifests/nowhere").status_code == 404


def test_another_word_for_the_version_is_refused(service: Service) -> None:
    response = service.http.post("/manifests/rerun-same/rerun", params={"new_version": "never"})
    assert (response.status_code, response.json()["code"]) == (422, "request_invalid")


class Api:
    """The API in this event loop, without workers: what waits, waits."""

    def __init__(self, http: httpx.AsyncClient, ledger: Any) -> None:
        self.http, self.ledger = http, ledger

    async def refused(self, method: str, url: str, code: str) -> str:
        response = await self.http.request(method, url)
        assert (response.status_code, response.json()["code"]) == (409, code), response.text
        return f"{response.json()['detail']} {response.json()['fix']}"


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    settings = Settings(data_dir=tmp_path)
    async with open_clients(settings) as clients:
        await clients.ledger.migrate()
        app = create_app(settings)
        async with app.router.lifespan_context(app):
            transport = httpx.ASGITransport(app)
            async with httpx.AsyncClient(transport=transport, base_url="http://test") as http:
                yield Api(http, clients.ledger)


async def submitted(api: Api, batch: str) -> Run:
    response = await api.http.post("/manifests", json=manifest(batch, ("p.geojson", "GeoJSON")))
    assert response.status_code == 202, response.text
    run: Run = await api.ledger.get_run(response.json()["run_id"])
    return run


@pytest.mark.anyio
async def test_a_withdrawn_manifest_keeps_its_id(api: Api) -> None:
    run = await submitted(api, "withdrawn")
    text = await api.refused("POST", f"/runs/{run.run_id}/rerun", "run_not_over")
    assert f"/runs/{run.run_id}/cancel" in text
    await api.refused("POST", "/manifests/withdrawn/rerun", "run_not_over")
    response = await api.http.delete("/manifests/withdrawn")
    assert (response.status_code, response.json()["status"]) == (200, "canceled")
    assert (await api.http.get("/manifests/withdrawn")).json()["status"] == "canceled"
    text = await api.refused("DELETE", "/manifests/withdrawn", "run_over")
    assert "canceled" in text
    same = await api.http.post("/manifests", json=manifest("withdrawn", ("p.geojson", "GeoJSON")))
    assert (same.status_code, same.json()["run_id"]) == (200, run.run_id)
    changed = await api.http.post("/manifests", json=manifest("withdrawn", ("q.geojson", "GeoJSON")))
    assert changed.status_code == 409
    entries = (await api.http.get("/activity")).json()["items"]
    assert ("manifest.withdrawn", "withdrawn") in {(entry["action"], entry["resource_id"]) for entry in entries}


@pytest.mark.anyio
async def test_what_has_begun_is_canceled_not_withdrawn(api: Api) -> None:
    run = await submitted(api, "begun")
    assert await claim(api.ledger, run) is not None
    text = await api.refused("DELETE", "/manifests/begun", "run_not_over")
    assert f"POST /runs/{run.run_id}/cancel" in text
    response = await api.http.post(f"/runs/{run.run_id}/cancel")
    assert (response.status_code, response.json()["status"]) == (202, "canceling")
    assert response.headers["retry-after"]
    await api.refused("DELETE", "/manifests/begun", "run_not_over")
    again = await api.http.post(f"/runs/{run.run_id}/cancel")
    assert (again.status_code, again.json()) == (202, response.json())


@pytest.mark.anyio
async def test_a_rejected_manifest_has_nothing_to_run(api: Api) -> None:
    await api.ledger.reject_manifest(a_manifest("rejected.1", status=ManifestStatus.REJECTED))
    text = await api.refused("POST", "/manifests/rejected.1/rerun", "manifest_rejected")
    assert "GET /manifests/rejected.1" in text
    await api.refused("DELETE", "/manifests/rejected.1", "manifest_rejected")


@pytest.mark.anyio
async def test_two_that_ask_at_once_get_the_same_run(api: Api) -> None:
    run = await submitted(api, "both")
    assert (await api.http.delete("/manifests/both")).status_code == 200
    answers = await asyncio.gather(*(api.http.post(f"/runs/{run.run_id}/rerun") for _ in range(8)))
    assert {answer.status_code for answer in answers} <= {202, 409}
    made = {answer.json()["run_id"] for answer in answers if answer.status_code == 202}
    assert made == {run_id_for("both", 2)}
    assert len((await api.http.get("/manifests/both")).json()["runs"]) == 2
    entries = (await api.http.get("/activity")).json()["items"]
    assert len([entry for entry in entries if entry["action"] == "run.asked_again"]) == 1


@pytest.mark.anyio
async def test_a_clock_that_is_behind_makes_no_older_run(api: Api) -> None:
    document = manifest("clock", ("p.geojson", "GeoJSON"))
    ahead = a_run("clock", created_at=utcnow() + timedelta(hours=1))
    await api.ledger.accept(a_manifest("clock", document=document), ahead)
    await api.ledger.change_run(ahead.run_id, Guard(frozenset({RunStatus.QUEUED})), status=RunStatus.CANCELED)
    response = await api.http.post("/manifests/clock/rerun")
    assert response.status_code == 202, response.text
    assert (await api.http.get("/manifests/clock")).json()["status"] == "queued"


@pytest.mark.anyio
async def test_a_closed_lane_takes_no_further_runs(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, enabled_lanes=frozenset({"tabular"}))
    async with open_clients(settings) as clients:
        await clients.ledger.migrate()
        document = manifest("closed", ("p.geojson", "GeoJSON"))
        run = (await clients.ledger.accept(a_manifest("closed", document=document), a_run("closed"))).run
        app = create_app(settings)
        transport = httpx.ASGITransport(app)
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=transport, base_url="http://test") as http,
        ):
            assert (await http.post(f"/runs/{run.run_id}/cancel")).json()["status"] == "canceled"
            response = await http.post(f"/runs/{run.run_id}/rerun")
    assert (response.status_code, response.json()["code"]) == (422, "lane_closed")


@pytest.mark.anyio
async def test_a_run_that_read_nothing_is_passed_over(tmp_path: Path) -> None:
    async with open_clients(Settings(data_dir=tmp_path)) as clients:
        ledger = clients.ledger
        await ledger.migrate()
        first = await put_run(ledger)
        assert await recorded_before(a_run(retry_of=first.run_id), clients) is None
        for digest in ("attempt 1", "attempt 2"):
            data = {"inputs": [{"s3_key": "landing-zone/a", "size": 1, "sha256": digest}], "complete": True}
            await ledger.add_event(first.run_id, code="inputs.fetched", message="m", data=data)
        await runs_control.cancel(first.run_id, clients, seconds=1)
        second = await ledger.add_run(a_run(first.batch_id, retry_of=first.run_id, created_at=T0 + MINUTE))
        assert second is not None
        found = await recorded_before(a_run(retry_of=second.run_id), clients)
        assert found == RecordedInputs(first.run_id, {"landing-zone/a": "attempt 2"}, complete=True)
        # Of a release that kept no such line the version tells.
        source = SourceInput(s3_key="landing-zone/b", size=1, etag="e", sha256="s")
        asset = await put_asset(ledger, "roads", source)
        found = await recorded_before(a_run(retry_of=asset.run_id), clients)
        assert found == RecordedInputs(asset.run_id, {"landing-zone/b": "s"}, complete=True)
