"""Several sweeps: one is elected, and replaced when it is gone. Real processes."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.deployment import Deployment, running_deployment
from tests.servers.redis import RedisServer
from tests.service import POINTS, manifest, wait_for


def sweep_of(service: Deployment) -> dict[str, Any]:
    """The check of the sweep at /ready, which stays ready without one."""
    response = service.http.get("/ready")
    assert response.status_code == 200
    (check,) = [check for check in response.json()["checks"] if check["name"] == "sweep"]
    found: dict[str, Any] = check
    return found


def led_by(service: Deployment) -> int | None:
    check = sweep_of(service)
    return int(check["details"]["owner"].split("/")[2]) if check["ok"] else None


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    with RedisServer(tmp_path / "redis") as started:
        yield started


def test_another_sweep_takes_over_from_one_that_is_killed_hangs_or_stops(data_dir: Path, redis: RedisServer) -> None:
    environment = {"SPATIAL_ETL_QUEUE__REDIS_URL": redis.url, "SPATIAL_ETL_LEDGER__URL": f"sqlite:///{data_dir}/ledger.sqlite",
                   "SPATIAL_ETL_SWEEP__LEASE_SECONDS": "2",
                   "SPATIAL_ETL_SWEEP__MANIFESTS_SECONDS": "0.3"}  # fmt: skip
    with running_deployment(data_dir, **environment) as service:
        (first,) = [role for role in service.roles if "sweep" in role.args]
        wait_for(lambda: led_by(service) == first.pid, "the first sweep to lead")
        second, third = service.start_role("sweep"), service.start_role("sweep")
        first.send_signal(signal.SIGKILL)
        first.wait()
        service.roles.remove(first)
        pid = wait_for(lambda: led_by(service), "another to lead")
        assert pid in (second.pid, third.pid)
        leader, other = (second, third) if pid == second.pid else (third, second)
        leader.send_signal(signal.SIGSTOP)
        wait_for(lambda: led_by(service) == other.pid, "the one that hangs to be replaced")
        leader.send_signal(signal.SIGCONT)
        other.send_signal(signal.SIGTERM)
        assert other.wait(30) == 0
        wait_for(lambda: led_by(service) == leader.pid, "the one that is left")
        service.put("p.geojson", POINTS)
        service.put("manifests/m.json", json.dumps(manifest("dropped", ("p.geojson", "GeoJSON"))).encode())
        wait_for(lambda: service.versions("dropped") == [1], "what only a leader takes in")
        assert service.http.get("/metrics").text.count("\nspatial_etl_sweep_elections_total 4.0\n") == 1
        leader.send_signal(signal.SIGTERM)
        assert leader.wait(30) == 0
        check = sweep_of(service)
        assert not check["ok"]
        assert "has stopped" in check["problem"]
        assert "spatial-etl sweep" in check["fix"]
        assert '\nspatial_etl_up{dependency="sweep"} 0.0\n' in service.http.get("/metrics").text
        assert service.http.get("/ready").status_code == 200
