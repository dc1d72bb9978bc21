"""What the service answers under load: python -m bench.load PROFILE RUNS prints JSON.

RUNS manifests, each of ten points, are posted as fast as the API takes them; then runs are polled with If-None-Match
while the workers carry the rest; the clock stops when the last run is over. The client writes and reads HTTP/1.1
itself: another would take more of the processors, which client, API and workers share, than the API does.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median, quantiles
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

from app.settings import RunSettings, SweepSettings
from bench.latency import collection, service

CONNECTIONS = 8
POLL_SECONDS = 5.0
LONGEST = 900.0
KEY = "bench/load.geojson"


Check = Callable[[int, dict[str, str], bytes], None]


@dataclass
class Client:
    """One kept connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def ask(self, request: bytes) -> tuple[int, dict[str, str], bytes]:
        self.writer.write(request)
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:] if line)}
        body = await self.reader.readexactly(int(headers.get("content-length", 0)))
        return int(head[0].split(" ", 2)[1]), headers, body


@dataclass
class Load:
    """Requests as they come out of `make`, over some connections, for as long as `more` says so."""

    host: str
    port: int
    seconds: list[float] = field(default_factory=list)

    async def drive(self, make: Callable[[], bytes | None], check: Check) -> float:
        """Seconds from the first request to the last answer; `make` ends it with None."""

        async def one() -> None:
            reader, writer = await asyncio.open_connection(self.host, self.port)
            client = Client(reader, writer)
            while (request := make()) is not None:
                began = time.perf_counter()
                answer = await client.ask(request)
                self.seconds.append(time.perf_counter() - began)
                check(*answer)
            writer.close()

        began = time.perf_counter()
        await asyncio.gather(*(one() for _ in range(CONNECTIONS)))
        return time.perf_counter() - began

    def summary(self, elapsed: float) -> dict[str, float]:
        shares = quantiles(self.seconds, n=100)
        return {
            "requests": len(self.seconds),
            "per_second": round(len(self.seconds) / elapsed, 1),
            "median_ms": round(median(self.seconds) * 1000, 2),
            "p99_ms": round(shares[98] * 1000, 2),
        }


async def measure(url: str, runs: int) -> dict[str, Any]:
    parts = urlsplit(url)
    host, port = parts.hostname or "127.0.0.1", parts.port or 80
    reader, writer = await asyncio.open_connection(host, port)
    body = json.dumps(collection(1)).encode()
    status, _, _ = await Client(reader, writer).ask(request("PUT", f"/landing/{KEY}", body))
    assert status in (200, 201), status
    writer.close()

    # The first requests wait for one-time work: compiling statements and opening connections.
    first = posts_of(CONNECTIONS, "bench-first")
    await Load(host, port).drive(lambda: next(first, None), lambda status, _headers, answer: _is(status, 202, answer))

    began = time.perf_counter()
    places: list[str] = []
    posts, polls = Load(host, port), Load(host, port)
    taken = posts_of(runs)

    def accepted(status: int, headers: dict[str, str], answer: bytes) -> None:
        _is(status, 202, answer)
        places.append(headers["location"])

    posted = posts.summary(await posts.drive(lambda: next(taken, None), accepted))
    unchanged = 0
    known: dict[str, str] = {}
    turn = 0

    def poll() -> bytes | None:
        nonlocal turn
        if time.perf_counter() > until:
            return None
        turn += 1
        place = places[-1 - turn % min(100, len(places))]
        return request("GET", place, b"", ("If-None-Match", known.get(place, '"0"')))

    def polled(status: int, _headers: dict[str, str], _answer: bytes) -> None:
        nonlocal unchanged
        if status not in (200, 304):
            raise RuntimeError(f"GET of a run: {status}")
        unchanged += status == 304

    # The last hundred are queued for long: their ETags stay as they are.
    reader, writer = await asyncio.open_connection(host, port)
    for place in places[-100:]:
        _, headers, _ = await Client(reader, writer).ask(request("GET", place))
        known[place] = headers["etag"]
    writer.close()
    until = time.perf_counter() + POLL_SECONDS
    asked = polls.summary(await polls.drive(poll, polled))
    asked["not_modified"] = unchanged
    over = await _until_over(host, port, runs + CONNECTIONS)
    elapsed = time.perf_counter() - began
    if over["success"] != runs + CONNECTIONS:
        raise RuntimeError(f"of {runs + CONNECTIONS} runs these are over: {over}")
    return {"posts": posted, "polls": asked, "runs": {"count": runs, "by_status": over, "seconds": round(elapsed, 1),
            "per_second": round(runs / elapsed, 2)}}  # fmt: skip


