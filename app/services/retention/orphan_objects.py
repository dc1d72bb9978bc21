"""Removes orphans of the lake: objects that an attempt uploaded but never registered.

An object is removed only if a run of this ledger reserved the version in whose folder it lies, the run is over, and the
object is younger than the run. All other unknown objects stay, so that a ledger restored from a backup, or the wrong
ledger, never empties a lake.
"""

from __future__ import annotations

import logging
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from app.clients import Clients
from app.ledger import RunFilter
from app.models.base import utcnow
from app.models.manifests.manifest import LAKE_BUCKET
from app.models.page import Page
from app.models.runs.run import Run
from app.objects import ObjectInfo

logger = logging.getLogger(__name__)

_OURS = re.compile(r"(?P<dataset>[^/]+)/v(?P<version>[1-9][0-9]{0,17})/[^/]+")
_PAGE = 1000
# A file system's clock may be behind that of the host that accepted the run.
_CLOCKS = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class Orphan:
    key: str
    size: int
    run: Run


class LakeOrphans:
    """Scans the lake page by page. Each scan skips objects that an earlier one has checked."""

    def __init__(self, clients: Clients, grace_seconds: float) -> None:
        self._clients = clients
        self._grace = timedelta(seconds=grace_seconds)
        self._seen: datetime | None = None

    def forget(self) -> None:
        """Let the next scan check all objects."""
        self._seen = None

    async def remove(self) -> tuple[Orphan, ...]:
        """One scan. Raises StoreUnavailable, LedgerUnavailable; the next scan then starts again."""
        began = utcnow()
        removed = []
        async for orphan in self.find(since=self._seen):
            await self._clients.objects.delete(LAKE_BUCKET, orphan.key)
            message = f"Removed {orphan.key} ({orphan.size} bytes): it was uploaded but never registered."
            await self._clients.ledger.add_event(
                orphan.run.run_id, code="lake.orphan_removed", message=message, level="warning"
            )
            removed.append(orphan)
        # Objects that are too young now are checked by the next scan.
        self._seen = began - self._grace - _CLOCKS
        return tuple(removed)

    async def find(self, since: datetime | None = None) -> AsyncIterator[Orphan]:
        """Those that are older than the grace time, and younger than `since`."""
        until = utcnow() - self._grace
        after: str | None = ""
        while after is not None:
            listing = await self._clients.objects.list_objects(LAKE_BUCKET, after=after, limit=_PAGE)
            folders: dict[tuple[str, int], list[ObjectInfo]] = {}
            for info in listing.objects:
                match = _OURS.fullmatch(info.key)
                if match and info.modified_at < until and (since is None or info.modified_at >= since):
                    folders.setdefault((match["dataset"], int(match["version"])), []).append(info)
            for (dataset_id, version), objects in folders.items():
                for orphan in await self._orphans_of(dataset_id, version, objects):
                    yield orphan
            after = listing.next_after

    async def _orphans_of(self, dataset_id: str, version: int, objects: list[ObjectInfo]) -> list[Orphan]:
        ledger = self._clients.ledger
        asset = await ledger.get_asset(dataset_id, version)
        unregistered = [info for info in objects if asset is None or info.key not in asset.object_keys]
        if not unregistered:
            return []
        reserved = RunFilter(dataset_id=dataset_id, reserved_version=version)
        runs = (await ledger.list_runs(reserved, Page(limit=1))).items
        if not runs or not runs[0].status.is_final:
            return []
        # Read again, because the run may have registered the version before it ended.
        asset = await ledger.get_asset(dataset_id, version)
        keep = asset.object_keys if asset is not None else frozenset()
        old = runs[0].created_at - _CLOCKS
        return [Orphan(i.key, i.size, runs[0]) for i in unregistered if i.key not in keep and i.modified_at >= old]
