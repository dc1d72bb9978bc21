"""The commands that stop runs and do them again, in real processes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.test_command_line import cli
from tests.service import POINTS, Service, manifest, running_service


@pytest.fixture
def waiting(data_dir: Path) -> Iterator[Service]:
    """A service without workers: what waits, waits."""
    with running_service(data_dir, SPATIAL_ETL_WORKER__PROCESSES="0") as started:
        yield started


def test_cancel_withdraw_and_rerun_of_what_waits(waiting: Service) -> None:
    waiting.put("p.geojson", POINTS)
    run_id = waiting.post(manifest("cli-waits", ("p.geojson", "GeoJSON"))).json()["run_id"]
    url = ("--url", waiting.url)
    refused = cli("rerun", run_id, *url, code=2)
    assert "which is queued" in refused.stderr
    assert "canceled" in cli("cancel", run_id, "--watch", *url).stdout
    late = cli("cancel", run_id, *url, "--json", code=2)
    assert json.loads(late.stdout)["code"] == "run_over"
    further = json.loads(cli("rerun", "cli-waits", "--batch", *url, "--json").stdout)
    assert (further["retry_of"], further["status"]) == (run_id, "queued")
    assert json.loads(cli("withdraw", "cli-waits", *url, "--json").stdout)["run_id"] == further["run_id"]
    assert "is over" in cli("withdraw", "cli-waits", *url, code=2).stderr


def test_rerun_follows_to_the_end(service: Service) -> None:
    service.put("cli/rerun.geojson", POINTS)
    first = service.ingest(manifest("cli-rerun", ("cli/rerun.geojson", "GeoJSON")))
    options = ("--new-version", "always", "--watch", "--json", "--url", service.url)
    second = json.loads(cli("rerun", first["run_id"], *options).stdout)
    assert (second["status"], second["reserved_version"]) == ("success", 2)
    assert "cli-rerun" in cli("rerun", first["run_id"], "--watch", "--url", service.url).stdout
    cli("cancel", first["run_id"], "--url", service.url, code=2)
    cli("cancel", first["run_id"], "--url", "http://127.0.0.1:9", code=3)
