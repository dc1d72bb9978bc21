"""One way to open everything that the service talks to, for the API, the workers and the command line alike."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from app.lanes import LaneRules, Lanes
from app.ledger import Ledger
from app.objects import ObjectStore
from app.queue import RunQueue, redis_url
from app.settings import Settings
from app.storage.objects_local import LocalObjectStore
from app.storage.postgis import Postgis


@dataclass(frozen=True, slots=True)
class Clients:
    ledger: Ledger
    objects: ObjectStore
    queue: RunQueue
    lanes: Lanes
    postgis: Postgis | None = None


@asynccontextmanager
async def open_clients(settings: Settings) -> AsyncIterator[Clients]:
    """Open the clients that the settings choose; close them again in the reverse order."""
    async with AsyncExitStack() as stack:
        ledger = await stack.enter_async_context(open_ledger(settings))
        objects = await stack.enter_async_context(open_objects(settings))
        queue = RunQueue(redis_url(settings), settings.queue.name, settings.run.time_limit_seconds)
        stack.callback(queue.close)
        lanes = Lanes(ledger, LaneRules(settings.enabled_lanes, settings.lanes.by_lane, settings.queue.max_queued))
        yield Clients(ledger, objects, queue, lanes, postgis_of(settings))


def postgis_of(settings: Settings) -> Postgis | None:
    """The server of the PostGIS engine; None with the local engine. Opens nothing."""
    if settings.engine.name != "postgis" or settings.engine.postgis_url is None:
        return None
    return Postgis(settings.engine.postgis_url, settings.engine.statement_seconds)


# The drivers of a backend are imported when it is chosen: they take longer than the rest of a start.


def open_ledger(settings: Settings) -> AbstractAsyncContextManager[Ledger]:
    """The ledger behind `settings.ledger_url`: its scheme decides."""
    if settings.ledger_url.startswith(("mongodb://", "mongodb+srv://")):
        from app.storage.ledger_mongo import open_mongo_ledger

        return open_mongo_ledger(settings.ledger_url)
    from app.storage.ledger_sql import open_sql_ledger

    return open_sql_ledger(settings.ledger_url)


def prepare_clients(settings: Settings) -> None:
    """What takes long and needs no server, for a process that will fork many that open clients."""
    if settings.objects.backend == "s3":
        from app.storage.objects_s3 import read_descriptions

        read_descriptions()


@asynccontextmanager
async def open_objects(settings: Settings) -> AsyncIterator[ObjectStore]:
    """The buckets that `settings.objects` names."""
    if settings.objects.backend == "local":
        yield LocalObjectStore(settings.objects_dir)
        return
    from app.storage.objects_s3 import open_s3_store

    async with open_s3_store(settings.objects) as store:
        yield store
