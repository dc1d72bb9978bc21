"""The catalogue: datasets, versions and their files, and the filters of the search."""

from __future__ import annotations

from dataclasses import replace

from app.errors import Fault, InvalidRequest, NotFound, VersionDeleted
from app.ledger import AssetFilter, Ledger
from app.messages.request import (
    BBOX_NOT_NUMBERS,
    BBOX_OUTSIDE,
    BBOX_REVERSED,
    KEYWORD_EMPTY,
    TAG_INVALID,
    TEXT_EMPTY,
)
from app.models.asset import Asset, Bounds, Companion
from app.models.numbers import real_number
from app.models.page import Page, Slice
from app.storage.shared.search_terms import words_of


async def get_version(ledger: Ledger, dataset_id: str, version: int | None) -> Asset:
    """That version, or the newest (None). Raises NotFound and VersionDeleted."""
    asset = await get_record(ledger, dataset_id, version)
    if asset.deletion is not None:
        raise _deleted(asset)
    return asset


async def get_record(ledger: Ledger, dataset_id: str, version: int | None) -> Asset:
    """As `get_version`, but a deleted version gives its remaining record."""
    asset = await ledger.get_asset(dataset_id, version)
    if asset is not None:
        return asset
    newest = None if version is None else await ledger.get_asset(dataset_id)
    if newest is None:
        raise await _no_version(ledger, dataset_id)
    raise NotFound(
        f"The dataset {dataset_id!r} has no version {version}; the newest is {newest.version}.",
        f"GET /assets/{dataset_id} lists its versions.",
    )


async def list_versions(ledger: Ledger, dataset_id: str, page: Page, *, deleted: bool = False) -> Slice[Asset]:
    """Newest first. Raises NotFound for a dataset without versions, VersionDeleted for one whose versions all were."""
    found = await ledger.list_assets(AssetFilter(dataset_id=dataset_id, deleted=deleted), page)
    if not found.items and page.cursor is None:
        raise await _no_version(ledger, dataset_id)
    return found


async def _no_version(ledger: Ledger, dataset_id: str) -> NotFound | VersionDeleted:
    deleted = await ledger.list_assets(AssetFilter(dataset_id=dataset_id, deleted=True), Page(limit=1))
    if deleted.items:
        return VersionDeleted(
            f"All versions of {dataset_id!r} were deleted.", f"GET /assets/{dataset_id}?deleted=true lists them."
        )
    return NotFound(f"There is no dataset {dataset_id!r}.", "GET /assets lists the datasets.")


def _deleted(asset: Asset) -> VersionDeleted:
    assert asset.deletion is not None  # noqa: S101 # checked by the caller
    return VersionDeleted(
        f"Version {asset.version} of {asset.dataset_id!r} was deleted at {asset.deletion.at.isoformat()} by "
        f"{asset.deletion.by} ({asset.deletion.reason}).",
        f"GET /assets/{asset.dataset_id} lists the remaining versions. The lineage of this one can still be read.",
    )


def files_of(asset: Asset) -> tuple[Companion, ...]:
    """The data file, then its companions (preview, quarantined rows)."""
    # In the lake the name contains a part of the hash.
    name = f"data.{asset.s3_key.rpartition('.')[2]}"
    data = Companion(name=name, s3_key=asset.s3_key, size=asset.size, content_hash=asset.content_hash)
    return (data, *asset.companions)


def get_file(asset: Asset, name: str) -> Companion:
    """The file of that name. Raises NotFound."""
    files = files_of(asset)
    for file in files:
        if file.name == name:
            return file
    raise NotFound(
        f"Version {asset.version} of {asset.dataset_id!r} has no file {name[:80]!r}.",
        f"It has {', '.join(file.name for file in files)}.",
    )


def search_filter(where: AssetFilter, bbox: str | None) -> AssetFilter:
    """`where` with the parsed `bbox`. Raises InvalidRequest with all faults of the filters."""
    faults = _text_faults(where)
    box = None
    if bbox is not None:
        box, wrong = _bbox(bbox)
        faults += wrong
    if faults:
        raise InvalidRequest(" ".join(fault.detail for fault in faults), faults[0].fix, faults)
    return replace(where, bbox=box)


def _text_faults(where: AssetFilter) -> list[Fault]:
    """Filters that could never match, or would match everything."""
    faults = []
    for position, keyword in enumerate(where.keywords):
        if not keyword.strip():
            faults.append(KEYWORD_EMPTY(f"query/keyword/{position}"))
    for position, tag in enumerate(where.tags):
        if tag.find(":") < 1:
            faults.append(TAG_INVALID(f"query/tag/{position}", tag=tag[:80]))
    if where.text is not None and not words_of(where.text):
        faults.append(TEXT_EMPTY("query/text", text=where.text[:80]))
    return faults


def _bbox(text: str) -> tuple[Bounds | None, list[Fault]]:
    sides = [number for part in text.split(",") if (number := real_number(part.strip())) is not None]
    if len(sides) != len(Bounds.model_fields) or text.count(",") != len(sides) - 1:
        return None, [BBOX_NOT_NUMBERS("query/bbox", text=text[:80])]
    minx, miny, maxx, maxy = sides
    faults = []
    for name, value, most in (("minx", minx, 180), ("miny", miny, 90), ("maxx", maxx, 180), ("maxy", maxy, 90)):
        if abs(value) > most:
            faults.append(BBOX_OUTSIDE("query/bbox", side=name, value=value, most=most))
    if miny > maxy:
        faults.append(BBOX_REVERSED("query/bbox", miny=miny, maxy=maxy))
    return Bounds(minx=minx, miny=miny, maxx=maxx, maxy=maxy), faults
