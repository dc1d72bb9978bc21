"""The part of the sweep that removes things: what was deleted, what is kept no longer, and what nobody owns."""

from __future__ import annotations

import logging
import time
from collections import Counter

from app.clients import Clients
from app.errors import DomainError
from app.lifecycle import count
from app.models.counts import REMOVED, REMOVED_BYTES, REPAIRS, counter
from app.services import deletion, retention_rules
from app.services.lake_orphans import LakeOrphans
from app.settings import RetentionSettings

logger = logging.getLogger(__name__)


class Retention:
    """Each look does what is due. Every change is compare-and-set or may be repeated, so that several may look."""

    def __init__(self, clients: Clients, settings: RetentionSettings) -> None:
        self._clients = clients
        self._settings = settings
        self._orphans = LakeOrphans(clients, settings.orphan_grace_seconds)
        self._walked_at = -settings.orphans_seconds
        self._ruled_at = -settings.rules_seconds

    async def once(self) -> None:
        """Raises LedgerUnavailable and StoreUnavailable, after having tried everything; the next look goes on."""
        failed: list[DomainError] = []
        for part in (self._finish_deletions, self._apply_rules, self._walk_the_lake):
            try:
                await part()
            except DomainError as err:
                failed.append(err)
                # What was broken off may have left old objects that nobody owns any more.
                self._orphans.forget()
        if failed:
            raise failed[0]

    async def _finish_deletions(self) -> None:
        for asset in await deletion.finish(self._clients):
            logger.info("%s version %s: its objects are gone", asset.dataset_id, asset.version)

    async def _apply_rules(self) -> None:
        if time.monotonic() - self._ruled_at < self._settings.rules_seconds:
            return
        for name, outcome in (await retention_rules.apply(self._clients, self._settings)).items():
            if outcome.removed.total():
                logger.info("%s: removed %s", name, dict(outcome.removed))
        self._ruled_at = time.monotonic()

    async def _walk_the_lake(self) -> None:
        if time.monotonic() - self._walked_at >= self._settings.orphans_seconds:
            await self._remove_orphans()
            self._walked_at = time.monotonic()

    async def _remove_orphans(self) -> None:
        removed = await self._orphans.remove()
        amounts: Counter[str] = Counter()
        for orphan in removed:
            amounts[counter(REPAIRS, action="orphan_removed")] += 1
            amounts[counter(REMOVED, kind="orphan")] += 1
            amounts[counter(REMOVED_BYTES, kind="orphan")] += orphan.size
            logger.info("run %s: %s was removed from the lake", orphan.run.run_id, orphan.key)
        await count(self._clients.ledger, amounts)
