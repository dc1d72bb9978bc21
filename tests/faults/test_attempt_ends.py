"""Every way in which a job's process ends, in real processes: each is told apart, and kept."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow as pa
import pyogrio
import pytest
import shapely

from app.settings import MiB
from tests.service import POINTS, Service, manifest, running_service, wait_for

BIG = ("big.fgb", "FlatGeobuf")
LIMIT = "SPATIAL_ETL_RUN__TIME_LIMIT_SECONDS"


def big_source() -> bytes:
    """Enough polygons that a job can be stopped in the middle of them."""
    rng = np.random.default_rng(7)
    centres = rng.uniform([10, 50], [11, 51], (60_000, 2))
    angles = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    rings = centres[:, None, :] + np.stack([np.cos(angles), np.sin(angles)], axis=1) * 1e-3
    table = pa.table({"n": np.arange(len(centres)), "geometry": shapely.to_wkb(shapely.polygons(rings))})
    out = io.BytesIO()
    pyogrio.write_arrow(
        table, out, driver="FlatGeobuf", geometry_name="geometry", geometry_type="Polygon", crs="EPSG:4326"
    )
    return out.getvalue()


@pytest.fixture(scope="module")
def source() -> bytes:
    return big_source()


@pytest.fixture(scope="module")
def service(source: bytes, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    data_dir = tmp_path_factory.mktemp("ends") / "data"
    with running_service(data_dir, SPATIAL_ETL_WORKER__PROCESSES="1", SPATIAL_ETL_RUN__MAX_ATTEMPTS="4") as started:
        started.put("big.fgb", source)
        yield started


def held(service: Service, attempt: int, run_id: str) -> psutil.Process:
    """The reader of that attempt, stopped in the middle of its transform step."""

    def look() -> psutil.Process | None:
        for reader in service.readers():
            with contextlib.suppress(psutil.NoSuchProcess):
                reader.suspend()
                run = service.run(run_id)
                if (run["attempt"], run["status"], run["step"]) == (attempt, "running", "transform"):
                    return reader
                reader.resume()
        return None

    found: psutil.Process = wait_for(look, f"attempt {attempt}")
    return found


def ends(run: dict[str, Any]) -> list[tuple[int, str]]:
    return [(each["number"], each["outcome"]) for each in run["attempts"]]


def test_a_crash_of_native_code_gets_one_more_attempt(service: Service) -> None:
    run_id = service.post(manifest("crash", BIG)).json()["run_id"]
    for attempt in (1, 2):
        reader = held(service, attempt, run_id)
        reader.send_signal(signal.SIGSEGV)
        reader.resume()
    run = service.finished(run_id)
    assert (run["status"], run["error"]["code"]) == ("failure", "segfault"), run
    assert ends(run) == [(1, "segfault"), (2, "segfault")]
    assert "SIGSEGV" in run["error"]["detail"]
    assert (run["error"]["step"], run["error"]["file"]) == ("transform", "big.fgb")
    assert run["error"]["fix"]
    assert service.versions("crash") == []


def test_what_is_killed_from_outside_goes_on_and_all_ends_are_kept(service: Service) -> None:
    run_id = service.post(manifest("mixed", BIG)).json()["run_id"]
    for attempt, number in ((1, signal.SIGKILL), (2, signal.SIGABRT)):
        reader = held(service, attempt, run_id)
        reader.send_signal(number)
        # SIGKILL does not wait for that.
        with contextlib.suppress(psutil.NoSuchProcess):
            reader.resume()
    run = service.finished(run_id)
    assert run["status"] == "success", run
    assert ends(run) == [(1, "killed"), (2, "aborted"), (3, "success")]
    for each in run["attempts"]:
        assert datetime.fromisoformat(each["started_at"]) < datetime.fromisoformat(each["ended_at"])
        assert each["worker"].count("/") == 3
    assert "signal 9" in run["attempts"][0]["reason"]
    words = [sys.executable, "-m", "app", "runs", run_id, "--url", service.url]
    shown = subprocess.run(words, check=True, capture_output=True, text=True, env=service.environment).stdout
    assert "aborted" in shown
    assert "signal 9" in shown
    assert service.versions("mixed") == [1]


JOB_OF_TOO_MUCH_MEMORY = """
import os
from app.jobs.watch import JobWatch
from app.system.processes import blame_for_memory
from app.settings import Settings

