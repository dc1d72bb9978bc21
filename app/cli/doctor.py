"""The checks of `doctor`: those of /ready, what the buckets keep, and the libraries that jobs use."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Container, Mapping
from pathlib import Path
from typing import Any

from app.clients import Clients, open_clients
from app.errors import DomainError, LedgerUnavailable, LedgerUnsupported
from app.jobs.sandbox import landlock_version
from app.jobs.seccomp import denied_calls, has_seccomp
from app.models.formats import FORMATS, Format
from app.models.manifests.manifest import LAKE_BUCKET, LANDING_BUCKET
from app.services.access.api_keys import is_bound_admin
from app.services.health import PartDetails, check, readiness
from app.services.store_probe import probe_store
from app.settings import Settings
from app.storage.postgis.server import Postgis

_POLL_SECONDS = 1.0
_REINSTALL = "Reinstall the package: pip install spatial-etl."
_CORRECT_GRIDS = "Make the folder, or correct the setting."


async def examine(
    settings: Settings, *, wait: float = 0, waiting: Callable[[str], None] = lambda _: None
) -> list[PartDetails]:
    """Check every dependency. Starts no server.

    Args:
        wait: repeat the checks for up to so many seconds, until everything that is required works.
        waiting: called once with a message about what is waited for.
    """
    deadline = time.monotonic() + wait
    announced = False
    while True:
        found = await _servers(settings)
        missing = [check.name for check in found if check.required and not check.ok]
        if not missing or time.monotonic() >= deadline:
            break
        if not announced:
            waiting(f"Waiting up to {wait:g} s for: {', '.join(missing)}.")
            announced = True
        await asyncio.sleep(_POLL_SECONDS)
    return [*found, *libraries(settings.proj_grids)]


def libraries(grids: Path | None = None) -> list[PartDetails]:
    """Checks of the libraries that jobs use, in this installation. grids: the operator's folder of datum grids."""
    return [
        _check_library("gdal", _gdal),
        _check_library(
            "proj", lambda: _proj(grids), _CORRECT_GRIDS if grids and not _is_readable(grids) else _REINSTALL
        ),
        _check_library("arrow", _arrow),
        _check_library("raster", _raster),
        _sandbox(),
    ]


async def _servers(settings: Settings) -> list[PartDetails]:
    existed = settings.data_dir.is_dir()
    try:
        async with open_clients(settings) as clients:
            found = list((await readiness(clients)).checks)
            store_is_there = any(check.name == "objects" and check.ok for check in found)
            found += await _keys(clients)
            ledger_works = any(each.name == "ledger" and each.ok for each in found)
            found += await _ledger_server(clients, ledger_works)
            if store_is_there and (existed or settings.objects.backend != "local"):
                found.append(await _store(clients))
            if clients.postgis is not None:
                found = [await _with_warning(each, clients.postgis) for each in found]
    except DomainError as err:
        found = [PartDetails(name="settings", ok=False, latency_ms=0, problem=err.detail, fix=err.fix)]
    return [_explained(check, settings, existed) for check in found]


def _explained(check: PartDetails, settings: Settings, existed: bool) -> PartDetails:
    """Adapt a check to the settings: a configured server is required; explain a missing data directory or Redis."""
    if check.name == "ledger" and not check.ok and settings.ledger.url is None and not existed:
        problem = f"There is no data directory {settings.data_dir}."
        return check.model_copy(
            update={"problem": problem, "fix": "`spatial-etl serve` or `spatial-etl migrate` makes it."}
        )
    if check.name == "queue" and settings.queue.redis_url is None:
        private = {"problem": "The private Redis is not running.", "fix": "`spatial-etl serve` starts it."}
        return check if check.ok else check.model_copy(update=private)
    return check if check.name in ("sweep", "keys") else check.model_copy(update={"required": True})


async def _ledger_server(clients: Clients, ledger_works: bool) -> list[PartDetails]:
    """Whether the server of the ledger has all that the ledger needs; no check where none can lack anything."""

    async def look() -> Mapping[str, Any]:
        try:
            return await clients.ledger.try_server()
        except LedgerUnsupported:
            raise
        except LedgerUnavailable:
            if ledger_works:
                raise
            return {}  # the check of the ledger says so

    found = await check("ledger_server", look)
    return [found] if found.details or not found.ok else []


async def _keys(clients: Clients) -> list[PartDetails]:
    """A warning about API keys whose prefixes promise more than they restrict; no check without such keys."""
    from app.cli.keys import bound_admins

    try:
        bound = [key.name for key in await clients.ledger.list_api_keys() if is_bound_admin(key)]
    except DomainError:
        return []  # the check of the ledger says so
    if not bound:
        return []
    details = {"admins with prefixes": str(len(bound))}
    return [
        PartDetails(name="keys", ok=True, required=False, latency_ms=0, details=details, warning=bound_admins(bound))
    ]


