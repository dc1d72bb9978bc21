"""The part of the sweep that removes things: deleted versions, what retention rules expire, and orphans of the lake."""

from __future__ import annotations

import logging
import time
from collections import Counter

from app.clients import Clients
from app.errors import DomainError
from app.models.runs.counts import REMOVED, REMOVED_BYTES, REPAIRS, counter
from app.runs.ending import count
from app.services.retention import delete_version as deletion
from app.services.retention import rules as retention_rules
from app.services.retention.orphan_objects import LakeOrphans
from app.settings import RetentionSettings

logger = logging.getLogger(__name__)


class Retention:
    """Each call of `once` does what is due. All changes are compare-and-set or idempotent, so that several may run."""

    def __init__(self, clients: Clients, settings: RetentionSettings) -> None:
        self._clients = clients
        self._settings = settings
        self._orphans = LakeOrphans(clients, settings.orphan_grace_seconds)
        self._scanned_at = -settings.orphans_seconds
        self._rules_applied_at = -settings.rules_seconds

    async def once(self) -> None:
        """Try every part, then raise the first LedgerUnavailable or StoreUnavailable; the next call continues."""
        failed: list[DomainError] = []
        for part in (self._finish_deletions, self._apply_rules, self._scan_for_orphans):
            try:
                await part()
            except DomainError as err:
                failed.append(err)
                # An interrupted part may have left old objects as orphans.
                self._orphans.forget()
        if failed:
            raise failed[0]

    async def _finish_deletions(self) -> None:
        for asset in await deletion.finish(self._clients):
            logger.info("Removed the objects of %s version %s", asset.dataset_id, asset.version)

    async def _apply_rules(self) -> None:
        if time.monotonic() - self._rules_applied_at < self._settings.rules_seconds:
            return
        for name, outcome in (await retention_rules.apply(self._clients, self._settings)).items():
            if outcome.removed.total():
                logger.info("%s: removed %s", name, dict(outcome.removed))
        self._rules_applied_at = time.monotonic()

    async def _scan_for_orphans(self) -> None:
        if time.monotonic() - self._scanned_at >= self._settings.orphans_seconds:
            await self._remove_orphans()
            self._scanned_at = time.monotonic()

    async def _remove_orphans(self) -> None:
        removed = await self._orphans.remove()
        amounts: Counter[str] = Counter()
        for orphan in removed:
            amounts[counter(REPAIRS, action="orphan_removed")] += 1
            amounts[counter(REMOVED, kind="orphan")] += 1
            amounts[counter(REMOVED_BYTES, kind="orphan")] += orphan.size
            logger.info("run %s: removed the orphan %s from the lake", orphan.run.run_id, orphan.key)
        await count(self._clients.ledger, amounts)
