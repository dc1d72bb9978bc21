"""A real service in real processes, driven over HTTP as a user would."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import psutil

from app.reader import BUSY
from tests.servers import require_servers

Json = dict[str, Any]

FINAL = ("success", "failure", "canceled")
PATIENCE = 90.0


def wait_for(look: Callable[[], Any], what: str, patience: float = PATIENCE) -> Any:
    """The first true answer of `look`; fails naming `what` when it never comes."""
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        found = look()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError(f"waited {patience} s for {what}")


class Service:
    """`spatial-etl serve` on a free port with a data directory of its own."""

    def __init__(self, data_dir: Path, **environment: str) -> None:
        self.data_dir = data_dir
        # Short leases, so that a test need not wait for the production ones; one worker, since each takes 3 s to start.
        defaults = {"SPATIAL_ETL_WORKER__PROCESSES": "1",
                    "SPATIAL_ETL_SWEEP__INTERVAL_SECONDS": "0.3", "SPATIAL_ETL_RUN__LEASE_SECONDS": "6",
                    "SPATIAL_ETL_RUN__HEARTBEAT_SECONDS": "1", "SPATIAL_ETL_RUN__BACKOFF_SECONDS": "0.2"}  # fmt: skip
        clean = {
            name: value for name, value in os.environ.items() if not name.startswith(("SPATIAL_ETL_", "MANIFEST_"))
        }
        self.environment = {**clean, **defaults, **environment}
        self.log = data_dir.parent / f"{data_dir.name}.log"

    def start(self) -> None:
        require_servers()  # it has a Redis of its own
        command = [sys.executable, "-m", "app", "serve", "--port", "0", "--data-dir", str(self.data_dir), "--json"]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command, env=self.environment, stdout=subprocess.PIPE, stderr=log, text=True
            )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, f"the service did not start:\n{self.log.read_text()}"
        self.url = json.loads(line)["url"]
        self.http = httpx.Client(base_url=self.url, timeout=60, trust_env=False)

    def stop(self) -> int:
        self.http.close()
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)

    def kill_everything(self) -> None:
        """kill -9 of the supervisor and of every process below it, all at once."""
        family = [*self.processes(), psutil.Process(self.process.pid)]
        for process in family:
            process.kill()
        self.process.wait(30)
        psutil.wait_procs(family, timeout=30)
        self.http.close()

    def processes(self) -> list[psutil.Process]:
        try:
            return psutil.Process(self.process.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return []

    def workers(self) -> list[psutil.Process]:
        direct = psutil.Process(self.process.pid).children()
        return [child for child in direct if "app.worker" in " ".join(child.cmdline())]

    def jobs(self) -> list[psutil.Process]:
        """The forked processes that carry runs."""
        return [child for worker in self.workers() for child in children(worker) if not is_reader_server(child)]

    def job(self) -> psutil.Process:
        """The one that carries a run, when one does. A second one may have found its run taken, and be about to end."""
        return wait_for(lambda: found if len(found := self.jobs()) == 1 else None, "one job")[0]

    def reader_servers(self) -> list[psutil.Process]:
        return [child for worker in self.workers() for child in children(worker) if is_reader_server(child)]

    def readers(self) -> list[psutil.Process]:
        """The processes that read the sources of runs."""
        return [each for server in self.reader_servers() for each in children(server) if has_job(each)]

    # --- the API

    def put(self, key: str, body: bytes) -> Json:
        response = self.http.put(f"/landing/{quote(key)}", content=body)
        assert response.status_code in (200, 201), response.text
        return response.json()

    def post(self, manifest: Any) -> httpx.Response:
        return self.http.post("/manifests", json=manifest)

    def run(self, run_id: str) -> Json:
        response = self.http.get(f"/runs/{run_id}")
        assert response.status_code == 200, response.text
        return response.json()

    def finished(self, run_id: str, patience: float = PATIENCE) -> Json:
        """The run once it is over."""
        return wait_for(
            lambda: run if (run := self.run(run_id))["status"] in FINAL else None, f"run {run_id}", patience
        )

    def ingest(self, manifest: Json) -> Json:
        response = self.post(manifest)
        # A fixture of a module may be set up twice, when its tests do not run one after the other.
        assert response.status_code in (200, 202), response.text
        return self.finished(response.json()["run_id"])

    def versions(self, dataset_id: str) -> list[int]:
        response = self.http.get(f"/assets/{dataset_id}", params={"limit": 1000})
        return [] if response.status_code == 404 else [asset["version"] for asset in response.json()["items"]]

    def lake(self) -> list[str]:
        root = self.data_dir / "objects" / "data-lake"
        found = [path.relative_to(root) for path in root.rglob("*") if path.is_file()]
        return sorted(str(path) for path in found if not path.parts[0].startswith("."))

    def scratch(self) -> list[str]:
        root = self.data_dir / "scratch"
        return sorted(path.name for path in root.iterdir()) if root.is_dir() else []


@contextmanager
def running_service(data_dir: Path, **environment: str) -> Iterator[Service]:
    service = Service(data_dir, **environment)
    service.start()
    try:
        yield service
    finally:
        family = service.processes()
        if service.process.poll() is None:
            service.stop()
        _, alive = psutil.wait_procs(family, timeout=30)
        assert not alive, f"left running: {alive}"


def manifest(batch_id: str, *files: tuple[str, str], **changes: Any) -> Json:
    """A vector manifest over (key, format) pairs. changes: top-level fields, or `tags`."""
    tags = changes.pop("tags", {"dataset_id": batch_id})
    return {
        "batch_id": batch_id,
        "uploader": "tests",
        "intent": "ingest_vector",
        "files": [{"path": f"s3://landing-zone/{key}", "type": "vector", "format": fmt} for key, fmt in files],
        "metadata": {"title": "T", "description": "", "source": "", "license": "", "attribution": "", "tags": tags},
        **changes,
    }


def raster_manifest(batch_id: str, key: str, fmt: str = "GTiff", **more: Any) -> Json:
    """A manifest over one raster file. more: fields of the file, or `intent`."""
    document = manifest(batch_id, intent=more.pop("intent", "ingest_raster"))
    document["files"] = [{"path": f"s3://landing-zone/{key}", "type": "raster", "format": fmt, **more}]
    return document


def geojson(*features: tuple[Json | None, Json]) -> bytes:
    """A FeatureCollection of (geometry, properties) pairs."""
    rows = [{"type": "Feature", "geometry": geometry, "properties": properties} for geometry, properties in features]
    return json.dumps({"type": "FeatureCollection", "features": rows}).encode()


def point(x: float, y: float) -> Json:
    return {"type": "Point", "coordinates": [x, y]}


POINTS = geojson(*((point(i, i / 2), {"n": i, "name": f"p{i}"}) for i in range(10)))


def children(process: psutil.Process) -> list[psutil.Process]:
    """Those of now; none where the process is gone."""
    try:
        return process.children()
    except psutil.NoSuchProcess:
        return []


def has_job(reader: psutil.Process) -> bool:
    """False for one that was forked ahead of the next job."""
    try:
        return reader.name() == BUSY
    except psutil.NoSuchProcess:
        return False


def is_reader_server(process: psutil.Process) -> bool:
    try:
        return "app.reader" in process.cmdline()
    except psutil.NoSuchProcess:
        return False
