"""What `doctor` looks at: the service's own checks, the rights in the buckets, and the libraries jobs are made of."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Container, Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

from app.clients import Clients, open_clients
from app.errors import DomainError, StoreUnavailable
from app.jobs.confinement import landlock_version
from app.models.formats import FORMATS, Format
from app.models.manifest import LAKE_BUCKET, LANDING_BUCKET
from app.objects import ObjectStore
from app.services.health import Check, check, readiness
from app.settings import Settings

_LOOK_EVERY = 1.0
_PROBE = b"spatial-etl doctor"


async def examine(
    settings: Settings, *, wait: float = 0, waiting: Callable[[str], None] = lambda _: None
) -> list[Check]:
    """Every dependency. Opens what the settings choose, and starts nothing.

    wait: look again until everything required is there or that many seconds are over; `waiting` hears once what for.
    """
    deadline = time.monotonic() + wait
    told = False
    while True:
        found = await _servers(settings)
        missing = [check.name for check in found if check.required and not check.ok]
        if not missing or time.monotonic() >= deadline:
            break
        if not told:
            waiting(f"Waiting up to {wait:g} s for: {', '.join(missing)}.")
            told = True
        await asyncio.sleep(_LOOK_EVERY)
    return [*found, *libraries()]


def libraries() -> list[Check]:
    """What jobs are made of, in this installation."""
    return [_look("gdal", _gdal), _look("proj", _proj), _look("arrow", _arrow), _look("raster", _raster), _walls()]


async def _servers(settings: Settings) -> list[Check]:
    existed = settings.data_dir.is_dir()
    try:
        async with open_clients(settings) as clients:
            found = list((await readiness(clients)).checks)
            store_is_there = any(check.name == "objects" and check.ok for check in found)
            if store_is_there and (existed or settings.objects.backend != "local"):
                found.append(await _rights(clients))
    except DomainError as err:
        found = [Check(name="settings", ok=False, latency_ms=0, problem=err.detail, fix=err.fix)]
    return [_explained(check, settings, existed) for check in found]


def _explained(check: Check, settings: Settings, existed: bool) -> Check:
    """What the settings explain: a server that they name is required; a private Redis is away, no data directory."""
    if check.name == "ledger" and not check.ok and settings.ledger.url is None and not existed:
        problem = f"There is no data directory {settings.data_dir}."
        return check.model_copy(
            update={"problem": problem, "fix": "`spatial-etl serve` or `spatial-etl migrate` makes it."}
        )
    if check.name == "queue" and settings.queue.redis_url is None:
        private = {"problem": "The private Redis is not running.", "fix": "`spatial-etl serve` starts it."}
        return check if check.ok else check.model_copy(update=private)
    return check if check.name == "sweep" else check.model_copy(update={"required": True})


async def _rights(clients: Clients) -> Check:
    """Write, read and delete an object below .probe/ of each bucket."""

    async def look() -> Mapping[str, Any]:
        for bucket in (LANDING_BUCKET, LAKE_BUCKET):
            await _probe(clients.objects, bucket, f".probe/{uuid4().hex}")
        return {"write, read, delete": f"{LANDING_BUCKET}, {LAKE_BUCKET}"}

    return await check("rights", look)


async def _probe(objects: ObjectStore, bucket: str, key: str) -> None:
    async def body() -> AsyncIterator[bytes]:
        yield _PROBE

    fix = "Give the key of SPATIAL_ETL_OBJECTS__ACCESS_KEY the rights to list, write, read and delete there."
    step = "write"
    try:
        await objects.put(bucket, key, body())
        step = "read"
        try:
            read = b"".join([chunk async for chunk in objects.read(bucket, key)])
        finally:
            step = "delete" if step == "read" else step
            await objects.delete(bucket, key)
    except DomainError as err:
        raise StoreUnavailable(f"Cannot {step} {bucket}/{key}: {err.detail}", err.fix or fix) from err
    if read != _PROBE:
        detail = f"{bucket}/{key} came back with {len(read)} other bytes than the {len(_PROBE)} that were written."
        raise StoreUnavailable(detail, "Look what stands between this service and its object store.")


def _walls() -> Check:
    """What the kernel adds to the readers' own care."""
    version = landlock_version()
    details = {"landlock": f"version {version}" if version else "none", "covers": _covered(version)}
    missing = None
    if version < 4:
        what = "files and addresses" if not version else "addresses"
        missing = (
            f"The kernel does not keep the readers from {what}; Linux 6.7 with Landlock does (kernel option lsm=)."
        )
    return Check(name="walls", ok=True, required=False, latency_ms=0, details=details, warning=missing)


def _covered(version: int) -> str:
    return "files, programs and TCP" if version >= 4 else "files and programs" if version else "nothing"


def _look(name: str, examine_it: Callable[[], Mapping[str, Any]]) -> Check:
    began = time.perf_counter()
    try:
        details = examine_it()
    except (ImportError, LookupError, OSError) as err:
        return Check(
            name=name,
            ok=False,
            latency_ms=0,
            problem=f"{err}.",
            fix="Install the package again: pip install spatial-etl.",
        )
    return Check(name=name, ok=True, latency_ms=round((time.perf_counter() - began) * 1000, 1), details=details)


def _gdal() -> Mapping[str, Any]:
    import pyogrio

    version = pyogrio.__gdal_version_string__
    return {
        "version": version,
        "geos": ".".join(map(str, pyogrio.__gdal_geos_version__ or ("none",))),
        "drivers": _drivers(lambda fmt: fmt.type != "raster", pyogrio.list_drivers(), version),
    }


def _raster() -> Mapping[str, Any]:
    """rasterio brings a GDAL of its own, with other drivers."""
    import rasterio

    with rasterio.Env() as gdal:
        there = gdal.drivers()
    version = rasterio.__gdal_version__
    return {"version": version, "drivers": _drivers(lambda fmt: fmt.type == "raster", there, version)}


def _drivers(chosen: Callable[[Format], bool], there: Container[str], version: str) -> str:
    """Those that read the chosen formats. Raises LookupError for a format that none reads."""
    wanted = {fmt.name: fmt.drivers for fmt in FORMATS if fmt.available and fmt.drivers and chosen(fmt)}
    missing = [name for name, drivers in wanted.items() if not any(driver in there for driver in drivers)]
    if missing:
        raise LookupError(f"GDAL {version} cannot read {', '.join(missing)}")
    return " ".join(sorted({driver for drivers in wanted.values() for driver in drivers if driver in there}))


def _proj() -> Mapping[str, Any]:
    import pyproj
    from pyproj.datadir import get_data_dir
    from pyproj.network import is_network_enabled  # type: ignore[attr-defined] # not in the module's __all__

    pyproj.CRS.from_epsg(4326)
    folders = [Path(part) for part in get_data_dir().split(":")]
    grids = sum(1 for folder in folders if folder.is_dir() for _ in folder.glob("*.tif"))
    return {
        "version": pyproj.proj_version_str,
        "data": get_data_dir(),
        # Runs whose datums would need one say so in a warning, with the accuracy that they got.
        "grids": grids or "none",
        "network": "on" if is_network_enabled() else "off",
    }


def _arrow() -> Mapping[str, Any]:
    import pyarrow as pa
    import shapely
    from pyarrow import parquet

    sink = pa.BufferOutputStream()
    parquet.write_table(pa.table({"geom": [b""]}), sink, compression="zstd")
    return {
        "version": pa.__version__,
        "parquet": parquet.ParquetFile(pa.BufferReader(sink.getvalue())).metadata.format_version,
        "shapely": shapely.__version__,
        "geos": shapely.geos_version_string,
    }
