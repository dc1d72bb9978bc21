"""Local copies of versions that are in the lake already, for runs that build on them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from app.errors import NotFound, RunRefused, StoreUnavailable
from app.ledger import AssetFilter
from app.messages.job import DATASET_UNKNOWN, VERSION_DELETED, VERSION_UNKNOWN
from app.models.asset import Asset
from app.models.manifests.manifest import LAKE_BUCKET
from app.models.manifests.nearest import nearest
from app.models.page import Page
from app.objects import Progress
from app.pipelines.contract.context import Call, FetchedAsset

if TYPE_CHECKING:
    from app.clients import Clients

# Datasets and versions that a refusal names.
_NAMED = 20


def fetch_version(
    dataset_id: str, version: int | None, directory: Path, clients: Clients, call: Call, progress: Progress | None
) -> FetchedAsset:
    """Download the data of one version into `directory`, and check its hash.

    Args:
        dataset_id: of a dataset in the catalogue.
        version: its number; None for the newest.
        directory: an existing directory.
        clients: the ledger and the object store.
        call: runs their coroutines.
        progress: called during the transfer with the bytes so far; what it raises ends the transfer.

    Raises:
        RunRefused: dataset_unknown, version_unknown, version_deleted.
        StoreUnavailable: the object is missing in the lake, or has another hash than in the ledger.
    """
    asset = call(clients.ledger.get_asset, dataset_id, version)
    if asset is None:
        raise _unknown(dataset_id, version, clients, call)
    if asset.deletion is not None:
        raise VERSION_DELETED(dataset=asset.dataset_id, version=asset.version)
    path = directory / f"data.{asset.s3_key.rpartition('.')[2]}"

    async def fetch() -> str | None:
        return (await clients.objects.fetch(LAKE_BUCKET, asset.s3_key, path, progress=progress)).sha256

    try:
        found = call(fetch)
    except NotFound:
        found = None
    if f"sha256:{found}" != asset.content_hash:
        # It may have been deleted during the transfer.
        now = call(clients.ledger.get_asset, dataset_id, asset.version)
        if now is None or now.deletion is not None:
            raise VERSION_DELETED(dataset=asset.dataset_id, version=asset.version)
        what = "is missing in the lake" if found is None else "differs in the lake from its hash in the ledger"
        raise StoreUnavailable(
            f"{asset.dataset_id} version {asset.version} {what} ({asset.s3_key}).",
            "Restore the object, or ingest the dataset again.",
        )
    return FetchedAsset(asset, path)


def _unknown(dataset_id: str, version: int | None, clients: Clients, call: Call) -> RunRefused:
    async def find(where: AssetFilter) -> tuple[Asset, ...]:
        return (await clients.ledger.list_assets(where, Page(limit=_NAMED))).items

    versions = [str(asset.version) for asset in call(find, AssetFilter(dataset_id=dataset_id))]
    if versions:
        return VERSION_UNKNOWN(dataset=dataset_id, version=version, versions=", ".join(versions))
    names = sorted({asset.dataset_id for asset in call(find, AssetFilter(latest_only=True))})
    near = nearest(dataset_id, names)
    hint = f"Did you mean '{near}'? " if near else ""
    known = ", ".join(f"'{name}'" for name in names) or "none"
    return DATASET_UNKNOWN(dataset=dataset_id, hint=hint, names=known)
