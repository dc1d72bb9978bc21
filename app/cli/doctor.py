"""What `doctor` looks at: the service's own checks, and the libraries that jobs are made of."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from app.clients import open_clients
from app.errors import DomainError
from app.models.formats import FORMATS
from app.services.health import Check, readiness
from app.settings import Settings


async def examine(settings: Settings) -> tuple[Check, ...]:
    """Every dependency. Opens what the settings choose, and starts nothing."""
    existed = settings.data_dir.is_dir()
    try:
        async with open_clients(settings) as clients:
            found = (await readiness(clients)).checks
    except DomainError as err:
        found = (Check(name="clients", ok=False, latency_ms=0, problem=err.detail, fix=err.fix),)
    return (
        *(_explained(check, settings, existed) for check in found),
        _look("gdal", _gdal),
        _look("proj", _proj),
        _look("arrow", _arrow),
    )


def _explained(check: Check, settings: Settings, existed: bool) -> Check:
    """What a stopped or never started service explains: its own Redis is away, its data directory is not there."""
    if check.name == "ledger" and not check.ok and settings.ledger.url is None and not existed:
        problem = f"There is no data directory {settings.data_dir}."
        return check.model_copy(
            update={"problem": problem, "fix": "`spatial-etl serve` or `spatial-etl migrate` makes it."}
        )
    if check.name == "queue" and not check.ok and settings.queue.redis_url is None:
        return check.model_copy(
            update={"problem": "The private Redis is not running.", "fix": "`spatial-etl serve` starts it."}
        )
    return check


def _look(name: str, examine_it: Callable[[], Mapping[str, Any]]) -> Check:
    began = time.perf_counter()
    try:
        details = examine_it()
    except (ImportError, LookupError) as err:
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

    there = pyogrio.list_drivers()
    wanted = {fmt.name: fmt.drivers for fmt in FORMATS if fmt.available and fmt.drivers}
    missing = [name for name, drivers in wanted.items() if not any(driver in there for driver in drivers)]
    if missing:
        raise LookupError(f"GDAL {pyogrio.__gdal_version_string__} cannot read {', '.join(missing)}")
    return {
        "version": pyogrio.__gdal_version_string__,
        "geos": pyogrio.__gdal_geos_version__ or "none",
        "formats": len(wanted),
    }


def _proj() -> Mapping[str, Any]:
    import pyproj
    from pyproj.datadir import get_data_dir

    pyproj.CRS.from_epsg(4326)
    return {"version": pyproj.proj_version_str, "data": get_data_dir()}


def _arrow() -> Mapping[str, Any]:
    import pyarrow
    import shapely

    return {"version": pyarrow.__version__, "shapely": shapely.__version__, "geos": shapely.geos_version_string}
