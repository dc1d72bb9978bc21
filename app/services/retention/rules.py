"""The retention rules: each finds what is older than its setting allows, page by page."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from app.clients import Clients
from app.ledger import AssetFilter, ManifestFilter, RunFilter
from app.models.asset import Asset
from app.models.base import utcnow
from app.models.manifests.manifest import LAKE_BUCKET, LANDING_BUCKET, REJECTED_PREFIX, ManifestRecord, ManifestStatus
from app.models.page import Page
from app.models.runs.run import Run
from app.services.listing import all_items, all_objects
from app.services.retention.removal import Outcome, Removable, Remover
from app.settings import RetentionSettings

USER = "retention"
ARCHIVE = "archive/"
_PAGE = 500
_AT_ONCE = 1000
_OVER = (ManifestStatus.FAILURE, ManifestStatus.CANCELED, ManifestStatus.SUCCESS)

Found = AsyncIterator[Removable | str]
Rule = Callable[["Rules", Remover, datetime], Found]


async def apply(clients: Clients, settings: RetentionSettings, *, dry_run: bool = False) -> dict[str, Outcome]:
    """What each rule that is set removed, or would remove. Raises LedgerUnavailable, StoreUnavailable."""
    rules, now = Rules(clients, settings), utcnow()
    outcomes: dict[str, Outcome] = {}
    for name, rule in RULES.items():
        days: float | None = getattr(settings, name)
        if days is None and not (name == "versions_days" and settings.versions_keep is not None):
            continue
        remover = Remover(clients, USER, f"retention.{name}")
        before = now - timedelta(days=days or 0)
        outcomes[name] = await remover.remove_all(rule(rules, remover, before), dry_run=dry_run)
    return outcomes


@dataclass(frozen=True, slots=True)
class Rules:
    clients: Clients
    settings: RetentionSettings

    async def versions(self, remover: Remover, before: datetime) -> Found:
        """Newest first, so that children go before their parents."""
        seen: Counter[str] = Counter()
        async for asset in self._assets():
            seen[asset.dataset_id] += 1
            if seen[asset.dataset_id] <= (self.settings.versions_keep or 1) or asset.created_at >= before:
                continue
            children = await self.clients.ledger.list_children(((asset.dataset_id, asset.version),))
            if living := [child for child in children if child.deletion is None]:
                child = living[0]
                yield f"{asset.dataset_id}/v{asset.version}: {child.dataset_id} v{child.version} was made from it."
            else:
                yield remover.version(asset)

    async def quarantine(self, _remover: Remover, before: datetime) -> Found:
        async for asset in self._assets():
            for file in asset.companions:
                if file.name.startswith("quarantine.") and asset.created_at < before:
                    yield Removable("quarantine", file.s3_key, self._drop_file(asset, file.name, file.s3_key))

    def _drop_file(self, asset: Asset, name: str, key: str) -> Callable[[], Awaitable[int]]:
        async def act() -> int:
            ledger = self.clients.ledger
            if await ledger.remove_companion(asset.dataset_id, asset.version, name, utcnow()) is None:
                return 0
            # A crash here leaves an object that no version owns; the scan for orphans removes it.
            await self.clients.objects.delete(LAKE_BUCKET, key)
            return 1

        return act

    async def rejected_products(self, _remover: Remover, before: datetime) -> Found:
        async for info in all_objects(self.clients.objects, LAKE_BUCKET, REJECTED_PREFIX):
            if info.modified_at < before:
                yield Removable("rejected_product", info.key, self._drop_object(info.key))

    def _drop_object(self, key: str) -> Callable[[], Awaitable[int]]:
        async def act() -> int:
            return int(await self.clients.objects.delete(LAKE_BUCKET, key))

        return act

    async def run_logs(self, _remover: Remover, before: datetime) -> Found:
        done: set[str] = set()
        # A dry run finds the same runs again: read more at once until there are no others.
        while found := set(await self.clients.ledger.list_logged_runs(before, len(done) + _AT_ONCE)) - done:
            for run_id in sorted(found):
                yield Removable("run_log", run_id, self._drop_log(run_id))
            done |= found

    def _drop_log(self, run_id: str) -> Callable[[], Awaitable[int]]:
        async def act() -> int:
            return int(await self.clients.ledger.remove_log(run_id))

        return act

    async def runs(self, remover: Remover, before: datetime) -> Found:
        """Batches that are over and have no version, not even the record of a deleted one."""
        for status in _OVER:
            async for record in manifests(self.clients, ManifestFilter(status=status)):
                if record.completed_at is None or record.completed_at >= before:
                    continue
                runs = await runs_of(record.batch_id, self.clients)
                if any(not run.status.is_final for run in runs):
                    continue
                if not any([await versions_of(run, self.clients) for run in runs]):
                    yield remover.batch(record.batch_id, runs)

    async def rejected(self, remover: Remover, before: datetime) -> Found:
        async for record in manifests(self.clients, ManifestFilter(status=ManifestStatus.REJECTED)):
            if record.ingested_at < before:
                yield remover.rejected(record.batch_id)

    async def archive(self, remover: Remover, before: datetime) -> Found:
        async for info in all_objects(self.clients.objects, LANDING_BUCKET, ARCHIVE):
            if info.modified_at < before:
                yield remover.landing("archived", info.key)

    async def deliveries(self, _remover: Remover, before: datetime) -> Found:
        ledger = self.clients.ledger

        async def count_matching() -> int:
            deliveries = all_items(lambda page: ledger.list_deliveries("done", page))
            return sum([1 async for each in deliveries if each.received_at < before])

        yield _many("delivery", before, count_matching, ledger.remove_deliveries)

    async def activity(self, _remover: Remover, before: datetime) -> Found:
        ledger = self.clients.ledger

        async def count_matching() -> int:
            return sum([1 async for each in all_items(ledger.list_activity) if each.timestamp < before])

        yield _many("activity", before, count_matching, ledger.remove_activity)

    def _assets(self) -> AsyncIterator[Asset]:
        return all_items(lambda page: self.clients.ledger.list_assets(AssetFilter(), page), _PAGE)


def manifests(clients: Clients, where: ManifestFilter) -> AsyncIterator[ManifestRecord]:
    """All of them, newest first."""
    return all_items(lambda page: clients.ledger.list_manifests(where, page), _PAGE)


async def runs_of(batch_id: str, clients: Clients) -> list[Run]:
    """All runs of the batch, newest first."""
    where = RunFilter(batch_id=batch_id)
    return [run async for run in all_items(lambda page: clients.ledger.list_runs(where, page), _PAGE)]


async def versions_of(run: Run, clients: Clients) -> tuple[Asset, ...]:
    """The version that the run registered, also when it was deleted; at most one."""
    return (await clients.ledger.list_assets(AssetFilter(run_id=run.run_id, deleted=True), Page(limit=2))).items


def _many(
    kind: str,
    before: datetime,
    count_matching: Callable[[], Awaitable[int]],
    remove: Callable[[datetime, int], Awaitable[int]],
) -> Removable:
    async def act() -> int:
        total = 0
        while number := await remove(before, _AT_ONCE):
            total += number
        return total

    return Removable(kind, f"before {before.isoformat()}", act, count_matching=count_matching)


RULES: dict[str, Rule] = {
    "versions_days": Rules.versions,
    "quarantine_days": Rules.quarantine,
    "rejected_products_days": Rules.rejected_products,
    "run_logs_days": Rules.run_logs,
    "runs_days": Rules.runs,
    "rejected_days": Rules.rejected,
    "archive_days": Rules.archive,
    "deliveries_days": Rules.deliveries,
    "activity_days": Rules.activity,
}
