"""The ledger in a SQL database: SQLite in the embedded profile, PostgreSQL by its URL.

Each method is one statement, or one transaction whose first statement takes the lock that it depends on.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any, Literal, ParamSpec, TypeVar

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    Select,
    Table,
    and_,
    func,
    insert,
    literal,
    or_,
    select,
    tuple_,
    update,
)
from sqlalchemy.sql.elements import KeyedColumnElement

from app.errors import LedgerUnavailable, NotFound, VersionTaken
from app.ledger import (
    Accepted,
    AssetFilter,
    AssetTotal,
    BackendInfo,
    Guard,
    ManifestFilter,
    RunFilter,
    RunTotal,
    Totals,
)
from app.ledger.told import NOTHING, Line, Told
from app.models.activity import Activity
from app.models.asset import Asset
from app.models.delivery import Delivery, EventOutcome
from app.models.manifest import ManifestRecord, ManifestStatus
from app.models.page import Page, Slice
from app.models.run import Run, RunEvent, RunStatus
from app.storage import sql_catalog
from app.storage import sql_tables as tables
from app.storage.deletion_rules import LIVING
from app.storage.ledger_rules import (
    MAX_INTEGER,
    check_amounts,
    check_further_run,
    check_younger,
    checked_change,
    decode_cursor,
    encode_cursor,
    name_without_run,
    version_taken,
)
from app.storage.ledger_search import asset_listing, wanted_terms
from app.storage.sql_election import SqlElection
from app.storage.sql_engine import Database, insert_into, insert_new, reads, writes
from app.storage.sql_keys import SqlKeys
from app.storage.sql_lanes import SqlLanes, take_turn
from app.storage.sql_migrate import applied_versions, known_versions, upgrade
from app.storage.sql_retention import SqlRetention, hold_parents
from app.storage.sql_runs import CARRIED, change_run, lock_run, mirror, newest_run
from app.storage.sql_tables import (
    ACTIVITY,
    ASSETS,
    COUNTERS,
    COUNTS,
    DELIVERIES,
    EVENTS,
    INPUTS,
    MANIFESTS,
    RUNS,
    TERMS,
    Row,
)
from app.storage.sql_told import tell
from app.storage.sql_unfinished import SqlUnfinished

T = TypeVar("T")
P = ParamSpec("P")
_NAMES = {"sqlite": "SQLite", "postgresql": "PostgreSQL"}
_PARENTS_PER_QUERY = 1000


@asynccontextmanager
async def open_sql_ledger(url: str) -> AsyncIterator[SqlLedger]:
    """Opens nothing until the first query; closes every connection at the end.

    Raises LedgerUnavailable for a URL that names no SQL ledger.
    """
    database = Database(url)
    try:
        yield SqlLedger(database)
    finally:
        await database.close()


class SqlLedger(SqlElection, SqlLanes, SqlRetention, SqlUnfinished, SqlKeys):
    """`app.ledger.Ledger` in SQL; see there for what each method promises."""

    def __init__(self, database: Database) -> None:
        self._db = database

    @writes
    def accept(self, connection: Connection, manifest: ManifestRecord, run: Run, told: Told = NOTHING) -> Accepted:
        if run.batch_id != manifest.batch_id:
            raise ValueError(f"Run {run.run_id} is of batch {run.batch_id!r}, not {manifest.batch_id!r}.")
        new = self._insert_new(connection, MANIFESTS, tables.manifest_values(manifest))
        if new is not None:
            row = self._insert_run(connection, run)
            tell(connection, told, run.run_id)
            return Accepted(tables.manifest_from(new), tables.run_from(row), created=True)
        found = select(MANIFESTS).where(MANIFESTS.c.batch_id == manifest.batch_id)
        old = connection.execute(found).mappings().one()
        newest = newest_run(connection, manifest.batch_id)
        if newest is None:
            raise name_without_run(tables.manifest_from(old))
        return Accepted(tables.manifest_from(old), newest, created=False)

    @writes
    def add_run(self, connection: Connection, run: Run, told: Told = NOTHING) -> Run | None:
        check_further_run(run)
        # The manifest is the lock: on it two that add a run of one batch wait for each other.
        batch = select(MANIFESTS.c.batch_id).where(MANIFESTS.c.batch_id == run.batch_id).with_for_update()
        if connection.execute(batch).one_or_none() is None:
            return None
        same = connection.execute(select(RUNS).where(RUNS.c.run_id == run.run_id)).mappings().one_or_none()
        if same is not None and same["batch_id"] != run.batch_id:
            raise ValueError(f"The run id {run.run_id} is taken.")
        newest = newest_run(connection, run.batch_id)
        if same is not None or newest is None or not newest.status.is_final:
            return None
        check_younger(run, newest)
        added = tables.run_from(self._insert_run(connection, run))
        mirror(connection, added)
        tell(connection, told, added.run_id)
        return added

    @writes
    def reject_manifest(self, connection: Connection, manifest: ManifestRecord, told: Told = NOTHING) -> ManifestRecord:
        same = select(MANIFESTS).where(MANIFESTS.c.batch_id == manifest.batch_id)
        row = self._insert_new(connection, MANIFESTS, tables.manifest_values(manifest))
        if row is None:
            row = connection.execute(same).mappings().one()
        else:
            tell(connection, told)
        return tables.manifest_from(row)

    async def get_manifest(self, batch_id: str) -> ManifestRecord | None:
        return await self._one(select(MANIFESTS).where(MANIFESTS.c.batch_id == batch_id), tables.manifest_from)

    async def list_manifests(self, where: ManifestFilter, page: Page) -> Slice[ManifestRecord]:
        c = MANIFESTS.c
        wanted = {"status": where.status, "intent": where.intent, "uploader": where.uploader, "project": where.project}
        terms = _equal(MANIFESTS, {**wanted, "testing": where.testing, "object_key": where.object_key})
        if where.since is not None:
            terms.append(c.ingested_at >= where.since)
        if where.status is None:
            terms.append(c.status != ManifestStatus.REMOVED)
        return await self._page(MANIFESTS, terms, (c.ingested_at, c.batch_id), tables.manifest_from, page)

    async def get_run(self, run_id: str) -> Run | None:
        return await self._one(select(RUNS).where(RUNS.c.run_id == run_id), tables.run_from)

    async def get_runs(self, run_ids: tuple[str, ...]) -> tuple[Run, ...]:
        return await self._all(select(RUNS).where(RUNS.c.run_id.in_(run_ids)), tables.run_from)

    async def list_runs(self, where: RunFilter, page: Page) -> Slice[Run]:
        wanted = {"status": where.status, "batch_id": where.batch_id, "lane": where.lane}
        of_version = {"partition_key": where.dataset_id, "reserved_version": where.reserved_version}
        terms = _equal(RUNS, {**wanted, **of_version})
        return await self._page(RUNS, terms, (RUNS.c.created_at, RUNS.c.run_id), tables.run_from, page)

    async def list_due_runs(self, limit: int) -> tuple[Run, ...]:
        c = RUNS.c
        query = select(RUNS).where(c.status.in_(CARRIED)).order_by(c.created_at, c.run_id).limit(limit)
        return await self._all(query, tables.run_from)

    @writes
    def change_run(
        self, connection: Connection, /, run_id: str, guard: Guard, told: Told = NOTHING, **changes: Any
    ) -> Run | None:
        change = checked_change(guard, changes)
        return change_run(connection, run_id, guard, changes, change, told)

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
            return tables.asset_from(row)
        if run.status is not RunStatus.RUNNING:
            return None
        hold_parents(connection, asset)
        new = self._insert_new(connection, ASSETS, tables.asset_values(asset))
        if new is None:
            raise _taken(connection, asset)
        for table, rows in ((INPUTS, tables.parent_values(asset)), (TERMS, tables.term_values(asset))):
            if rows:
                connection.execute(insert(table), rows)
        return tables.asset_from(new)

    async def get_asset(self, dataset_id: str, version: int | None = None) -> Asset | None:
        query = select(ASSETS).where(ASSETS.c.dataset_id == dataset_id)
        if version is None:
            query = query.where(ASSETS.c.state == LIVING).order_by(ASSETS.c.version.desc()).limit(1)
        elif 0 < version <= MAX_INTEGER:
            query = query.where(ASSETS.c.version == version)
        else:
            return None
        return await self._one(query, tables.asset_from)

    async def list_assets(self, where: AssetFilter, page: Page) -> Slice[Asset]:
        wanted = wanted_terms(where)
        if len(wanted) > 1:
            rarest_first = await self._rows(sql_catalog.frequencies(wanted))
            wanted = [wanted[position] for (position,) in rarest_first]
        query, key = sql_catalog.search(where, wanted)
        return await self._page_of(query, key, tables.asset_from, page, asset_listing(where))

    async def get_asset_by_key(self, s3_key: str) -> Asset | None:
        return await self._one(select(ASSETS).where(ASSETS.c.s3_key == s3_key), tables.asset_from)

    async def list_children(self, parents: tuple[tuple[str, int], ...]) -> tuple[Asset, ...]:
        wanted = sorted({parent for parent in parents if 0 < parent[1] <= MAX_INTEGER})
        found: dict[tuple[str, int], Asset] = {}
        for start in range(0, len(wanted), _PARENTS_PER_QUERY):
            some = wanted[start : start + _PARENTS_PER_QUERY]
            # The dataset ids alone as well: SQLite does not search an index for pairs.
            named = INPUTS.c.parent_dataset_id.in_(sorted({dataset_id for dataset_id, _ in some}))
            pairs = tuple_(INPUTS.c.parent_dataset_id, INPUTS.c.parent_version).in_(some)
            made = select(INPUTS.c.dataset_id, INPUTS.c.version).where(named, pairs)
            query = select(ASSETS).where(tuple_(ASSETS.c.dataset_id, ASSETS.c.version).in_(made))
            found |= {(asset.dataset_id, asset.version): asset for asset in await self._all(query, tables.asset_from)}
        return tuple(sorted(found.values(), key=lambda asset: (asset.created_at, asset.dataset_id, asset.version)))

    @writes
    def add_event(
        self,
        connection: Connection,
        run_id: str,
        *,
        code: str,
        message: str,
        level: Literal["info", "warning", "error"] = "info",
        step: str | None = None,
        data: Mapping[str, Any] | None = None,
    ) -> RunEvent:
        # Counting on the run's own row makes writers wait for each other, which is what keeps seq without gaps.
        last = RUNS.c.last_seq
        count = update(RUNS).where(RUNS.c.run_id == run_id).values(last_seq=last + 1).returning(last)
        seq = connection.execute(count).scalar_one_or_none()
        if seq is None:
            raise NotFound(f"There is no run {run_id!r}.", "Use the run_id that accepting the manifest gave.")
        event = Line(code, message, level, step, data or {}).event(run_id, seq)
        stored = connection.execute(insert(EVENTS).returning(*EVENTS.c), tables.event_values(event))
        return tables.event_from(stored.mappings().one())

    async def list_events(self, run_id: str, after: int = 0, limit: int = 100) -> tuple[RunEvent, ...]:
        c = EVENTS.c
        later = c.seq > max(0, min(after, MAX_INTEGER))
        query = select(EVENTS).where(c.run_id == run_id, later).order_by(c.seq).limit(limit)
        return await self._all(query, tables.event_from)

    @writes
    def add_activity(self, connection: Connection, entry: Activity) -> None:
        connection.execute(insert(ACTIVITY), tables.activity_values(entry))

    async def list_activity(self, page: Page) -> Slice[Activity]:
        return await self._page(ACTIVITY, [], (ACTIVITY.c.timestamp, ACTIVITY.c.id), tables.activity_from, page)

    @writes
    def add_delivery(self, connection: Connection, delivery: Delivery) -> Delivery:
        c = DELIVERIES.c
        statement = insert_into(DELIVERIES, self._db.dialect).values(tables.delivery_values(delivery))
        statement = statement.on_conflict_do_update(index_elements=[c.delivery_id], set_={"repeats": c.repeats + 1})
        return tables.delivery_from(connection.execute(statement.returning(*c)).mappings().one())

    @writes
    def finish_delivery(
        self, connection: Connection, delivery_id: str, outcomes: tuple[EventOutcome, ...], at: datetime
    ) -> Delivery | None:
        c = DELIVERIES.c
        statement = update(DELIVERIES).where(c.delivery_id == delivery_id, c.status == "received").returning(*c)
        made = [outcome.model_dump(mode="json") for outcome in outcomes]
        done = connection.execute(statement.values(status="done", outcomes=made, processed_at=at))
        row = done.mappings().one_or_none()
        return None if row is None else tables.delivery_from(row)

    async def list_deliveries(self, status: Literal["received", "done"] | None, page: Page) -> Slice[Delivery]:
        key = (DELIVERIES.c.received_at, DELIVERIES.c.delivery_id)
        return await self._page(DELIVERIES, _equal(DELIVERIES, {"status": status}), key, tables.delivery_from, page)

    async def totals(self) -> Totals:
        run, asset = RUNS.c, ASSETS.c
        runs = select(run.status, run.lane, func.count(), func.sum(run.attempt), func.min(run.created_at))
        assets = (
            select(asset.kind, func.count(), func.sum(asset.size))
            .where(asset.state == LIVING)
            .group_by(asset.kind)
            .order_by(asset.kind)
        )
        return Totals(
            tuple(
                RunTotal(RunStatus(status), lane, count, int(attempts), oldest)
                for status, lane, count, attempts, oldest in await self._rows(
                    runs.group_by(run.status, run.lane).order_by(run.status, run.lane)
                )
            ),
            tuple(AssetTotal(kind, count, int(size)) for kind, count, size in await self._rows(assets)),
        )

    @writes
    def count(self, connection: Connection, amounts: Mapping[str, int]) -> None:
        check_amounts(amounts)
        if not amounts:
            return
        # In one order everywhere, so that two writers do not wait for each other crosswise.
        rows = [{"name": name, "value": amounts[name]} for name in sorted(amounts)]
        statement = insert_into(COUNTS, self._db.dialect).values(rows)
        more = {"value": COUNTS.c.value + statement.excluded.value}
        connection.execute(statement.on_conflict_do_update(index_elements=[COUNTS.c.name], set_=more))

    async def get_counts(self) -> Mapping[str, int]:
        rows = await self._rows(select(COUNTS.c.name, COUNTS.c.value))
        return {row.name: row.value for row in rows}

    async def migrate(self) -> tuple[str, ...]:
        return await self._db.migrate(upgrade)

    @reads
    def ping(self, connection: Connection) -> BackendInfo:
        applied = applied_versions(connection)
        version = ".".join(str(part) for part in connection.dialect.server_version_info or ())
        if missing := sorted(set(known_versions()) - set(applied)):
            detail = f"The ledger ({self._db.shown}) lacks the migrations {', '.join(missing)}."
            raise LedgerUnavailable(detail, "Run `spatial-etl migrate`.")
        details = {"schema": applied[-1], "location": self._db.shown}
        return BackendInfo(name=_NAMES[self._db.dialect], version=version, details=details)

    def _insert_run(self, connection: Connection, run: Run) -> Row:
        """The row as stored, in the line of its dataset. Raises ValueError when its id is taken."""
        turn = {"last_seq": 0, "blocked": not take_turn(connection, self._db.dialect, run)}
        row = self._insert_new(connection, RUNS, tables.run_values(run) | turn)
        if row is None:
            raise ValueError(f"The run id {run.run_id} is taken.")
        return row

    def _insert_new(self, connection: Connection, table: Table, values: Mapping[str, Any]) -> Row | None:
        """The row as stored; None when one of its unique keys is taken."""
        return connection.execute(insert_new(table, self._db.dialect), values).mappings().one_or_none()

    async def _one(self, query: Select[Any], make: Callable[[Row], T]) -> T | None:
        row = await self._db.read(lambda connection: connection.execute(query).mappings().one_or_none())
        return None if row is None else make(row)

    async def _all(self, query: Select[Any], make: Callable[[Row], T]) -> tuple[T, ...]:
        return await self._db.read(lambda connection: tuple(map(make, connection.execute(query).mappings())))

    async def _rows(self, query: Select[Any]) -> Sequence[Any]:
        return await self._db.read(lambda connection: connection.execute(query).all())

    async def _page(
        self,
        table: Table,
        terms: Sequence[ColumnElement[bool]],
        key: tuple[Column[Any], ...],
        make: Callable[[Row], T],
        page: Page,
    ) -> Slice[T]:
        return await self._page_of(select(table).where(*terms), key, make, page, table.name)

    @reads
    def _page_of(
        self,
        connection: Connection,
        query: Select[Any],
        key: tuple[KeyedColumnElement[Any], ...],
        make: Callable[[Row], T],
        page: Page,
        listing: str,
    ) -> Slice[T]:
        """Newest first by `key`, which ends in something unique: no row is lost or doubled where times are equal."""
        if page.limit < 1:
            raise ValueError(f"A page has at least one item, not {page.limit}.")
        query = query.order_by(*(column.desc() for column in key)).limit(page.limit + 1)
        if page.cursor is not None:
            last = decode_cursor(listing, page.cursor, tuple(column.type.python_type for column in key))
            seen = tuple_(*(literal(value, column.type) for value, column in zip(last, key, strict=True)))
            query = query.where(tuple_(*key) < seen)
        rows = connection.execute(query).mappings().all()
        cursor = None
        if len(rows) > page.limit:
            cursor = encode_cursor(listing, tuple(rows[page.limit - 1][column.key] for column in key))
        return Slice(tuple(make(row) for row in rows[: page.limit]), cursor)


def _equal(table: Table, wanted: Mapping[str, Any]) -> list[ColumnElement[bool]]:
    return [table.c[name] == value for name, value in wanted.items() if value is not None]


def _taken(connection: Connection, asset: Asset) -> VersionTaken:
    same = and_(ASSETS.c.dataset_id == asset.dataset_id, ASSETS.c.version == asset.version)
    query = select(ASSETS).where(or_(same, ASSETS.c.s3_key == asset.s3_key)).limit(1)
    owner = tables.asset_from(connection.execute(query).mappings().one())
    return version_taken(asset, owner)