async def _with_warning(found: PartDetails, postgis: Postgis) -> PartDetails:
    """Add to the check of PostGIS that its user has more rights than the engine needs."""
    if found.name != "postgis" or not found.ok:
        return found
    try:
        rights = await postgis.excess_rights()
    except DomainError:  # it has just answered: the next check says more
        return found
    if not rights:
        return found
    warning = (
        f"The user of SPATIAL_ETL_ENGINE__POSTGIS_URL has more rights than it needs ({', '.join(rights)}): it could "
        "run programs or read files on the server. Use a user with CONNECT and CREATE on this database only."
    )
    return found.model_copy(update={"warning": warning})


async def _store(clients: Clients) -> PartDetails:
    """What the store keeps of what this service relies on."""
    found: tuple[str, ...] = ()

    async def look() -> Mapping[str, Any]:
        nonlocal found
        found = await probe_store(clients.objects)
        return {"write, read, list, delete": f"{LANDING_BUCKET}, {LAKE_BUCKET}"}

    return await check("rights", look, warn=lambda _: " ".join(found) or None)


def _sandbox() -> PartDetails:
    """How the kernel confines the processes that read sources."""
    version, calls = landlock_version(), len(denied_calls()) if has_seccomp() else 0
    details = {
        "landlock": f"version {version}" if version else "none",
        "seccomp": f"{calls} system calls denied" if calls else "none",
        "covers": _covered(version),
    }
    missing = []
    if version < 4:
        what = "files and addresses" if not version else "addresses"
        missing.append(f"The kernel cannot deny {what} to readers by Landlock. Use Linux 6.7 or later (option lsm=).")
    if not calls:
        missing.append("System calls cannot be denied to readers: no seccomp, or an unknown processor.")
    warning = " ".join(missing) or None
    return PartDetails(name="sandbox", ok=True, required=False, latency_ms=0, details=details, warning=warning)


def _covered(version: int) -> str:
    return "files, programs and TCP" if version >= 4 else "files and programs" if version else "nothing"


def _check_library(name: str, examine_it: Callable[[], Mapping[str, Any]], fix: str = _REINSTALL) -> PartDetails:
    began = time.perf_counter()
    try:
        details = examine_it()
    except (ImportError, LookupError, OSError) as err:
        return PartDetails(
            name=name,
            ok=False,
            latency_ms=0,
            problem=f"{err}.",
            fix=fix,
        )
    return PartDetails(name=name, ok=True, latency_ms=round((time.perf_counter() - began) * 1000, 1), details=details)


def _gdal() -> Mapping[str, Any]:
    import pyogrio

    version = pyogrio.__gdal_version_string__
    return {
        "version": version,
        "geos": ".".join(map(str, pyogrio.__gdal_geos_version__ or ("none",))),
        "drivers": _drivers(lambda fmt: fmt.type != "raster", pyogrio.list_drivers(), version),
    }


def _raster() -> Mapping[str, Any]:
    """rasterio bundles a separate GDAL with other drivers."""
    import rasterio

    with rasterio.Env() as gdal:
        available = gdal.drivers()
    version = rasterio.__gdal_version__
    return {"version": version, "drivers": _drivers(lambda fmt: fmt.type == "raster", available, version)}


def _drivers(chosen: Callable[[Format], bool], available: Container[str], version: str) -> str:
    """The drivers that read the chosen formats. Raises LookupError for a format without a driver."""
    wanted = {fmt.name: fmt.drivers for fmt in FORMATS if fmt.available and fmt.drivers and chosen(fmt)}
    missing = [name for name, drivers in wanted.items() if not any(driver in available for driver in drivers)]
    if missing:
        raise LookupError(f"GDAL {version} cannot read {', '.join(missing)}")
    return " ".join(sorted({driver for drivers in wanted.values() for driver in drivers if driver in available}))


def _proj(grids: Path | None) -> Mapping[str, Any]:
    import pyproj
    from pyproj.datadir import get_data_dir
    from pyproj.network import is_network_enabled  # type: ignore[attr-defined] # not in the module's __all__

    from app.pipelines.common.grids import grids_in

    pyproj.CRS.from_epsg(4326)
    if grids is not None and not _is_readable(grids):
        raise FileNotFoundError(f"SPATIAL_ETL_PROJ_GRIDS names {grids}, which is no folder that can be read")
    folders = [*map(Path, get_data_dir().split(":")), *([] if grids is None else [grids])]
    return {
        "version": pyproj.proj_version_str,
        "data": ":".join(map(str, folders)),
        # A run that would need a grid warns of it, with the accuracy that it reached without.
        "grids": ", ".join(path.name for path in grids_in(folders)) or "none",
        "network": "on" if is_network_enabled() else "off",
    }


def _is_readable(folder: Path) -> bool:
    return folder.is_dir() and os.access(folder, os.R_OK | os.X_OK)


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
