"""The catalogue: datasets, their versions, the files of a version, and what they are searched by."""

from __future__ import annotations

import math
from dataclasses import replace

from app.errors import Fault, InvalidRequest, NotFound, VersionDeleted
from app.ledger import AssetFilter, Ledger
from app.models.asset import Asset, Bounds, Companion
from app.models.page import Page, Slice
from app.storage.ledger_search import words_of

_BBOX = "Give minx,miny,maxx,maxy in degrees: 5.9,45.8,10.5,47.9; minx > maxx goes across the antimeridian."


async def get_version(ledger: Ledger, dataset_id: str, version: int | None) -> Asset:
    """That version, or the newest. Raises NotFound, naming the versions that there are, and VersionDeleted."""
    asset = await get_record(ledger, dataset_id, version)
    if asset.deletion is not None:
        raise _deleted(asset)
    return asset


async def get_record(ledger: Ledger, dataset_id: str, version: int | None) -> Asset:
    """As `get_version`, and of a deleted version what is left of it."""
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
    assert asset.deletion is not None  # noqa: S101 # asked before
    return VersionDeleted(
        f"Version {asset.version} of {asset.dataset_id!r} was deleted at {asset.deletion.at.isoformat()} by "
        f"{asset.deletion.by} ({asset.deletion.reason}).",
        f"GET /assets/{asset.dataset_id} lists the versions that there are; the lineage of this one can still be read.",
    )


def files_of(asset: Asset) -> tuple[Companion, ...]:
    """The data, then what lies beside it."""
    # Not as in the lake, where a part of the hash is in the name.
    name = f"data.{asset.s3_key.rpartition('.')[2]}"
    data = Companion(name=name, s3_key=asset.s3_key, size=asset.size, content_hash=asset.content_hash)
    return (data, *asset.companions)


def get_file(asset: Asset, name: str) -> Companion:
    """Raises NotFound, naming the files that there are."""
    files = files_of(asset)
    for file in files:
        if file.name == name:
            return file
    raise NotFound(
        f"Version {asset.version} of {asset.dataset_id!r} has no file {name[:80]!r}.",
        f"It has {', '.join(file.name for file in files)}.",
    )


def search_filter(where: AssetFilter, bbox: str | None) -> AssetFilter:
    """`where` with the box that `bbox` describes. Raises InvalidRequest with everything that is wrong with them."""
    faults = _text_faults(where)
    box = None
    if bbox is not None:
        box, wrong = _bbox(bbox)
        faults += wrong
    if faults:
        raise InvalidRequest(" ".join(fault.detail for fault in faults), faults[0].fix, faults)
    return replace(where, bbox=box)


def _text_faults(where: AssetFilter) -> list[Fault]:
    """What would find nothing whatever the catalogue holds, or everything."""
    faults = []
    for position, keyword in enumerate(where.keywords):
        if not keyword.strip():
            fix = "Give a keyword, or leave the parameter out."
            faults.append(Fault(f"query/keyword/{position}", "keyword_empty", "The keyword is empty.", fix))
    for position, tag in enumerate(where.tags):
        if tag.find(":") < 1:
            detail = f"{tag[:80]!r} is not a tag with its value."
            fix = "Write name:value, for example tag=region:north, tag=level:3 or tag=checked:true."
            faults.append(Fault(f"query/tag/{position}", "tag_invalid", detail, fix))
    if where.text is not None and not words_of(where.text):
        detail = f"{where.text[:80]!r} has no letter and no digit to look for."
        faults.append(Fault("query/text", "text_empty", detail, "Give words, or leave the parameter out."))
    return faults


def _bbox(text: str) -> tuple[Bounds | None, list[Fault]]:
    try:
        sides = [float(part) for part in text.split(",")]
    except ValueError:
        sides = []
    if len(sides) != len(Bounds.model_fields) or not all(map(math.isfinite, sides)):
        return None, [Fault("query/bbox", "bbox_invalid", f"{text[:80]!r} is not four numbers with commas.", _BBOX)]
    minx, miny, maxx, maxy = sides
    faults = []
    for name, value, most in (("minx", minx, 180), ("miny", miny, 90), ("maxx", maxx, 180), ("maxy", maxy, 90)):
        if abs(value) > most:
            detail = f"{name} is {value:g}, beyond ±{most} degrees."
            fix = f"{_BBOX} Longitude comes first."
            faults.append(Fault("query/bbox", "bbox_invalid", detail, fix))
    if miny > maxy:
        faults.append(Fault("query/bbox", "bbox_invalid", f"miny ({miny:g}) is more than maxy ({maxy:g}).", _BBOX))
    return Bounds(minx=minx, miny=miny, maxx=maxx, maxy=maxy), faults
