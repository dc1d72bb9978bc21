"""How retention rules and the clean-up of tests remove things: audit entry, removal, counters."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from app.clients import Clients
from app.errors import VersionDeleted, VersionHasChildren, VersionInUse, VersionIsNewest
from app.models.asset import Asset, Deletion
from app.models.base import utcnow
from app.models.caller import Caller
from app.models.manifests.manifest import LANDING_BUCKET
from app.models.runs.activity import done_by
from app.models.runs.counts import REMOVED, counter
from app.models.runs.run import Run
from app.runs.ending import count
from app.services.retention import delete_version as deletion

logger = logging.getLogger(__name__)

_LOG_EVERY = 1000
_SHOWN = 1000


@dataclass(frozen=True, slots=True)
class Removable:
    """Something that can be removed.

    Attributes:
        kind: one of REMOVED_KINDS.
        name: as it is shown and written to the audit trail.
        act: removes it; returns how many things that were, 0 when it had to stay or did not exist any more.
        writes_audit: `act` writes the audit entry itself.
        count_matching: for many things at once: how many would be removed. Their one audit entry has the number, so it
            is written after `act`, and only if there were any.
    """

    kind: str
    name: str
    act: Callable[[], Awaitable[int]]
    writes_audit: bool = False
    count_matching: Callable[[], Awaitable[int]] | None = None


@dataclass(slots=True)
class Outcome:
    """What was removed, or would be. removed: numbers by kind; names: the first ones; kept: what stayed, and why."""

    removed: Counter[str] = field(default_factory=Counter)
    names: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Remover:
    """Removes things in the name of `user`; the audit trail gets user and reason."""

    clients: Clients
    user: str
    reason: str
    ip: str | None = None

    async def remove_all(self, things: AsyncIterator[Removable | str], *, dry_run: bool) -> Outcome:
        """Remove all things; a text among them goes to `kept`. dry_run: only count them."""
        outcome = Outcome()
        async for thing in things:
            if isinstance(thing, str):
                outcome.kept = [*outcome.kept, thing][:_SHOWN]
                continue
            if dry_run:
                number = 1 if thing.count_matching is None else await thing.count_matching()
            else:
                try:
                    number = await self._remove(thing)
                except (VersionIsNewest, VersionHasChildren, VersionInUse, VersionDeleted) as err:
                    outcome.kept = [*outcome.kept, f"{thing.name}: {err.detail}"][:_SHOWN]
                    continue
            outcome.removed[thing.kind] += number
            if number and len(outcome.names) < _SHOWN:
                outcome.names.append(f"{thing.kind} {thing.name}")
            if (done := outcome.removed.total()) and done % _LOG_EVERY == 0:
                logger.info("%s: removed %d things so far", self.reason, done)
        return outcome

    async def _remove(self, thing: Removable) -> int:
        if not thing.writes_audit and thing.count_matching is None:
            # Write the audit entry first, so that a crash never deletes without a record.
            await self._write_audit(thing)
        number = await thing.act()
        if number and thing.count_matching is not None:
            await self._write_audit(thing, number=number)
        if number and thing.kind != "version":
            await count(self.clients.ledger, {counter(REMOVED, kind=thing.kind): number})
        return number

    async def _write_audit(self, thing: Removable, **details: object) -> None:
        by = Caller(self.user, self.ip)
        entry = done_by(by, f"{thing.kind}.removed", thing.name, reason=self.reason, **details)
        await self.clients.ledger.add_activity(entry)

    def version(self, asset: Asset, *, keep_newest: bool = True) -> Removable:
        """Its act raises what `deletion.delete_version` raises."""

        async def act() -> int:
            await deletion.check_unused(asset, self.clients.ledger)
            deletion_record = Deletion(at=utcnow(), by=self.user, reason=self.reason)
            deleted = await self.clients.ledger.delete_version(
                asset.dataset_id, asset.version, deletion_record, keep_newest=keep_newest, ip=self.ip
            )
            if deleted is None:
                return 0
            await deletion.remove_objects(deleted, self.clients)
            return 1

        return Removable("version", f"{asset.dataset_id}/v{asset.version}", act, writes_audit=True)

    def rejected(self, batch_id: str) -> Removable:
        async def act() -> int:
            return int(await self.clients.ledger.remove_rejected(batch_id))

        return Removable("rejected", batch_id, act)

    def batch(self, batch_id: str, runs: Sequence[Run]) -> Removable:
        """A batch with all of its runs, which are over. Their objects in the lake are removed before their records."""

        async def act() -> int:
            if not await self._has_no_versions(runs):
                return 0
            await self._write_audit(batch)
            return int(await self.clients.ledger.remove_batch(batch_id))

        batch = Removable("batch", batch_id, act, writes_audit=True)
        return batch

    async def _has_no_versions(self, runs: Sequence[Run]) -> bool:
        """Remove unregistered objects of the runs; whether no version of them has objects any more."""
        for run in runs:
            if run.reserved_version is None:
                continue
            asset = await self.clients.ledger.get_asset(run.partition_key, run.reserved_version)
            if asset is None:
                await deletion.remove_folder(f"{run.partition_key}/v{run.reserved_version}/", self.clients)
            elif asset.deletion is None or asset.deletion.removed_at is None:
                return False
        return True

    def landing(self, kind: str, key: str, etag: str | None = None) -> Removable:
        """An object of the landing zone."""

        async def act() -> int:
            return int(await self.clients.objects.delete(LANDING_BUCKET, key, etag=etag))

        return Removable(kind, key, act)
