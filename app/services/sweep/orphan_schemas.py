"""Schemas that dead attempts left behind in PostGIS."""

from __future__ import annotations

import logging
import time

from app.clients import Clients
from app.errors import EngineUnavailable
from app.models.runs.run import UNDER_WAY
from app.storage.postgis.server import RunSchema, StatementFailed

logger = logging.getLogger(__name__)

_CHECK_EVERY = 10.0


class OrphanSchemas:
    """Drops them every ten seconds at most; does nothing without the PostGIS engine."""

    def __init__(self, clients: Clients) -> None:
        self._clients = clients
        self._checked_at = -_CHECK_EVERY

    async def drop(self) -> tuple[RunSchema, ...]:
        """Drop the orphans, unless that was done just now. A server that is away is logged, and tried again later."""
        if self._clients.postgis is None or time.monotonic() - self._checked_at < _CHECK_EVERY:
            return ()
        self._checked_at = time.monotonic()
        try:
            return await drop_orphans(self._clients)
        except (EngineUnavailable, StatementFailed) as err:
            logger.warning("the sweep could not reach PostGIS: %s", err)
            return ()


async def find_orphans(clients: Clients) -> list[tuple[RunSchema, bool]]:
    """The schemas whose attempt is over, each with whether the ledger knows its run.

    A schema is made after its attempt was claimed, so the ledger, read later, cannot be too old to know of it.

    Raises:
        EngineUnavailable, StatementFailed.
    """
    if clients.postgis is None:
        return []
    found = []
    for schema in await clients.postgis.list_schemas():
        run = await clients.ledger.get_run(schema.run_id)
        if run is None or run.status not in UNDER_WAY or run.attempt != schema.attempt:
            found.append((schema, run is not None))
    return found


async def drop_orphans(clients: Clients) -> tuple[RunSchema, ...]:
    """Drop what `find_orphans` finds, and return what was dropped.

    The run of a schema that is not in this ledger may belong to another service on the same server: such a schema is
    dropped only when no connection uses it.
    """
    if clients.postgis is None:
        return ()
    orphans = await find_orphans(clients)
    return tuple([schema for schema, known in orphans if await clients.postgis.drop(schema, unless_used=not known)])
