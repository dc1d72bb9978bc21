"""The part of the SQL ledger that lets things go: see `app.ledger.retention`.

A commit holds its parents until it ends, and a deletion holds its version while it looks for children: one of the two
waits for the other, and then sees what it did.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, delete, func, insert, literal_column, select, tuple_, update

from app.models.asset import Asset, Deletion, ParentInput
from app.models.manifest import ManifestStatus
from app.models.run import RunStatus
from app.storage import sql_tables as tables
from app.storage.deletion_rules import (
    DELETED,
    LIVING,
    NAMED,
    REMOVED,
    audit_entry,
    has_children,
    is_newest,
    parent_deleted,
)
from app.storage.ledger_rules import MAX_INTEGER
from app.storage.sql_engine import Database, reads, writes
from app.storage.sql_tables import ACTIVITY, ASSETS, DELIVERIES, EVENTS, INPUTS, MANIFESTS, RUNS, TERMS


class SqlDeletion:
    """The part of it that deletes versions."""

    _db: Database

    @writes
    def delete_version(
        self,
        connection: Connection,
        dataset_id: str,
        version: int,
        deletion: Deletion,
        *,
        keep_newest: bool = True,
        ip: str | None = None,
    ) -> Asset | None:
        if not 0 < version <= MAX_INTEGER:
            return None
        own = _version(dataset_id, version)
        held = connection.execute(select(ASSETS).where(own).with_for_update())
        if (row := held.mappings().one_or_none()) is None:
            return None
        if row["state"] != LIVING:
            return tables.asset_from(row)
        if keep_newest:
            living = and_(ASSETS.c.dataset_id == dataset_id, ASSETS.c.state == LIVING)
            newest = select(func.max(ASSETS.c.version)).where(living)
            if connection.execute(newest).scalar_one() == version:
                raise is_newest(dataset_id, version)
        if children := _children(connection, dataset_id, version):
            raise has_children(dataset_id, version, children)
        values = tables.deletion_values(deletion)
        changed = connection.execute(update(ASSETS).where(own).values(values).returning(*ASSETS.c))
        asset = tables.asset_from(changed.mappings().one())
        connection.execute(insert(ACTIVITY), tables.activity_values(audit_entry(asset, ip)))
        return asset

    @reads
    def list_deleted(self, connection: Connection, limit: int) -> tuple[Asset, ...]:
        c = ASSETS.c
        # Not as a parameter: a database does not know then that the index fits.
        is_due = c.state == literal_column(f"'{DELETED}'")
        query = select(ASSETS).where(is_due).order_by(c.created_at, c.dataset_id, c.version).limit(limit)
        rows = connection.execute(query).mappings().all()
        return tuple(tables.asset_from(row) for row in rows)

    @writes
    def version_removed(self, connection: Connection, dataset_id: str, version: int, at: datetime) -> Asset | None:
        own = and_(_version(dataset_id, version), ASSETS.c.state == DELETED)
        statement = update(ASSETS).where(own).values(state=REMOVED, removed_at=at).returning(*ASSETS.c)
        row = connection.execute(statement).mappings().one_or_none()
        return None if row is None else tables.asset_from(row)


_OVER = tuple(status.value for status in RunStatus if status.is_final)


class SqlRemoval:
    """The part of it that removes entries for good."""

    _db: Database

    @reads
    def list_logged_runs(self, connection: Connection, over_before: datetime, limit: int) -> tuple[str, ...]:
        c = RUNS.c
        over = and_(c.log_removed.is_(False), c.completed_at < over_before, c.status.in_(_OVER))
        query = select(c.run_id).where(over).order_by(c.completed_at, c.run_id).limit(limit)
        return tuple((connection.execute(query)).scalars())

    @writes
    def remove_log(self, connection: Connection, run_id: str) -> bool:
        c = RUNS.c
        due = and_(c.run_id == run_id, c.log_removed.is_(False), c.status.in_(_OVER))
        if not connection.execute(update(RUNS).where(due).values(log_removed=True)).rowcount:
            return False
        connection.execute(delete(EVENTS).where(EVENTS.c.run_id == run_id))
        return True

    @writes
    def remove_companion(
        self, connection: Connection, dataset_id: str, version: int, name: str, at: datetime
    ) -> Asset | None:
        own = _version(dataset_id, version)
        row = connection.execute(select(ASSETS).where(own).with_for_update()).mappings().one_or_none()
        changed = None if row is None else tables.asset_from(row).without_companion(name, at)
        if changed is not None:
            values = {"metadata": tables.asset_values(changed)["metadata"]}
            connection.execute(update(ASSETS).where(own).values(values))
        return changed

    @writes
    def remove_batch(self, connection: Connection, batch_id: str) -> bool:
        own = MANIFESTS.c.batch_id == batch_id
        runs = select(RUNS.c.run_id).where(RUNS.c.batch_id == batch_id)
        versions = select(ASSETS.c.dataset_id, ASSETS.c.version).where(ASSETS.c.run_id.in_(runs))
        # The lock on which a further run of the batch waits.
        held = connection.execute(select(MANIFESTS.c.status).where(own).with_for_update())
        status = held.scalar_one_or_none()
        if status in (None, ManifestStatus.REJECTED, ManifestStatus.REMOVED):
            return False
        open_runs = runs.where(RUNS.c.status.not_in(_OVER)).limit(1)
        there = versions.where(ASSETS.c.state != REMOVED).limit(1)
        for query in (open_runs, there):
            if connection.execute(query).first() is not None:
                return False
        for table in (INPUTS, TERMS):
            connection.execute(delete(table).where(tuple_(table.c.dataset_id, table.c.version).in_(versions)))
        connection.execute(delete(ASSETS).where(ASSETS.c.run_id.in_(runs)))
        connection.execute(delete(EVENTS).where(EVENTS.c.run_id.in_(runs)))
        connection.execute(delete(RUNS).where(RUNS.c.batch_id == batch_id))
        left: dict[str, Any] = {"manifest": {}, "faults": [], "error_message": None}
        left |= {"intent": None, "uploader": None, "project": None, "status": ManifestStatus.REMOVED}
        connection.execute(update(MANIFESTS).where(own).values(left))
        return True

    @writes
    def remove_rejected(self, connection: Connection, batch_id: str) -> bool:
        c = MANIFESTS.c
        gone = delete(MANIFESTS).where(c.batch_id == batch_id, c.status == ManifestStatus.REJECTED)
        return bool(connection.execute(gone).rowcount)

    @writes
    def remove_deliveries(self, connection: Connection, before: datetime, limit: int) -> int:
        c = DELIVERIES.c
        old = select(c.delivery_id).where(c.status == "done", c.received_at < before).limit(limit)
        return connection.execute(delete(DELIVERIES).where(c.delivery_id.in_(old))).rowcount

    @writes
    def remove_activity(self, connection: Connection, before: datetime, limit: int) -> int:
        c = ACTIVITY.c
        old = select(c.id).where(c.timestamp < before).limit(limit)
        return connection.execute(delete(ACTIVITY).where(c.id.in_(old))).rowcount


class SqlRetention(SqlDeletion, SqlRemoval):
    """`app.ledger.retention.RetentionLedger` in SQL."""


def hold_parents(connection: Connection, asset: Asset) -> None:
    """Keep the parents of the version that is about to be registered from being deleted, to the transaction's end.

    Raises VersionDeleted, naming those that are not there any more.
    """
    wanted = sorted({(each.dataset_id, each.version) for each in asset.inputs if isinstance(each, ParentInput)})
    if not wanted:
        return
    c = ASSETS.c
    # In one order everywhere, and shared: commits with the same parents do not wait for each other.
    query = select(c.dataset_id, c.version).where(tuple_(c.dataset_id, c.version).in_(wanted), c.state == LIVING)
    held = connection.execute(query.order_by(c.dataset_id, c.version).with_for_update(read=True))
    there = {(row.dataset_id, row.version) for row in held}
    if gone := [parent for parent in wanted if parent not in there]:
        raise parent_deleted(gone)


def _version(dataset_id: str, version: int) -> ColumnElement[bool]:
    return and_(ASSETS.c.dataset_id == dataset_id, ASSETS.c.version == version)


def _children(connection: Connection, dataset_id: str, version: int) -> list[tuple[str, int]]:
    """A few of those that are there."""
    parent = and_(INPUTS.c.parent_dataset_id == dataset_id, INPUTS.c.parent_version == version)
    made = and_(INPUTS.c.dataset_id == ASSETS.c.dataset_id, INPUTS.c.version == ASSETS.c.version)
    query = select(ASSETS.c.dataset_id, ASSETS.c.version).join(INPUTS, made).where(parent, ASSETS.c.state == LIVING)
    query = query.distinct().order_by(ASSETS.c.dataset_id, ASSETS.c.version).limit(NAMED + 1)
    return [(row.dataset_id, row.version) for row in connection.execute(query)]
