"""Servers that go away and come back, under the roles of the deployed profile in real processes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import pytest

from tests.deployment import Deployment, running_deployment
from tests.faults.test_kill import ROWS, big_source, started
from tests.servers.postgres import fresh_database
from tests.servers.proxy import TcpProxy
from tests.servers.redis import RedisServer
from tests.service import POINTS, manifest, wait_for

__all__ = ["big_source"]


@dataclass(frozen=True)
class Outside:
    """redis: the queue. ledger: the way to the PostgreSQL that keeps the ledger."""

    redis: RedisServer
    ledger: TcpProxy
    service: Deployment


@pytest.fixture
def outside(data_dir: Path, tmp_path: Path) -> Iterator[Outside]:
    with fresh_database(postgis=False) as url, RedisServer(tmp_path / "redis") as redis:
        parts = urlsplit(url)
        assert parts.hostname is not None
        assert parts.port is not None
        with TcpProxy(parts.hostname, parts.port) as proxy:
            user = f"{parts.username}:{parts.password}" if parts.password else parts.username
            through = urlunsplit(parts._replace(netloc=f"{user}@127.0.0.1:{proxy.port}"))
            with running_deployment(
                data_dir, SPATIAL_ETL_LEDGER__URL=through, SPATIAL_ETL_QUEUE__REDIS_URL=redis.url
            ) as service:
                service.put("p.geojson", POINTS)
                yield Outside(redis, proxy, service)


def queue_is_away(service: Deployment) -> bool:
    response = service.http.get("/ready")
    assert response.status_code == 200, response.text
    (check,) = [check for check in response.json()["checks"] if check["name"] == "queue"]
    return not check["ok"] and bool(check["fix"])


def ledger_is_away(service: Deployment) -> bool:
    return service.http.get("/ready").status_code == 503


def test_the_roles_do_the_work_between_them_and_stop_when_told(outside: Outside) -> None:
    service = outside.service
    run = service.ingest(manifest("plain", ("p.geojson", "GeoJSON")))
    assert (run["status"], run["attempt"]) == ("success", 1)
    for role in ("worker", "sweep"):
        done = service.command("alive", role)
        assert done.returncode == 0, done.stderr
    assert service.stop_roles() == [0, 0, 0]


def test_without_redis_reads_and_manifests_go_on_and_the_runs_follow(outside: Outside) -> None:
    service = outside.service
    before = service.ingest(manifest("before", ("p.geojson", "GeoJSON")))
    outside.redis.kill()
    assert queue_is_away(service)
    assert service.run(before["run_id"]) == before
    assert service.versions("before") == [1]
    waiting = [service.post(manifest(f"meanwhile-{n}", ("p.geojson", "GeoJSON"))) for n in range(3)]
    assert [response.status_code for response in waiting] == [202, 202, 202]
    time.sleep(3)
    assert {service.run(response.json()["run_id"])["status"] for response in waiting} == {"queued"}
    outside.redis.start()
    runs = [service.finished(response.json()["run_id"]) for response in waiting]
    assert [(run["status"], run["attempt"]) for run in runs] == [("success", 1)] * 3
    assert [service.versions(f"meanwhile-{n}") for n in range(3)] == [[1]] * 3


def test_a_redis_that_is_away_in_mid_run_for_longer_than_a_lease_costs_nothing(
    outside: Outside, big_source: bytes
) -> None:
    """Nor does its forgetting everything: the ledger is the outbox."""
    service = outside.service
    run_id = started(service, "redis-away", big_source)
    job = service.job()
    job.suspend()
    outside.redis.kill()
    time.sleep(8)  # the lease is 6 s
    job.resume()
    run = wait_for(lambda: run if (run := service.run(run_id))["status"] == "success" else None, "the run")
    assert (run["attempt"], run["counts"]["rows_out"]) == (1, ROWS)
    for file in outside.redis.directory.rglob("*.aof*"):
        file.unlink()
    outside.redis.start()
    assert service.ingest(manifest("after", ("p.geojson", "GeoJSON")))["status"] == "success"
    assert service.versions("redis-away") == [1]


def test_a_worker_stops_when_told_though_redis_is_away(outside: Outside) -> None:
    service = outside.service
    assert service.ingest(manifest("before", ("p.geojson", "GeoJSON")))["status"] == "success"
    outside.redis.kill()
    assert queue_is_away(service)
    time.sleep(3)  # well into the worker's patience with it
    assert service.stop_roles() == [0, 0, 0]


def test_a_job_that_is_done_does_not_hold_back_its_worker(outside: Outside, big_source: bytes) -> None:
    """Redis goes away in mid-run: the job ends in the ledger, and waits with what it would tell the queue."""
    service = outside.service
    run_id = started(service, "done-without-redis", big_source)
    outside.redis.kill()
    assert service.finished(run_id)["status"] == "success"
    time.sleep(1)
    assert len(service.jobs()) == 1
    assert service.stop_roles() == [0, 0, 0]


def test_without_the_ledger_requests_are_told_to_come_again_and_nothing_accepted_is_lost(outside: Outside) -> None:
    service = outside.service
    before = service.ingest(manifest("before", ("p.geojson", "GeoJSON")))
    outside.ledger.cut()
    for response in (
        service.http.get(f"/runs/{before['run_id']}"),
        service.post(manifest("x", ("p.geojson", "GeoJSON"))),
    ):
        assert response.status_code == 503
        assert response.headers["content-type"] == "application/problem+json"
        assert int(response.headers["retry-after"]) > 0
        assert response.json()["code"] == "ledger_unavailable"
        assert response.json()["fix"]
    assert service.http.get("/health").status_code == 200
    ready = service.http.get("/ready")
    assert ready.status_code == 503
    assert {check["name"]: check["ok"] for check in ready.json()["checks"]} == {
        "ledger": False, "objects": True, "queue": True, "sweep": False,
    }  # fmt: skip
    outside.ledger.restore()
    assert service.run(before["run_id"]) == before
    # The refused manifest was not accepted: the same one is new now.
    run = service.ingest(manifest("x", ("p.geojson", "GeoJSON")))
    assert (run["status"], service.versions("x")) == ("success", [1])


@pytest.mark.parametrize("seconds", [0.5, 8.0])
def test_a_ledger_that_is_away_in_mid_run_costs_one_attempt_at_most(
    outside: Outside, big_source: bytes, seconds: float
) -> None:
    """For a moment, and for longer than a lease (6 s)."""
    service = outside.service
    run_id = started(service, "ledger-away", big_source)
    queued = service.post(manifest("queued", ("p.geojson", "GeoJSON"))).json()["run_id"]
    outside.ledger.cut()
    time.sleep(seconds)
    outside.ledger.restore()
    run = service.finished(run_id)
    assert (run["status"], run["counts"].get("rows_out")) == ("success", ROWS), run
    assert run["attempt"] <= 2
    assert service.versions("ledger-away") == [1]
    assert service.finished(queued)["status"] == "success"
    assert len(service.lake()) == 2
    assert "Traceback" not in service.log.read_text()


def test_the_roles_start_before_their_servers_say_what_is_missing_and_then_work(data_dir: Path, tmp_path: Path) -> None:
    """No crash loop: a ledger that is not migrated, and a Redis that is not there yet."""
    redis = RedisServer(tmp_path / "redis")
    with fresh_database(postgis=False) as url:
        service = Deployment(data_dir, SPATIAL_ETL_LEDGER__URL=url, SPATIAL_ETL_QUEUE__REDIS_URL=redis.url)
        try:
            service.start_api()
            for role in ("worker", "sweep"):
                assert "never gave a sign of life" in service.command("alive", role).stderr
            worker = service.start_role("worker")
            sweep = service.start_role("sweep")
            assert ledger_is_away(service)
            response = service.post(manifest("early", ("p.geojson", "GeoJSON")))
            assert response.status_code == 503
            assert "spatial-etl migrate" in response.json()["fix"]
            (ledger,) = [c for c in service.http.get("/ready").json()["checks"] if c["name"] == "ledger"]
            assert "spatial-etl migrate" in ledger["fix"]
            wait_for(lambda: "the worker waits" in service.log.read_text(), "the worker to say what it waits for")
            redis.start()
            wait_for(lambda: service.log.read_text().count("the worker waits") == 2, "the worker to see Redis")
            assert service.log.read_text().count("the sweep failed and tries again") == 1
            assert [role.poll() for role in (service.process, worker, sweep)] == [None, None, None]
            assert [service.command("alive", role).returncode for role in ("worker", "sweep")] == [0, 0]
            done = service.command("migrate")
            assert done.returncode == 0, done.stderr
            wait_for(lambda: not ledger_is_away(service), "the API to be ready")
            service.put("p.geojson", POINTS)
            assert service.ingest(manifest("early", ("p.geojson", "GeoJSON")))["status"] == "success"
        finally:
            codes = service.stop_roles()
            redis.kill()
        assert codes == [0, 0, 0], service.log.read_text()
