"""The catalogue: datasets and their versions."""

from __future__ import annotations

from app.errors import NotFound
from app.ledger import AssetFilter, Ledger
from app.models.asset import Asset
from app.models.page import Page, Slice


async def get_version(ledger: Ledger, dataset_id: str, version: int | None) -> Asset:
    """That version, or the newest. Raises NotFound, naming the versions that there are."""
    asset = await ledger.get_asset(dataset_id, version)
    if asset is not None:
        return asset
    newest = None if version is None else await ledger.get_asset(dataset_id)
    if newest is None:
        raise NotFound(f"There is no dataset {dataset_id!r}.", "GET /assets lists the datasets.")
    raise NotFound(
        f"The dataset {dataset_id!r} has no version {version}; the newest is {newest.version}.",
        f"GET /assets/{dataset_id} lists its versions.",
    )


async def list_versions(ledger: Ledger, dataset_id: str, page: Page) -> Slice[Asset]:
    """Newest first. Raises NotFound for a dataset without versions."""
    found = await ledger.list_assets(AssetFilter(dataset_id=dataset_id), page)
    if not found.items and page.cursor is None:
        raise NotFound(f"There is no dataset {dataset_id!r}.", "GET /assets lists the datasets.")
    return found
