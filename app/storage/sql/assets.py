"""Version numbers, the commit of a version, and the catalogue, in SQL."""

from __future__ import annotations

from sqlalchemy import Connection, and_, insert, or_, select, tuple_, update

from app.errors import VersionTaken
from app.ledger import AssetFilter
from app.models.asset import Asset, ParentInput
from app.models.page import Page, Slice
from app.models.runs.run import RunStatus
from app.storage.shared.deletion_rules import LIVING, parent_deleted
from app.storage.shared.ledger_rules import MAX_INTEGER, version_taken
from app.storage.shared.search_terms import asset_listing, wanted_terms
from app.storage.sql import catalog, conversion
from app.storage.sql.base import SqlBase
from app.storage.sql.engine import insert_into, writes
from app.storage.sql.newest import lock_dataset, move_marks
from app.storage.sql.runs import lock_run
from app.storage.sql.tables import ASSETS, COUNTERS, INPUTS, RUNS, TERMS
from app.storage.sql.totals import add_version

_PARENTS_PER_QUERY = 1000


class SqlAssets(SqlBase):
    """`app.ledger.assets.AssetLedger` in SQL."""

    @writes
    def reserve_version(self, connection: Connection, run_id: str, attempt: int) -> int | None:
        run = lock_run(connection, run_id)
        if run is None or run.attempt != attempt or run.status is not RunStatus.RUNNING:
            return None
        if run.reserved_version is not None:
            return run.reserved_version
        count = insert_into(COUNTERS, self._db.dialect).values(dataset_id=run.partition_key, last_version=1)
        count = count.on_conflict_do_update(
            index_elements=[COUNTERS.c.dataset_id], set_={"last_version": COUNTERS.c.last_version + 1}
        )
        version: int = connection.execute(count.returning(COUNTERS.c.last_version)).scalar_one()
        keep = update(RUNS).where(RUNS.c.run_id == run_id)
        connection.execute(keep.values(reserved_version=version, revision=RUNS.c.revision + 1))
        return version

    @writes
    def commit_asset(self, connection: Connection, asset: Asset, attempt: int) -> Asset | None:
        run = lock_run(connection, asset.run_id)
        if run is None or run.attempt != attempt:
            return None
        same = and_(ASSETS.c.dataset_id == asset.dataset_id, ASSETS.c.version == asset.version)
        row = connection.execute(select(ASSETS).where(same)).mappings().one_or_none()
        if row is not None and row["run_id"] == asset.run_id:
            return conversion.asset_from(row)
        if run.status is not RunStatus.RUNNING:
            return None
        lock_dataset(connection, asset.dataset_id)
        _lock_parents(connection, asset)
        new = self._insert_new(connection, ASSETS, conversion.asset_values(asset) | {"is_newest": True})
        if new is None:
            raise _version_taken(connection, asset)
        if parents := conversion.parent_values(asset):
            connection.execute(insert(INPUTS), parents)
        if terms := conversion.term_values(asset):
            connection.execute(insert(TERMS), [each | {"is_newest": True} for each in terms])
        move_marks(connection, asset.dataset_id)
        committed = conversion.asset_from(new)
        add_version(connection, committed)
        return committed

    async def get_asset(self, dataset_id: str, version: int | None = None) -> Asset | None:
        query = select(ASSETS).where(ASSETS.c.dataset_id == dataset_id)
        if version is None:
            query = query.where(ASSETS.c.state == LIVING).order_by(ASSETS.c.version.desc()).limit(1)
        elif 0 < version <= MAX_INTEGER:
            query = query.where(ASSETS.c.version == version)
        else:
            return None
        return await self._one(query, conversion.asset_from)

    async def list_assets(self, where: AssetFilter, page: Page) -> Slice[Asset]:
        wanted = wanted_terms(where)
        if len(wanted) > 1:
            rarest_first = await self._rows(catalog.frequencies(wanted))
            wanted = [wanted[position] for (position,) in rarest_first]
        query, key = catalog.search(where, wanted)
        return await self._page_of((query,), key, conversion.asset_from, page, asset_listing(where))

    async def get_asset_by_key(self, s3_key: str) -> Asset | None:
        return await self._one(select(ASSETS).where(ASSETS.c.s3_key == s3_key), conversion.asset_from)

    async def list_children(self, parents: tuple[tuple[str, int], ...], limit: int | None = None) -> tuple[Asset, ...]:
        wanted = sorted({parent for parent in parents if 0 < parent[1] <= MAX_INTEGER})
        found: dict[tuple[str, int], Asset] = {}
        for start in range(0, len(wanted), _PARENTS_PER_QUERY):
            some = wanted[start : start + _PARENTS_PER_QUERY]
            # The dataset ids alone as well: SQLite does not search an index for pairs.
            named = INPUTS.c.parent_dataset_id.in_(sorted({dataset_id for dataset_id, _ in some}))
            pairs = tuple_(INPUTS.c.parent_dataset_id, INPUTS.c.parent_version).in_(some)
            made = select(INPUTS.c.dataset_id, INPUTS.c.version).where(named, pairs)
            query = select(ASSETS).where(tuple_(ASSETS.c.dataset_id, ASSETS.c.version).in_(made))
            if limit is not None:
                query = query.order_by(ASSETS.c.created_at, ASSETS.c.dataset_id, ASSETS.c.version).limit(limit)
            found |= {
                (asset.dataset_id, asset.version): asset for asset in await self._all(query, conversion.asset_from)
            }
        oldest = sorted(found.values(), key=lambda asset: (asset.created_at, asset.dataset_id, asset.version))
        return tuple(oldest[:limit])


def _lock_parents(connection: Connection, asset: Asset) -> None:
    """Lock the parents of a new version, so that none is deleted before the transaction ends.

    Raises:
        VersionDeleted: some were deleted before; the error names them.
    """
    wanted = sorted({(each.dataset_id, each.version) for each in asset.inputs if isinstance(each, ParentInput)})
    if not wanted:
        return
    c = ASSETS.c
    # In one order everywhere, and shared: commits with the same parents do not wait for each other.
    query = select(c.dataset_id, c.version).where(tuple_(c.dataset_id, c.version).in_(wanted), c.state == LIVING)
    # Of the key only: the mark of the newest version may move meanwhile (see `newest`).
    key_only = query.order_by(c.dataset_id, c.version).with_for_update(read=True, key_share=True)
    locked = connection.execute(key_only)
    existing = {(row.dataset_id, row.version) for row in locked}
    if deleted := [parent for parent in wanted if parent not in existing]:
        raise parent_deleted(deleted)


def _version_taken(connection: Connection, asset: Asset) -> VersionTaken:
    same = and_(ASSETS.c.dataset_id == asset.dataset_id, ASSETS.c.version == asset.version)
    query = select(ASSETS).where(or_(same, ASSETS.c.s3_key == asset.s3_key)).limit(1)
    owner = conversion.asset_from(connection.execute(query).mappings().one())
    return version_taken(asset, owner)
