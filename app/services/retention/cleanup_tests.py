"""Clean-up of test runs: removes what manifests tagged `testing: true` uploaded and made.

Newest first, so that children are removed before their parents. A version with a child that is not a test stays, with
its run and manifest; so does everything that is not over or too young.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from datetime import datetime, timedelta

from pydantic import ValidationError

from app.clients import Clients
from app.errors import InvalidKey
from app.ledger import ManifestFilter
from app.models.asset import Asset
from app.models.base import utcnow
from app.models.manifests.manifest import ManifestRecord, ManifestStatus
from app.objects import check_key
from app.services.intake.dropped_manifests import archive_key
from app.services.retention.removal import Outcome, Removable, Remover
from app.services.retention.rules import manifests, runs_of, versions_of

REASON = "cleanup.testing"
# How many versions a reason names.
_NAMED = 5


async def clean_up_tests(
    clients: Clients,
    *,
    older_than: timedelta,
    dry_run: bool,
    landing_files: bool = False,
    user: str = "anonymous",
    ip: str | None = None,
) -> Outcome:
    """Remove all test runs that came in more than `older_than` ago.

    Args:
        landing_files: also remove the source files that the manifests name. Other manifests may name them too.
        dry_run: only say what would be removed.

    Raises:
        LedgerUnavailable, StoreUnavailable: the next call continues.
    """
    remover = Remover(clients, user, REASON, ip)
    things = _things(remover, utcnow() - older_than, landing_files=landing_files)
    return await remover.remove_all(things, dry_run=dry_run)


async def _things(remover: Remover, before: datetime, *, landing_files: bool) -> AsyncIterator[Removable | str]:
    async for record in manifests(remover.clients, ManifestFilter(testing=True)):
        if record.ingested_at >= before:
            yield f"{record.batch_id}: received at {record.ingested_at.isoformat()}, which is too recent."
        elif record.status is ManifestStatus.REJECTED:
            yield remover.rejected(record.batch_id)
            for thing in _objects(record, remover, landing_files=landing_files):
                yield thing
        else:
            async for each in _batch(record, remover, landing_files=landing_files):
                yield each


async def _batch(record: ManifestRecord, remover: Remover, *, landing_files: bool) -> AsyncIterator[Removable | str]:
    clients = remover.clients
    runs = await runs_of(record.batch_id, clients)
    if going := [run for run in runs if not run.status.is_final]:
        yield f"{record.batch_id}: its run {going[0].run_id} is {going[0].status}."
        return
    for run in runs:
        for asset in await versions_of(run, clients):
            if asset.deletion is not None and asset.deletion.removed_at is not None:
                continue
            if names := await _used_by_others(asset, clients):
                yield f"{record.batch_id}: {asset.dataset_id} v{asset.version} is an input of {names}."
                return
            yield remover.version(asset, keep_newest=False)
    # Before the manifest, which has their keys.
    for thing in _objects(record, remover, landing_files=landing_files):
        yield thing
    yield remover.batch(record.batch_id, runs)


async def _used_by_others(asset: Asset, clients: Clients) -> str:
    """Versions that were made from this one and are not tests, as text; empty if there are none."""
    children = await clients.ledger.list_children(((asset.dataset_id, asset.version),))
    living = [child for child in children if child.deletion is None]
    others = [f"{child.dataset_id} v{child.version}" for child in living if not _is_test(child)]
    return ", ".join(others[:_NAMED])


def _is_test(asset: Asset) -> bool:
    tags = asset.metadata.manifest.get("tags")
    return isinstance(tags, Mapping) and tags.get("testing") is True


def _objects(record: ManifestRecord, remover: Remover, *, landing_files: bool) -> list[Removable]:
    """The archived manifest with those that it supersedes, and what it names."""
    objects = [(each.object_key, each.object_etag) for each in record.earlier]
    objects.append((record.object_key, record.object_etag))
    found = [remover.landing("archived", archive_key(key, etag)) for key, etag in objects if key and etag]
    if landing_files:
        found += [remover.landing("landing", key) for key in _files_of(record)]
    return found


def _files_of(record: ManifestRecord) -> list[str]:
    """Keys of the landing zone."""
    try:
        return [check_key(file.key) for file in record.parsed().files]
    except (ValidationError, InvalidKey):
        # A rejected manifest may name anything.
        return []
