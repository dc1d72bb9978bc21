"""What Prometheus reads, with its own parser."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families

from app.clients import Clients, open_clients
from app.ledger import Guard
from app.main import create_app
from app.models.base import utcnow
from app.models.runs.counts import BUCKETS, counter, histograms, observed
from app.models.runs.run import Lease, Retries, RunStatus
from app.services.sweep.dead_attempts import LeaseTimeouts
from app.services.sweep.sweep import Sweep
from app.settings import Settings
from tests.contract.ledgers import put_asset, put_run, put_running
from tests.service import POINTS, Service, manifest, wait_for

OPENMETRICS = {"Accept": "application/openmetrics-text; version=1.0.0"}


class Scrape:
    """One answer of /metrics."""

    def __init__(self, text: str, families: list[Metric]) -> None:
        self.text = text
        self.families = {family.name: family for family in families}
        assert len(self.families) == len(families), "a family comes once"

    def value(self, name: str, **labels: str) -> float | None:
        found = [s.value for f in self.families.values() for s in f.samples if s.name == name and s.labels == labels]
        assert len(found) <= 1
        return found[0] if found else None

    def samples(self, family: str) -> list[Any]:
        return list(self.families[family].samples) if family in self.families else []


def parsed(response: httpx.Response) -> Scrape:
    assert response.status_code == 200, response.text
    assert response.headers["content-type"].startswith("text/plain; version=")
    return Scrape(response.text, list(text_string_to_metric_families(response.text)))


@asynccontextmanager
async def api(settings: Settings) -> AsyncIterator[tuple[httpx.AsyncClient, Clients]]:
    """In this process, without Redis, workers or sweep."""
    async with open_clients(settings) as clients:
        app = create_app(settings)
        async with app.router.lifespan_context(app):
            transport = httpx.ASGITransport(app, raise_app_exceptions=False)
            async with httpx.AsyncClient(transport=transport, base_url="http://test") as http:
                yield http, clients


def test_a_service_at_work_tells_what_it_did(service: Service) -> None:
    service.put("metrics/p.geojson", POINTS)
    before = parsed(service.http.get("/metrics"))
    run = service.ingest(manifest("metrics-one", ("metrics/p.geojson", "GeoJSON")))
    assert run["status"] == "success"
    ended = {"lane": "spatial", "status": "success"}

    def counted() -> Scrape | None:
        """The run is over a moment before it is counted."""
        found = parsed(service.http.get("/metrics"))
        name = "spatial_etl_run_seconds_count"
        return found if found.value(name, **ended) != before.value(name, **ended) else None

    now: Scrape = wait_for(counted, "the run to be counted")

    def grown(name: str, **labels: str) -> float:
        return (now.value(name, **labels) or 0) - (before.value(name, **labels) or 0)

    for dependency in ("ledger", "objects", "queue", "sweep"):
        assert now.value("spatial_etl_up", dependency=dependency) == 1
    assert grown("spatial_etl_runs", status="success", lane="spatial") == 1
    assert now.value("spatial_etl_runs", status="queued", lane="join") == 0
    assert grown("spatial_etl_attempts_total", lane="spatial") == 1
    assert grown("spatial_etl_rows_total", lane="spatial", direction="out") == 10
    assert grown("spatial_etl_versions", kind="spatial") == 1
    assert grown("spatial_etl_version_bytes", kind="spatial") > 1000
    for step in ("load", "transform", "export"):
        assert grown("spatial_etl_step_seconds_count", lane="spatial", step=step) == 1
        assert grown("spatial_etl_step_seconds_bucket", lane="spatial", step=step, le="+Inf") == 1
    assert grown("spatial_etl_run_seconds_count", lane="spatial", status="success") == 1
    assert 0 < grown("spatial_etl_run_seconds_sum", lane="spatial", status="success") < 60
    assert now.value("spatial_etl_workers") == 1
    assert now.value("spatial_etl_queue_jobs") == 0
    posted = {"method": "POST", "route": "/manifests", "status": "202"}
    assert grown("spatial_etl_http_requests_total", **posted) == 1
    assert grown("spatial_etl_http_requests_total", method="GET", route="/runs/{run_id}", status="200") >= 1
    assert run["run_id"] not in now.text
    assert "metrics-one" not in now.text


def test_openmetrics_is_there_for_those_who_ask(service: Service) -> None:
    response = service.http.get("/metrics", headers=OPENMETRICS)
    assert response.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    assert {"spatial_etl_up", "spatial_etl_repairs"} <= {family.name for family in read_openmetrics(response.text)}


@pytest.mark.anyio
async def test_without_a_queue_the_rest_is_told(tmp_path: Path) -> None:
    async with api(Settings(data_dir=tmp_path)) as (http, clients):
        await clients.ledger.migrate()
        await put_run(clients.ledger, created_at=utcnow() - timedelta(seconds=100))
        await put_asset(clients.ledger, "roads", size=7)
        for _ in range(2):
            lease = Lease(owner="o", expires_at=utcnow() + timedelta(seconds=60))
            guard = Guard(frozenset({RunStatus.RUNNING}))
            await clients.ledger.change_run((await put_running(clients.ledger)).run_id, guard, lease=lease)
        found = parsed(await http.get("/metrics"))
    assert found.value("spatial_etl_up", dependency="queue") == 0
    assert found.value("spatial_etl_up", dependency="ledger") == 1
    assert found.samples("spatial_etl_queue_jobs") == found.samples("spatial_etl_workers") == []
    assert 100 <= (found.value("spatial_etl_oldest_queued_seconds", lane="spatial") or 0) < 130
    assert found.value("spatial_etl_oldest_queued_seconds", lane="tabular") == 0
    assert found.value("spatial_etl_leases", state="held") == 2
    assert found.value("spatial_etl_leases", state="expired") == 1
    assert found.value("spatial_etl_version_bytes", kind="spatial") == 7


@pytest.mark.anyio
async def test_without_a_ledger_nothing_is_said_to_be_zero(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/nowhere/ledger.sqlite"
    async with api(Settings(data_dir=tmp_path, ledger={"url": url})) as (http, _):  # type: ignore[arg-type] # as from the environment
        assert (await http.get("/runs")).status_code == 503
        found = parsed(await http.get("/metrics"))
    assert found.value("spatial_etl_up", dependency="ledger") == 0
    assert found.samples("spatial_etl_runs") == found.samples("spatial_etl_repairs") == []
    # Refused before a route was looked for: whether it needs a key is in the ledger.
    assert found.value("spatial_etl_http_requests_total", method="GET", route="unmatched", status="503") == 1


@pytest.mark.anyio
async def test_nobody_can_make_more_series(tmp_path: Path) -> None:
    async with api(Settings(data_dir=tmp_path)) as (http, clients):
        await clients.ledger.migrate()
        for n in range(20):
            await http.get(f"/nowhere/{n}")
            await http.request(f"WORD{n}", f"/runs/{n}")
            await http.get(f"/runs/{n}")
            await http.get(f"/landing/some/key/{n}")
        found = parsed(await http.get("/metrics"))
    requests = [s.labels for s in found.samples("spatial_etl_http_requests") if s.name.endswith("_total")]
    assert {(label["method"], label["route"]) for label in requests} == {
        ("GET", "unmatched"),
        ("other", "/runs/{run_id}"),
        ("GET", "/runs/{run_id}"),
        ("GET", "/landing/{key:path}"),
    }


@pytest.mark.anyio
async def test_what_the_sweep_mends_is_counted_for_every_process(tmp_path: Path) -> None:
    async with api(Settings(data_dir=tmp_path)) as (http, clients):
        await clients.ledger.migrate()
        for _ in range(3):
            await put_running(clients.ledger, batch_id=None)
        patience = LeaseTimeouts(lease_seconds=0)
        sweep = Sweep(clients, scratch=tmp_path / "scratch", retries=Retries(3), timeouts=patience)
        repairs = await sweep.once()
        assert [repair.action for repair in repairs] == ["queued"] * 3
        found = parsed(await http.get("/metrics"))
    assert found.value("spatial_etl_repairs_total", action="queued") == 3
    assert found.value("spatial_etl_repairs_total", action="failure") == 0


def test_a_duration_falls_into_one_bucket_and_counts_in_all_above() -> None:
    counts = observed("s", 0.3, lane="a") + observed("s", 0.1, lane="a") + observed("s", 1e9, lane="a")
    ((labels, (buckets, total)),) = histograms(counts, "s").items()
    assert labels == (("lane", "a"),)
    assert [count for _, count in buckets] == [1, *(2 for _ in BUCKETS[1:]), 3]
    assert buckets[-1][0] == "+Inf"
    assert total == pytest.approx(1e9 + 0.4)
    assert counter("rows", b="2", a="1") == "rows|a=1|b=2"
