"""Schemas that dead attempts left behind in PostGIS."""

from __future__ import annotations

import logging
import time

from app.clients import Clients
from app.errors import EngineUnavailable
from app.models.run import RunStatus
from app.storage.postgis import RunSchema, StatementFailed

logger = logging.getLogger(__name__)

_LOOK_EVERY = 10.0
_CARRIED = frozenset({RunStatus.RUNNING, RunStatus.CANCELING})


class OrphanSchemas:
    """Drops them now and then, for the sweep; without the PostGIS engine there is nothing to do."""

    def __init__(self, clients: Clients) -> None:
        self._clients = clients
        self._looked_at = -_LOOK_EVERY

    async def drop(self) -> tuple[RunSchema, ...]:
        """One look, unless the last one was just now. A server that is away is looked at the next time."""
        if self._clients.postgis is None or time.monotonic() - self._looked_at < _LOOK_EVERY:
            return ()
        self._looked_at = time.monotonic()
        try:
            return await drop_orphans(self._clients)
        except (EngineUnavailable, StatementFailed) as err:
            logger.warning("the sweep could not look at PostGIS: %s", err)
            return ()


async def drop_orphans(clients: Clients) -> tuple[RunSchema, ...]:
    """Drop the schemas whose attempt is over; what was dropped. Raises EngineUnavailable, StatementFailed.

    A schema is made only after its attempt was claimed in the ledger, so what the ledger says of a schema that is there
    already cannot be too old. A run that this ledger does not know may be another service's on the same server: its
    schema goes only when nobody is connected for it.
    """
    if clients.postgis is None:
        return ()
    dropped = []
    for schema in await clients.postgis.list_schemas():
        run = await clients.ledger.get_run(schema.run_id)
        if run is not None and run.status in _CARRIED and run.attempt == schema.attempt:
            continue
        if await clients.postgis.drop(schema, unless_used=run is None):
            dropped.append(schema)
    return tuple(dropped)
