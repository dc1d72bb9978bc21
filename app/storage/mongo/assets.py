"""Version numbers, the commit of a version, and the catalogue, in MongoDB."""

from __future__ import annotations

from datetime import datetime

from app.ledger import AssetFilter
from app.models.asset import Asset
from app.models.page import Page, Slice
from app.storage.mongo import documents
from app.storage.mongo.base import MongoBase
from app.storage.mongo.catalog import asset_query
from app.storage.mongo.documents import Document
from app.storage.mongo.listing import Listing
from app.storage.shared.deletion_rules import LIVING
from app.storage.shared.ledger_rules import plain_text
from app.storage.shared.search_terms import asset_listing

_PARENTS_PER_QUERY = 1000


class MongoAssets(MongoBase):
    """`app.ledger.assets.AssetLedger` in MongoDB."""

    async def reserve_version(self, run_id: str, attempt: int) -> int | None:
        return await self._asset_writes.reserve(run_id, attempt)

    async def commit_asset(self, asset: Asset, attempt: int) -> Asset | None:
        return await self._asset_writes.commit(asset, attempt)

    async def get_asset(self, dataset_id: str, version: int | None = None) -> Asset | None:
        if version is None:
            found = await self._newest(plain_text(dataset_id), {"state": LIVING})
        else:
            found = await self._assets.one({"_id": documents.version_key(dataset_id, version)})
        return None if found is None else documents.asset_from(found)

    async def list_assets(self, where: AssetFilter, page: Page) -> Slice[Asset]:
        query = asset_query(where)
        if where.run_id is not None:
            await self._finish_commits({"_id": plain_text(where.run_id), "pending_commit.s3_key": {"$exists": True}})
        key = (("created_at", datetime), ("dataset_id", str), ("version", int))
        listing = Listing(asset_listing(where), key, page)
        found = await self._assets.many(listing.query(query), listing.sort, listing.limit)
        if where.latest_only:
            found = await self._newest_only(found, query, listing)
        return listing.slice(found, documents.asset_from)

    async def _newest(self, dataset_id: str, counts: Document) -> Document | None:
        return await self._assets.one({"dataset_id": dataset_id, **counts}, sort=(("version", -1),))

    async def _newest_only(self, found: list[Document], query: Document, listing: Listing) -> list[Document]:
        """The newest version of each dataset among `found` and what follows, as many as the page holds.

        Args:
            found: the first batch: versions with the mark, which older ones may still have (see `newest`).
            query: of the listing.
            listing: with the page.
        """
        kept: list[Document] = []
        counts = {name: value for name, value in query.items() if name in ("state", "is_newest")}
        while True:
            datasets = sorted({each["dataset_id"] for each in found})
            newest: dict[str, int] = {}
            for each in await self._assets.many({"dataset_id": {"$in": datasets}, **counts}):
                newest[each["dataset_id"]] = max(each["version"], newest.get(each["dataset_id"], 0))
            kept += [each for each in found if each["version"] == newest.get(each["dataset_id"])]
            if len(found) < listing.limit or len(kept) >= listing.limit:
                return kept[: listing.limit]
            found = await self._assets.many(listing.query(query, found[-1]), listing.sort, listing.limit)

    async def get_asset_by_key(self, s3_key: str) -> Asset | None:
        key = plain_text(s3_key)
        found = await self._assets.one({"s3_key": key})
        if found is None:
            # The caller may be about to remove an object that belongs to no version: finish its commit first.
            await self._finish_commits({"pending_commit.s3_key": key})
            found = await self._assets.one({"s3_key": key})
        return None if found is None else documents.asset_from(found)

    async def _finish_commits(self, query: Document) -> None:
        for run in await self._runs.many(query):
            await self._asset_writes.finish_commit(run)

    async def list_children(self, parents: tuple[tuple[str, int], ...], limit: int | None = None) -> tuple[Asset, ...]:
        wanted = sorted({documents.version_key(*parent) for parent in parents})
        found: dict[str, Asset] = {}
        for start in range(0, len(wanted), _PARENTS_PER_QUERY):
            oldest = (("sort_at", 1), ("dataset_id", 1), ("version", 1)) if limit is not None else None
            some = {"parents": {"$in": wanted[start : start + _PARENTS_PER_QUERY]}}
            found |= {
                each["_id"]: documents.asset_from(each) for each in await self._assets.many(some, oldest, limit or 0)
            }
        in_order = sorted(found.values(), key=lambda asset: (asset.created_at, asset.dataset_id, asset.version))
        return tuple(in_order[:limit])
