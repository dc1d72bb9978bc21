"""One thing that may go, and how rules and clean-up let it go: said in the audit trail, done, counted."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from app.clients import Clients
from app.errors import VersionDeleted, VersionHasChildren, VersionInUse, VersionIsNewest
from app.lifecycle import count
from app.models.activity import done_by
from app.models.asset import Asset, Deletion
from app.models.base import utcnow
from app.models.caller import Caller
from app.models.counts import REMOVED, counter
from app.models.manifest import LANDING_BUCKET
from app.models.run import Run
from app.services import deletion

logger = logging.getLogger(__name__)

_TELL_EVERY = 1000
_SHOWN = 1000


@dataclass(frozen=True, slots=True)
class Removable:
    """kind: of REMOVED_KINDS. act: removes it and says how many there were; 0: it had to stay, or was gone already.

    told: the act itself writes to the audit trail. peek: how many there are, of something that is many: its entry
    comes after the act, with their number, and only if there were any.
    """

    kind: str
    name: str
    act: Callable[[], Awaitable[int]]
    told: bool = False
    peek: Callable[[], Awaitable[int]] | None = None


@dataclass(slots=True)
class Outcome:
    """What went, or would go: all of it as numbers, the first of it by name. kept: what had to stay, and why."""

    removed: Counter[str] = field(default_factory=Counter)
    names: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Remover:
    """user, reason: what the audit trail says."""

    clients: Clients
    user: str
    reason: str
    ip: str | None = None

    async def remove_all(self, things: AsyncIterator[Removable | str], *, dry_run: bool) -> Outcome:
        """A text among them says what stays, and why. dry_run: nothing is changed."""
        outcome = Outcome()
        async for thing in things:
            if isinstance(thing, str):
                outcome.kept = [*outcome.kept, thing][:_SHOWN]
                continue
            if dry_run:
                number = 1 if thing.peek is None else await thing.peek()
            else:
                try:
                    number = await self._remove(thing)
                except (VersionIsNewest, VersionHasChildren, VersionInUse, VersionDeleted) as err:
                    outcome.kept = [*outcome.kept, f"{thing.name}: {err.detail}"][:_SHOWN]
                    continue
            outcome.removed[thing.kind] += number
            if number and len(outcome.names) < _SHOWN:
                outcome.names.append(f"{thing.kind} {thing.name}")
            if (done := outcome.removed.total()) and done % _TELL_EVERY == 0:
                logger.info("%s: %d things so far", self.reason, done)
        return outcome

    async def _remove(self, thing: Removable) -> int:
        if not thing.told and thing.peek is None:
            # Before the act: nothing goes without an entry, whoever dies when.
            await self._tell(thing)
        number = await thing.act()
        if number and thing.peek is not None:
            await self._tell(thing, number=number)
        if number and thing.kind != "version":
            await count(self.clients.ledger, {counter(REMOVED, kind=thing.kind): number})
        return number

    async def _tell(self, thing: Removable, **details: object) -> None:
        by = Caller(self.user, self.ip)
        entry = done_by(by, f"{thing.kind}.removed", thing.name, reason=self.reason, **details)
        await self.clients.ledger.add_activity(entry)

    def version(self, asset: Asset, *, keep_newest: bool = True) -> Removable:
        """Its act raises what `deletion.delete_version` raises."""

        async def act() -> int:
            await deletion.check_unused(asset, self.clients.ledger)
            said = Deletion(at=utcnow(), by=self.user, reason=self.reason)
            deleted = await self.clients.ledger.delete_version(
                asset.dataset_id, asset.version, said, keep_newest=keep_newest, ip=self.ip
            )
            if deleted is None:
                return 0
            await deletion.remove_objects(deleted, self.clients)
            return 1

        return Removable("version", f"{asset.dataset_id}/v{asset.version}", act, told=True)

    def rejected(self, batch_id: str) -> Removable:
        async def act() -> int:
            return int(await self.clients.ledger.remove_rejected(batch_id))

        return Removable("rejected", batch_id, act)

    def batch(self, batch_id: str, runs: Sequence[Run]) -> Removable:
        """runs: all of the batch, and over. What they left in the lake goes first: later nobody knows whose it was."""

        async def act() -> int:
            if not await self._is_free(runs):
                return 0
            await self._tell(batch)
            return int(await self.clients.ledger.remove_batch(batch_id))

        batch = Removable("batch", batch_id, act, told=True)
        return batch

    async def _is_free(self, runs: Sequence[Run]) -> bool:
        """Whether nothing is left of their versions but records."""
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
