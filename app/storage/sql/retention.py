"""Deletion of versions and removal of old records in SQL.

A commit locks the parents of its version, and a deletion locks its version before it looks for children. So of the two
one waits for the other, and then sees what it did. The dataset is locked before its versions (see `newest`).
"""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, delete, func, insert, literal_column, select, tuple_, update

from app.models.asset import Asset, Deletion
from app.models.manifests.manifest import ManifestStatus
from app.models.runs.run import RunStatus
from app.storage.shared.deletion_rules import (
    DELETED,
    LIVING,
    NAMED,
    REMOVED,
    audit_entry,
    has_children,
    is_newest,
)
from app.storage.shared.ledger_rules import MAX_INTEGER
from app.storage.shared.totals import of_run
from app.storage.sql import conversion
from app.storage.sql.base import SqlBase, one
from app.storage.sql.engine import reads, writes
from app.storage.sql.newest import lock_dataset, move_marks
from app.storage.sql.tables import ACTIVITY, ASSETS, DELIVERIES, EVENTS, INPUTS, MANIFESTS, RUNS, TERMS
from app.storage.sql.totals import add_amounts, add_version


class SqlDeletion(SqlBase):
    """The methods of `RetentionLedger` that delete versions."""

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
        lock_dataset(connection, dataset_id)
        row = connection.execute(select(ASSETS).where(own).with_for_update()).mappings().one_or_none()
        if row is None:
            return None
        if row["state"] != LIVING:
            return conversion.asset_from(row)
        if keep_newest:
            living = and_(ASSETS.c.dataset_id == dataset_id, ASSETS.c.state == LIVING)
            newest = select(func.max(ASSETS.c.version)).where(living)
            if connection.execute(newest).scalar_one() == version:
                raise is_newest(dataset_id, version)
        if children := _children(connection, dataset_id, version):
            raise has_children(dataset_id, version, children)
        values = conversion.deletion_values(deletion)
        changed = connection.execute(update(ASSETS).where(own).values(values).returning(*ASSETS.c))
        asset = conversion.asset_from(changed.mappings().one())
        move_marks(connection, dataset_id)
        connection.execute(insert(ACTIVITY), conversion.activity_values(audit_entry(asset, ip)))
        add_version(connection, asset, -1)
        return asset

    async def list_deleted(self, limit: int) -> tuple[Asset, ...]:
        c = ASSETS.c
        # Not as a parameter: then the database could not see that the partial index applies.
        is_due = c.state == literal_column(f"'{DELETED}'")
        query = select(ASSETS).where(is_due).order_by(c.created_at, c.dataset_id, c.version).limit(limit)
        return await self._all(query, conversion.asset_from)

    @writes
    def version_removed(self, connection: Connection, dataset_id: str, version: int, at: datetime) -> Asset | None:
        own = and_(_version(dataset_id, version), ASSETS.c.state == DELETED)
        statement = update(ASSETS).where(own).values(state=REMOVED, removed_at=at).returning(*ASSETS.c)
        return one(connection, statement, conversion.asset_from)


_OVER = tuple(status.value for status in RunStatus if status.is_final)


class SqlRemoval(SqlBase):
    """The methods of `RetentionLedger` that remove records."""

    @reads
    def list_logged_runs(self, connection: Connection, over_before: datetime, limit: int) -> tuple[str, ...]:
        c = RUNS.c
        over = and_(c.log_removed.is_(False), c.completed_at < over_before, c.status.in_(_OVER))
        query = select(c.run_id).where(over).order_by(c.completed_at, c.run_id).limit(limit)
        return tuple(connection.execute(query).scalars())

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
        changed = None if row is None else conversion.asset_from(row).without_companion(name, at)
        if changed is not None:
            values = {"metadata": conversion.asset_values(changed)["metadata"]}
            connection.execute(update(ASSETS).where(own).values(values))
        return changed

    @writes
    def remove_batch(self, connection: Connection, batch_id: str) -> bool:
        own = MANIFESTS.c.batch_id == batch_id
        runs = select(RUNS.c.run_id).where(RUNS.c.batch_id == batch_id)
        versions = select(ASSETS.c.dataset_id, ASSETS.c.version).where(ASSETS.c.run_id.in_(runs))
        # Lock the manifest: `add_run` waits for it.
        status = connection.execute(select(MANIFESTS.c.status).where(own).with_for_update()).scalar_one_or_none()
        if status in (None, ManifestStatus.REJECTED, ManifestStatus.REMOVED):
            return False
        open_runs = runs.where(RUNS.c.status.not_in(_OVER)).limit(1)
        kept_versions = versions.where(ASSETS.c.state != REMOVED).limit(1)
        if any(connection.execute(query).first() is not None for query in (open_runs, kept_versions)):
            return False
        datasets = sorted(connection.execute(select(ASSETS.c.dataset_id).where(ASSETS.c.run_id.in_(runs))).scalars())
        for dataset_id in datasets:
            lock_dataset(connection, dataset_id)
        for table in (INPUTS, TERMS):
            connection.execute(delete(table).where(tuple_(table.c.dataset_id, table.c.version).in_(versions)))
        connection.execute(delete(ASSETS).where(ASSETS.c.run_id.in_(runs)))
        for dataset_id in datasets:
            move_marks(connection, dataset_id)
        connection.execute(delete(EVENTS).where(EVENTS.c.run_id.in_(runs)))
        gone = delete(RUNS).where(RUNS.c.batch_id == batch_id).returning(RUNS.c.lane, RUNS.c.status, RUNS.c.attempt)
        removed: Counter[str] = Counter()
        for lane, status, attempts in connection.execute(gone):
            removed.subtract(of_run(lane, status, attempts))
        left: dict[str, Any] = {"manifest": {}, "files_found": [], "earlier": [], "faults": [], "error_message": None}
        left |= {"intent": None, "uploader": None, "project": None, "status": ManifestStatus.REMOVED}
        connection.execute(update(MANIFESTS).where(own).values(left))
        add_amounts(connection, removed)
        return True

    @writes
    def remove_rejected(self, connection: Connection, batch_id: str) -> bool:
        c = MANIFESTS.c
        rejected = delete(MANIFESTS).where(c.batch_id == batch_id, c.status == ManifestStatus.REJECTED)
        return bool(connection.execute(rejected).rowcount)

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


def _version(dataset_id: str, version: int) -> ColumnElement[bool]:
    return and_(ASSETS.c.dataset_id == dataset_id, ASSETS.c.version == version)


def _children(connection: Connection, dataset_id: str, version: int) -> list[tuple[str, int]]:
    """The first few versions that were made from this one and are not deleted."""
    parent = and_(INPUTS.c.parent_dataset_id == dataset_id, INPUTS.c.parent_version == version)
    made = and_(INPUTS.c.dataset_id == ASSETS.c.dataset_id, INPUTS.c.version == ASSETS.c.version)
    query = select(ASSETS.c.dataset_id, ASSETS.c.version).join(INPUTS, made).where(parent, ASSETS.c.state == LIVING)
    query = query.distinct().order_by(ASSETS.c.dataset_id, ASSETS.c.version).limit(NAMED + 1)
    return [(row.dataset_id, row.version) for row in connection.execute(query)]
