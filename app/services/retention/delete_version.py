"""Delete versions: mark the version as deleted in the ledger, remove its objects, then record that they are removed.

A crash in between leaves a version that is deleted but not yet removed. `finish`, which the sweep calls, completes it.
"""

from __future__ import annotations

import json
import logging
from collections import Counter
from functools import partial

from pydantic import ValidationError

from app.clients import Clients
from app.errors import StoreUnavailable, VersionInUse
from app.ledger import Ledger, ManifestFilter
from app.models.asset import Asset, Deletion
from app.models.base import utcnow
from app.models.manifests.manifest import LAKE_BUCKET, ManifestRecord, ManifestStatus
from app.models.runs.counts import REMOVED, REMOVED_BYTES, counter
from app.runs.ending import count
from app.services.catalog import get_version
from app.services.listing import all_items, all_objects

logger = logging.getLogger(__name__)

REQUEST = "request"
_BATCH = 100


async def delete_version(
    dataset_id: str, version: int, clients: Clients, *, user: str = "anonymous", ip: str | None = None
) -> Asset:
    """Delete a version; returns the record that stays. Its objects are removed now, or once the object store is back.

    Raises NotFound, VersionDeleted, VersionIsNewest, VersionHasChildren, VersionInUse.
    """
    asset = await get_version(clients.ledger, dataset_id, version)
    await check_unused(asset, clients.ledger)
    deletion = Deletion(at=utcnow(), by=user, reason=REQUEST)
    deleted = await clients.ledger.delete_version(dataset_id, version, deletion, ip=ip)
    if deleted is None:
        return await get_version(clients.ledger, dataset_id, version)
    try:
        await remove_objects(deleted, clients)
    except StoreUnavailable as err:
        logger.warning("%s version %s is deleted, its objects go later: %s", dataset_id, version, err)
    return deleted


async def check_unused(asset: Asset, ledger: Ledger) -> None:
    """Raises VersionInUse while the run that made the version is not over, or another reads it or is queued to.

    This only gives a better message: a run that begins after this check is refused when it reads or registers.
    """
    name = f"Version {asset.version} of {asset.dataset_id!r}"
    run = await ledger.get_run(asset.run_id)
    if run is not None and not run.status.is_final:
        raise VersionInUse(f"{name} was made by run {run.run_id}, which is {run.status}.", "Wait until it is over.")
    newest = await ledger.get_asset(asset.dataset_id)
    is_newest = newest is not None and newest.version == asset.version
    for status in (ManifestStatus.QUEUED, ManifestStatus.RUNNING, ManifestStatus.CANCELING):
        where = ManifestFilter(status=status)
        async for record in all_items(partial(ledger.list_manifests, where)):
            # A run may have begun when this was the newest version.
            if _reads(record, asset, unnamed=is_newest or status is not ManifestStatus.QUEUED):
                raise VersionInUse(
                    f"{name} is read by the run of {record.batch_id!r}, which is {status}.",
                    f"Wait until it is over, or cancel it: GET /manifests/{record.batch_id} names its run.",
                )


def _reads(record: ManifestRecord, asset: Asset, *, unnamed: bool) -> bool:
    """unnamed: whether naming the dataset without a version means this one."""
    if asset.dataset_id not in json.dumps(record.manifest, ensure_ascii=False):
        return False
    try:
        parents = record.parsed().parents
    except ValidationError:
        # A manifest of an earlier release, which this one cannot run.
        return False
    wanted = (asset.version, None) if unnamed else (asset.version,)
    return any(dataset_id == asset.dataset_id and version in wanted for dataset_id, version in parents)


async def remove_objects(asset: Asset, clients: Clients) -> int:
    """Remove the whole folder of a deleted version; how many objects there were. Raises StoreUnavailable.

    A version number is used once, so everything in its folder belongs to it.
    """
    if asset.deletion is None:
        raise ValueError(f"{asset.dataset_id} version {asset.version} is not deleted.")
    removed = await remove_folder(f"{asset.dataset_id}/v{asset.version}/", clients)
    if await clients.ledger.version_removed(asset.dataset_id, asset.version, utcnow()) is not None:
        amounts = Counter({counter(REMOVED, kind="version"): 1, counter(REMOVED_BYTES, kind="version"): asset.size})
        await count(clients.ledger, amounts)
    return removed


async def remove_folder(folder: str, clients: Clients) -> int:
    """Delete every object of the lake below `folder`; how many there were."""
    objects = all_objects(clients.objects, LAKE_BUCKET, folder)
    return sum([await clients.objects.delete(LAKE_BUCKET, info.key) async for info in objects])


async def finish(clients: Clients) -> tuple[Asset, ...]:
    """Remove the objects of all deleted versions; returns those versions. Raises StoreUnavailable."""
    done: list[Asset] = []
    while found := await clients.ledger.list_deleted(_BATCH):
        for asset in found:
            await remove_objects(asset, clients)
        done += found
    return tuple(done)