async def renew(run_id):
    return None

pid = os.fork()
if pid == 0:
    blame_for_memory()
    kept = []
    while True:
        kept.append(bytearray(os.urandom(2**20)))
with JobWatch("r1", 600.0, Settings(), renew, lambda: pid) as watch:
    end = watch.cause_of_death(os.waitpid(pid, 0)[1], 0)
print(end.outcome)
"""


@pytest.fixture
def memory_group() -> Iterator[Path]:
    """A control group with 256 MiB of memory."""
    top, own = Path("/sys/fs/cgroup/memory"), Path("/proc/self/cgroup").read_text()
    here = next((line.split(":")[2].lstrip("/") for line in own.splitlines() if ":memory:" in line), None)
    if here is None or not os.access(top / here, os.W_OK):
        pytest.skip("no control group with a memory limit can be made here")
    group = top / here / f"spatial-etl-tests-{os.getpid()}"
    group.mkdir()
    (group / "memory.limit_in_bytes").write_text(str(256 * MiB))
    yield group
    wait_for(lambda: not (group / "cgroup.procs").read_text(), "its processes to be gone")
    group.rmdir()


def test_the_kernels_kill_is_told_from_somebodys(memory_group: Path) -> None:
    """A worker and its job in a group whose memory really runs out: the kernel takes the job, and the worker knows."""
    join = f'echo $$ > {memory_group}/cgroup.procs; exec "$@"'
    words = ["sh", "-c", join, "sh", sys.executable, "-c", JOB_OF_TOO_MUCH_MEMORY]
    done = subprocess.run(words, check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "out_of_memory"


def test_a_job_that_the_alarm_does_not_reach_is_killed_for_its_time(data_dir: Path, source: bytes) -> None:
    """It stands still, as one does that is blocked in native code."""
    with running_service(data_dir, SPATIAL_ETL_WORKER__PROCESSES="1", **{LIMIT: "3"}) as service:
        service.put("big.fgb", source)
        run_id = service.post(manifest("blocked", BIG)).json()["run_id"]
        held(service, 1, run_id)
        run = service.finished(run_id)
        assert run["error"], run
        assert (run["status"], run["error"]["code"], run["attempt"]) == ("failure", "time_limit", 1), run
        assert LIMIT in run["error"]["fix"]
        assert ends(run) == [(1, "time_limit")]
        wait_for(lambda: service.scratch() == [], "scratch to be empty")


def test_an_attempt_over_its_scratch_limit_fails_at_once(data_dir: Path, source: bytes) -> None:
    """Found by the job between two batches, and by its worker where the job does not look."""
    limit = "SPATIAL_ETL_RUN__SCRATCH_LIMIT_BYTES"
    with running_service(data_dir, SPATIAL_ETL_WORKER__PROCESSES="1", **{limit: str(96 * MiB)}) as service:
        service.put("p.geojson", POINTS)
        service.put("big.fgb", source)
        assert service.ingest(manifest("small", ("p.geojson", "GeoJSON")))["status"] == "success"
        service.put("big.geojson", POINTS + b" " * 97 * MiB)
        run = service.ingest(manifest("big", ("big.geojson", "GeoJSON")))
        assert (run["error"]["code"], ends(run)) == ("scratch_limit", [(1, "scratch_limit")]), run
        assert limit in run["error"]["fix"]

        run_id = service.post(manifest("spilling", BIG)).json()["run_id"]
        held(service, 1, run_id)
        (scratch,) = wait_for(service.scratch, "its scratch directory")
        (data_dir / "scratch" / scratch / "spilled").write_bytes(b"x" * 97 * MiB)
        run = service.finished(run_id)
        assert (run["error"]["code"], ends(run)) == ("scratch_limit", [(1, "scratch_limit")]), run
        assert service.versions("big") == service.versions("spilling") == []
        wait_for(lambda: service.scratch() == [], "scratch to be empty")
