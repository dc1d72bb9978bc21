"""Local copies of versions that are in the lake already, for runs that build on them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from app.errors import NotFound, RunRefused, StoreUnavailable
from app.ledger import AssetFilter
from app.models.asset import Asset
from app.models.manifest import LAKE_BUCKET
from app.models.nearest import nearest
from app.models.page import Page
from app.objects import Progress
from app.pipelines.context import Call, FetchedAsset

if TYPE_CHECKING:
    from app.clients import Clients

# Datasets and versions that a refusal names.
_NAMED = 20


def fetch_version(
    dataset_id: str, version: int | None, directory: Path, clients: Clients, call: Call, progress: Progress
) -> FetchedAsset:
    """Download the data of that version, or of the newest, into `directory`; its bytes are proven by their hash.

    Raises RunRefused: dataset_unknown, version_unknown, naming what there is, version_deleted; StoreUnavailable where
    the lake does not hold what the ledger says.
    """
    asset = call(clients.ledger.get_asset, dataset_id, version)
    if asset is None:
        raise _unknown(dataset_id, version, clients, call)
    if asset.deletion is not None:
        raise _deleted(asset)
    path = directory / f"data.{asset.s3_key.rpartition('.')[2]}"

    async def fetch() -> str | None:
        return (await clients.objects.fetch(LAKE_BUCKET, asset.s3_key, path, progress=progress)).sha256

    try:
        found = call(fetch)
    except NotFound:
        found = None
    if f"sha256:{found}" != asset.content_hash:
        # Somebody may have deleted it while it was read.
        now = call(clients.ledger.get_asset, dataset_id, asset.version)
        if now is None or now.deletion is not None:
            raise _deleted(asset)
        what = "is not in the lake" if found is None else "holds other bytes in the lake than the ledger says"
        raise StoreUnavailable(
            f"{asset.dataset_id} version {asset.version} {what} ({asset.s3_key}).",
            "Restore the object, or make the version anew.",
        )
    return FetchedAsset(asset, path)


def _deleted(asset: Asset) -> RunRefused:
    return RunRefused(
        f"Version {asset.version} of {asset.dataset_id!r} was deleted.",
        f"GET /assets/{asset.dataset_id} lists the versions that there are; leave the version out for the newest.",
        reason="version_deleted",
    )


def _unknown(dataset_id: str, version: int | None, clients: Clients, call: Call) -> RunRefused:
    async def look(where: AssetFilter) -> tuple[Asset, ...]:
        return (await clients.ledger.list_assets(where, Page(limit=_NAMED))).items

    versions = [str(asset.version) for asset in call(look, AssetFilter(dataset_id=dataset_id))]
    if versions:
        return RunRefused(
            f"The dataset {dataset_id!r} has no version {version}.",
            f"Its newest versions: {', '.join(versions)}. Leave the version out for the newest.",
            reason="version_unknown",
        )
    names = sorted({asset.dataset_id for asset in call(look, AssetFilter(latest_only=True))})
    near = nearest(dataset_id, names)
    hint = f"Did you mean {near!r}? " if near else ""
    return RunRefused(
        f"There is no dataset {dataset_id!r}.",
        f"{hint}Ingest it first. Datasets: {', '.join(map(repr, names)) or 'none'}.",
        reason="dataset_unknown",
    )
