"""One way to open everything that the service talks to, for the API, the workers and the command line alike."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from app.ledger import Ledger
from app.objects import ObjectStore
from app.queue import RunQueue, redis_url
from app.settings import Settings
from app.storage.ledger_sql import open_sql_ledger
from app.storage.objects_local import LocalObjectStore


@dataclass(frozen=True, slots=True)
class Clients:
    ledger: Ledger
    objects: ObjectStore
    queue: RunQueue


@asynccontextmanager
async def open_clients(settings: Settings) -> AsyncIterator[Clients]:
    """Open the clients that the settings choose; close them again in the reverse order."""
    async with open_sql_ledger(settings.ledger_url) as ledger:
        queue = RunQueue(redis_url(settings), settings.queue.name, settings.run.time_limit_seconds)
        try:
            yield Clients(ledger, LocalObjectStore(settings.objects_dir), queue)
        finally:
            queue.close()