def _is(status: int, wanted: int, answer: bytes = b"") -> None:
    if status != wanted:
        raise RuntimeError(f"{status} instead of {wanted}: {answer[:500]!r}")


async def _until_over(host: str, port: int, runs: int) -> dict[str, int]:
    reader, writer = await asyncio.open_connection(host, port)
    client, limit = Client(reader, writer), time.monotonic() + LONGEST
    while time.monotonic() < limit:
        found: dict[str, int] = {}
        for status in ("success", "failure", "canceled"):
            found[status] = await _count(client, status)
        if sum(found.values()) >= runs:
            writer.close()
            return found
        await asyncio.sleep(0.5)
    raise RuntimeError(f"{runs} runs were not over after {LONGEST} s: {found}")


async def _count(client: Client, status: str) -> int:
    found, cursor = 0, f"/runs?status={status}&limit=1000"
    while True:
        _, headers, body = await client.ask(request("GET", cursor))
        found += len(json.loads(body)["items"])
        link = headers.get("link", "")
        if 'rel="next"' not in link:
            return found
        parts = urlsplit(link.partition("<")[2].partition(">")[0])
        cursor = f"{parts.path}?{parts.query}"


def posts_of(runs: int, name: str = "bench-load") -> Iterator[bytes]:
    for number in range(runs):
        document = {
            "batch_id": f"{name}-{number}",
            "uploader": "bench",
            "intent": "ingest_vector",
            "files": [{"path": f"s3://landing-zone/{KEY}", "type": "vector", "format": "GeoJSON"}],
            "metadata": {"title": "bench", "description": "", "source": "", "license": "", "attribution": ""},
        }
        yield request("POST", "/manifests", json.dumps(document).encode(), ("Content-Type", "application/json"))


def request(method: str, target: str, body: bytes = b"", *headers: tuple[str, str]) -> bytes:
    lines = [f"{method} {target} HTTP/1.1", "Host: bench", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


@contextmanager
def embedded() -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="spatial-etl-bench-") as folder, service(Path(folder)) as url:
        yield url


# The defaults of the service: tests use shorter times.
_DEFAULTS = {
    "SPATIAL_ETL_SWEEP__INTERVAL_SECONDS": str(SweepSettings().interval_seconds),
    "SPATIAL_ETL_RUN__LEASE_SECONDS": str(RunSettings().lease_seconds),
    "SPATIAL_ETL_RUN__HEARTBEAT_SECONDS": str(RunSettings().heartbeat_seconds),
    "SPATIAL_ETL_RUN__BACKOFF_SECONDS": str(RunSettings().backoff_seconds),
}


@contextmanager
def deployed() -> Iterator[str]:
    """Separate role processes, two of them workers, over PostgreSQL as the ledger, Redis, and the S3 API of a radosgw.

    Raises ImportError without the packages of the tests, whose servers these are.
    """
    from tests.deployment import running_deployment
    from tests.servers import postgres, s3
    from tests.servers.redis import RedisServer
    from tests.servers.relay import emptied, sync_client

    store, ledger, prefix = s3.server("radosgw"), postgres.start_server(), f"b{uuid4().hex[:10]}-"
    with tempfile.TemporaryDirectory(prefix="spatial-etl-bench-") as folder:
        data = Path(folder) / "data"
        data.mkdir()
        with (
            RedisServer(Path(folder) / "redis") as redis,
            emptied(sync_client(store), f"{prefix}landing-zone", f"{prefix}data-lake"),
            running_deployment(
                data,
                **_DEFAULTS,
                SPATIAL_ETL_LEDGER__URL=ledger.url.replace("postgresql://", "postgresql+asyncpg://"),
                SPATIAL_ETL_QUEUE__REDIS_URL=redis.url,
                SPATIAL_ETL_OBJECTS__BACKEND="s3",
                SPATIAL_ETL_OBJECTS__ENDPOINT=store.endpoint,
                SPATIAL_ETL_OBJECTS__ACCESS_KEY=store.access_key,
                SPATIAL_ETL_OBJECTS__SECRET_KEY=store.secret_key,
                SPATIAL_ETL_OBJECTS__BUCKET_PREFIX=prefix,
            ) as roles,
        ):
            roles.start_role("worker")
            yield roles.url
    ledger.stop()


PROFILES = {"embedded": embedded, "deployed": deployed}


def main(profile: str, runs: int) -> dict[str, Any]:
    try:
        with PROFILES[profile]() as url:
            return asyncio.run(measure(url, runs))
    except ImportError as err:
        return {"skipped": f"it needs the packages of the tests ({err.name})"}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(main(sys.argv[1], int(sys.argv[2]))) + "\n")
