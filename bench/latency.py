"""How long a small file takes through the real service: python -m bench.latency [POSTS] prints JSON.

The clock runs from the POST of the manifest to the first answer that says `success`; the upload is not counted.
"""

from __future__ import annotations

import json
import random
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from statistics import median
from typing import Any

import httpx

FEATURES = 10
POLL_SECONDS = 0.02
START_SECONDS = 60


@contextmanager
def service(data: Path) -> Iterator[str]:
    """Start `spatial-etl serve` on a free port; the URL that it prints when it is ready."""
    log = data / "serve.log"
    command = [sys.executable, "-m", "app", "serve", "--port", "0", "--data-dir", str(data / "data")]
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
    try:
        limit = time.monotonic() + START_SECONDS
        while not (url := re.search(r"serves (http://\S+)", log.read_text())):
            if process.poll() is not None or time.monotonic() > limit:
                raise RuntimeError(f"The service did not start:\n{log.read_text()[-2000:]}")
            time.sleep(0.05)
        yield url[1]
    finally:
        process.terminate()
        process.wait(30)


def collection(seed: int) -> dict[str, Any]:
    rng = random.Random(seed)  # noqa: S311 # test data
    features = []
    for number in range(FEATURES):
        x, y, width = rng.uniform(-170, 170), rng.uniform(-80, 80), rng.uniform(0.1, 1)
        ring = [[x, y], [x + width, y], [x + width, y + width], [x, y + width], [x, y]]
        geometry = {"type": "Polygon", "coordinates": [ring]}
        features.append({"type": "Feature", "properties": {"id": number}, "geometry": geometry})
    return {"type": "FeatureCollection", "features": features}


def one_run(client: httpx.Client, number: int) -> tuple[float, dict[str, Any]]:
    key = f"bench/{number}.geojson"
    client.put(f"/landing/{key}", content=json.dumps(collection(number)).encode()).raise_for_status()
    manifest = {
        "batch_id": f"bench-{number}",
        "uploader": "bench",
        "intent": "ingest_vector",
        "files": [{"path": f"s3://landing-zone/{key}", "type": "vector", "format": "GeoJSON"}],
        "metadata": {"title": "bench", "description": "", "source": "", "license": "", "attribution": ""},
    }
    began = time.perf_counter()
    posted = client.post("/manifests", json=manifest).raise_for_status()
    while True:
        run: dict[str, Any] = client.get(posted.headers["Location"]).raise_for_status().json()
        if run["status"] == "success":
            return time.perf_counter() - began, run
        if run["status"] in {"failure", "canceled"} or time.perf_counter() - began > START_SECONDS:
            raise RuntimeError(f"The run did not succeed: {json.dumps(run)[:2000]}")
        time.sleep(POLL_SECONDS)


def measure(posts: int) -> dict[str, Any]:
    """One run to warm up, then `posts` runs, one after the other."""
    with (
        tempfile.TemporaryDirectory(prefix="spatial-etl-bench-") as folder,
        service(Path(folder)) as url,
        httpx.Client(base_url=url, timeout=30) as client,
    ):
        first, _ = one_run(client, 0)
        found = [one_run(client, number + 1) for number in range(posts)]
    inside = [
        (datetime.fromisoformat(run["completed_at"]) - datetime.fromisoformat(run["started_at"])).total_seconds()
        for _, run in found
    ]
    seconds = [each for each, _ in found]
    return {
        "features": FEATURES,
        "first_seconds": first,
        "median_seconds": median(seconds),
        "median_run": median(inside),
        "seconds": seconds,
    }


if __name__ == "__main__":
    sys.stdout.write(json.dumps(measure(int(sys.argv[1]) if len(sys.argv) > 1 else 20)))
