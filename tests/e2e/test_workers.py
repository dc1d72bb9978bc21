"""Several workers in one place."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import psutil

from tests.service import POINTS, manifest, running_service, wait_for


def test_a_worker_of_several_processes_replaces_what_dies_and_stops_as_one(data_dir: Path) -> None:
    with running_service(data_dir, SPATIAL_ETL_WORKER__PROCESSES="0") as service:
        service.put("p.geojson", POINTS)
        command = [sys.executable, "-m", "app", "worker", "--processes", "2", "--data-dir", str(data_dir)]
        several = psutil.Process(subprocess.Popen(command, env=service.environment).pid)
        try:
            first = wait_for(lambda: found if len(found := several.children()) == 2 else None, "two workers")
            assert service.ingest(manifest("several", ("p.geojson", "GeoJSON")))["status"] == "success"
            first[0].kill()
            wait_for(lambda: len(set(several.children()) - set(first)) == 1, "another worker in its place")
            family = several.children(recursive=True)
        finally:
            several.terminate()
            code = several.wait(60)
        assert code == 0
        _, alive = psutil.wait_procs(family, timeout=10)
        assert not alive
