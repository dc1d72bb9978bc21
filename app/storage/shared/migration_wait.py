"""How a process waits for another one that migrates the same ledger: as long as that lives, with lines of progress."""

from __future__ import annotations

import asyncio
import logging
import time

logger = logging.getLogger(__name__)

POLL_SECONDS = 0.05
_LOG_EVERY_SECONDS = 10.0


class MigrationWait:
    """Counts the wait for one ledger. location: as messages name it."""

    def __init__(self, location: str) -> None:
        self._location = location
        self._began = time.monotonic()
        self._next_line = 1.0

    async def pause(self) -> None:
        """Wait a moment, and log now and then."""
        waited = time.monotonic() - self._began
        if waited >= self._next_line:
            logger.warning("another process migrates %s: waiting for its end, %d s so far", self._location, waited)
            self._next_line = waited + _LOG_EVERY_SECONDS
        await asyncio.sleep(POLL_SECONDS)
