"""Opens everything that the service talks to: ledger, object store, queue and PostGIS.

The API, the workers and the command line all use it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from app.lane_limits import LaneRules, Lanes
from app.ledger import Ledger
from app.objects import ObjectStore
from app.queue.connection import redis_url
from app.queue.run_queue import RunQueue
from app.settings import Settings
from app.storage.local.store import LocalObjectStore
from app.storage.postgis.server import Postgis


@dataclass(frozen=True, slots=True)
class Clients:
    """What a process talks to. postgis: None unless the PostGIS engine is configured."""

    ledger: Ledger
    objects: ObjectStore
    queue: RunQueue
    lanes: Lanes
    postgis: Postgis | None = None


@asynccontextmanager
async def open_clients(settings: Settings) -> AsyncIterator[Clients]:
    """Open the clients that the settings choose, and close them in reverse order at the end."""
    async with AsyncExitStack() as stack:
        ledger = await stack.enter_async_context(open_ledger(settings))
        objects = await stack.enter_async_context(open_objects(settings))
        queue = RunQueue(
            redis_url(settings),
            settings.queue.name,
            settings.run.time_limit_seconds,
            max_plans=settings.plan.max_waiting,
        )
        stack.callback(queue.close)
        lanes = Lanes(ledger, LaneRules(settings.enabled_lanes, settings.lanes.by_lane, settings.queue.max_queued))
        yield Clients(ledger, objects, queue, lanes, postgis_of(settings))


def postgis_of(settings: Settings) -> Postgis | None:
    """Return the server of the PostGIS engine, or None with the local engine. Opens no connection."""
    if settings.engine.name != "postgis" or settings.engine.postgis_url is None:
        return None
    return Postgis(settings.engine.postgis_url, settings.engine.statement_seconds)


# The drivers of a backend are imported when it is chosen: importing them takes longer than the rest of the start.


def open_ledger(settings: Settings) -> AbstractAsyncContextManager[Ledger]:
    """Open the ledger of `settings.ledger_url`, whose scheme chooses MongoDB or SQL."""
    if settings.ledger_url.startswith(("mongodb://", "mongodb+srv://")):
        from app.storage.mongo.ledger import open_mongo_ledger

        return open_mongo_ledger(settings.ledger_url)
    from app.storage.sql.ledger import open_sql_ledger

    return open_sql_ledger(settings.ledger_url)


def prepare_clients(settings: Settings) -> None:
    """Do what takes long and needs no server, before a process forks others that open clients."""
    if settings.objects.backend == "s3":
        from app.storage.s3.session import preload_service_models

        preload_service_models()


@asynccontextmanager
async def open_objects(settings: Settings) -> AsyncIterator[ObjectStore]:
    """Open the object store of `settings.objects`."""
    if settings.objects.backend == "local":
        yield LocalObjectStore(settings.objects_dir)
        return
    from app.storage.s3.store import open_s3_store

    async with open_s3_store(settings.objects) as store:
        yield store
