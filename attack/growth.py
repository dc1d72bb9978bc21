"""Does what a request costs grow with what is over? The same requests to a service with a small and a large ledger.

Both run at the same time and are asked in turn, so that other work of the machine delays both alike.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from app.clients import open_clients
from app.models.intents import LANES
from app.models.manifests.manifest import LANDING_BUCKET
from app.services.intake.dropped_manifests import IntakeConfig
from app.services.intake.landing_scan import LandingScanner
from app.settings import Settings
from app.storage.local.store import LocalObjectStore
from attack.client import Answer, Client
from attack.filling import BUSY, Size, filled, sqlite_url
from attack.probe import TRIES
from attack.report import Check, Part, none_of, progress
from tests.contract.ledgers import BACKENDS
from tests.service import Service, manifest, running_service

# Times the cost of an almost empty place.
LIMIT = 2.0
_TIMES, _SHORT_TIMES = 15, 10
_PAGE = 20
# Each listing of it fills a page, so that both answer with as much.
_SMALL = Size(400, _PAGE)
_LEDGERS = ("sqlite", "postgresql")


@dataclass
class Place:
    """A service over a ledger of that size."""

    client: Client
    size: Size
    _numbers: Any = field(default_factory=count)
    _posted: list[tuple[str, str]] = field(default_factory=list)
    _second_page: str = ""

    def get(self, path: str) -> Answer:
        return self.client.send("GET", path)

    def second_page(self) -> Answer:
        self._second_page = self._second_page or self.get(f"/runs?{_LISTED}").next_page()
        return self.get(self._second_page)

    def some(self) -> str:
        """The run in the middle."""
        return self.size.run_id(self.size.half + 1)

    def post(self) -> Answer:
        batch_id = f"growth-{next(self._numbers)}"
        answer = self.client.post("/manifests", manifest(batch_id, ("a.gpkg", "GPKG")))
        self._posted.append((batch_id, answer.json().get("run_id", "")))
        return answer

    def post_again(self) -> Answer:
        batch_id, _ = self._posted[-1]
        return self.client.post("/manifests", manifest(batch_id, ("a.gpkg", "GPKG")))

    def cancel(self) -> Answer:
        if not self._posted:
            self.post()
        _, run_id = self._posted.pop()
        return self.client.send("POST", f"/runs/{run_id}/cancel")

    def rerun(self) -> Answer:
        return self.client.send("POST", f"/runs/{self.size.run_id(self.size.half + next(self._numbers))}/rerun")


_LISTED = f"limit={_PAGE}"
REQUESTS: dict[str, Callable[[Place], Answer]] = {
    "GET /runs": lambda at: at.get(f"/runs?{_LISTED}"),
    "GET /runs, second page": lambda at: at.second_page(),
    "GET /runs?status=success": lambda at: at.get(f"/runs?status=success&{_LISTED}"),
    "GET /runs?status=failure, none": lambda at: at.get(f"/runs?status=failure&{_LISTED}"),
    "GET /runs?dataset_id=": lambda at: at.get(f"/runs?dataset_id={BUSY}&{_LISTED}"),
    "GET /runs/{id}": lambda at: at.get(f"/runs/{at.some()}"),
    "GET /runs/{id}/events": lambda at: at.get(f"/runs/{at.some()}/events"),
    "GET /manifests": lambda at: at.get(f"/manifests?{_LISTED}"),
    "GET /manifests/{id}": lambda at: at.get(f"/manifests/b{at.size.half + 1}"),
    "GET /assets": lambda at: at.get(f"/assets?{_LISTED}"),
    "GET /assets?keyword=": lambda at: at.get(f"/assets?keyword=grown&{_LISTED}"),
    "GET /assets/{id}": lambda at: at.get(f"/assets/{BUSY}?{_LISTED}"),
    "GET /assets/{id}/v1": lambda at: at.get(f"/assets/{BUSY}/v1"),
    "GET /assets/{id}/v1/lineage": lambda at: at.get(f"/assets/{BUSY}/v1/lineage"),
    "GET /activity": lambda at: at.get(f"/activity?{_LISTED}"),
    "GET /webhooks/deliveries": lambda at: at.get(f"/webhooks/deliveries?{_LISTED}"),
    "GET /lanes": lambda at: at.get("/lanes"),
    "GET /ready": lambda at: at.get("/ready"),
    "GET /metrics": lambda at: at.get("/metrics"),
    "POST /manifests": lambda at: at.post(),
    "POST /manifests again": lambda at: at.post_again(),
    "POST /runs/{id}/cancel": lambda at: at.cancel(),
    "POST /runs/{id}/rerun": lambda at: at.rerun(),
}


def _code(answer: Answer) -> str:
    try:
        return str(answer.json()["code"])
    except (ValueError, KeyError, TypeError):
        return ""


def compare(name: str, small: Place, large: Place, times: int) -> tuple[Check, list[str]]:
    """The ratio of one request, measured again while it is above the limit; and answers that are no success."""
    ask = REQUESTS[name]
    ratios: list[float] = []
    bad: list[str] = []
    least: tuple[float, ...] = ()
    while len(ratios) < TRIES and (not ratios or ratios[-1] > LIMIT):
        taken: dict[str, list[float]] = {"small": [], "large": []}
        for turn in range(times + 1):
            for place, at in (("small", small), ("large", large)):
                answer = ask(at)
                if not 200 <= answer.status < 300:
                    bad.append(f"{name}: {answer.status} {_code(answer)}")
                if turn:  # the first one fills caches
                    taken[place].append(answer.seconds * 1000)
        # The shortest time is the one that other work of the machine delayed least.
        least = tuple(min(taken[place]) for place in ("small", "large"))
        ratios.append(least[1] / least[0])
    return Check(name, tuple(ratios), LIMIT, "times", f"{least[0]:.1f} ms, {least[1]:.1f} ms"), bad


@asynccontextmanager
async def _opened(backend: str, folder: Path, size: Size) -> AsyncIterator[Service]:
    """A service without workers over a filled ledger."""
    data = folder / "data"
    data.mkdir(parents=True)  # nothing else runs in this loop
    if backend == "sqlite":
        async with filled(sqlite_url(data), size):
            pass
        with running_service(data, SPATIAL_ETL_WORKER__PROCESSES="0") as service:
            yield service
        return
    async with BACKENDS[backend].fresh(folder, False) as url:
        async with filled(url, size):
            pass
        environment = {"SPATIAL_ETL_LEDGER__URL": url, "SPATIAL_ETL_WORKER__PROCESSES": "0"}
        with running_service(data, **environment) as service:
            yield service


async def _requests(backend: str, folder: Path, runs: int, times: int) -> tuple[list[Check], list[str]]:
    large_size = Size(runs, runs // 400)
    checks: list[Check] = []
    bad: list[str] = []
    progress(f"growth: filling {backend} with {runs:,} runs")
    async with (
        _opened(backend, folder / f"{backend}-small", _SMALL) as small,
        _opened(backend, folder / f"{backend}-large", large_size) as large,
    ):
        with Client(small.url) as one, Client(large.url) as other:
            places = Place(one, _SMALL), Place(other, large_size)
            for name in REQUESTS:
                progress(f"growth: {name}, {backend}")
                check, wrong = compare(name, *places, times)
                checks.append(Check(f"{name}, {backend}", check.measured, check.limit, check.unit, check.details))
                bad += wrong
    return checks, bad


def touched(folder: Path, number: int) -> None:
    folder.mkdir(parents=True)
    for n in range(number):
        (folder / f"{n:07d}.bin").touch()
    # As if it had been filled a minute ago.
    os.utime(folder, (time.time() - 60,) * 2)


async def ratio(
    what: str, small: Callable[[], Awaitable[float]], large: Callable[[], Awaitable[float]], times: int = 3
) -> Check:
    """As `compare`, of functions that measure themselves: milliseconds for each thousand of what they go through."""
    ratios: list[float] = []
    least = (0.0, 0.0)
    while len(ratios) < TRIES and (not ratios or ratios[-1] > LIMIT):
        pairs = [(await small(), await large()) for _ in range(times)]
        least = min(few for few, _ in pairs), min(many for _, many in pairs)
        ratios.append(least[1] / least[0])
    return Check(what, tuple(ratios), LIMIT, "times", f"{least[0]:.1f} ms, {least[1]:.1f} ms for each thousand")


async def listing(folder: Path, objects: int) -> Check:
    """A listing of all objects of a folder, by page."""

    async def every(root: Path) -> float:
        store, after = LocalObjectStore(root), ""
        pages, began = 0, time.perf_counter()
        while True:
            page = await store.list_objects(LANDING_BUCKET, "", after)
            pages += 1
            if page.next_after is None:
                return (time.perf_counter() - began) * 1000 / pages
            after = page.next_after

    for name, number in (("few", 1000), ("many", objects)):
        touched(folder / name / LANDING_BUCKET / "data", number)
    return await ratio(
        f"a listing of {objects:,} objects", lambda: every(folder / "few"), lambda: every(folder / "many")
    )


async def scan(folder: Path, objects: int) -> Check:
    """One idle scan of the landing zone, with files below `manifests/` that are no manifests."""

    @asynccontextmanager
    async def scanner(data: Path, number: int) -> AsyncIterator[Callable[[], Awaitable[float]]]:
        touched(data / "objects" / LANDING_BUCKET / "manifests", number)
        async with open_clients(Settings(data_dir=data)) as clients:
            await clients.ledger.migrate()
            watch = LandingScanner(IntakeConfig(clients, frozenset(LANES), 1024))
            await watch.once()

            async def idle() -> float:
                began = time.perf_counter()
                await watch.once()
                return (time.perf_counter() - began) * 1_000_000 / number

            yield idle

    async with scanner(folder / "idle-few", 1000) as few, scanner(folder / "idle-many", objects) as many:
        return await ratio(f"an idle scan over {objects:,} files that are no manifests", few, many)


async def _measure(folder: Path, part: Part, runs: int, objects: int, times: int) -> None:
    bad: list[str] = []
    for backend in _LEDGERS:
        try:
            checks, wrong = await _requests(backend, folder, runs, times)
        except pytest.skip.Exception as err:
            part.untried.append(f"{backend}: {err}")
            continue
        part.checks += checks
        bad += wrong
    part.checks.append(none_of("answers that are no success", bad))
    progress("growth: listing and scan")
    part.checks += [await listing(folder, objects), await scan(folder, objects)]


def growth(folder: Path, *, short: bool, seed: int) -> Part:
    """Requests to a service with many runs, in times of those to one with few; listing and scan of many objects."""
    del seed
    runs, objects = (4_000, 6_000) if short else (200_000, 60_000)
    part = Part("growth", f"{runs:,} runs and {objects:,} objects, beside {_SMALL.runs} and 1,000")
    folder.mkdir()
    asyncio.run(_measure(folder, part, runs, objects, _SHORT_TIMES if short else _TIMES))
    return part
