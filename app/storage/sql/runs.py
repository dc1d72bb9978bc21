"""Manifests and runs in SQL, and changes of a run for other parts of the ledger within their transactions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import ColumnElement, Connection, exists, literal, select, tuple_, update

from app.ledger import Accepted, Guard, ManifestFilter, RunFilter
from app.ledger.outbox import NOTHING, Outbox
from app.models.manifests.manifest import ManifestRecord, ManifestStatus, ManifestSummary
from app.models.page import Page, Slice
from app.models.runs.run import UNDER_WAY, Run, RunStatus
from app.storage.shared.ledger_rules import (
    check_further_run,
    check_younger,
    checked_change,
    each_of,
    mirrored,
    name_without_run,
    superseding,
)
from app.storage.sql import conversion, dataset_queue
from app.storage.sql.base import SqlBase, equal, one
from app.storage.sql.engine import writes
from app.storage.sql.manifest_summaries import summary_columns
from app.storage.sql.outbox import write_outbox
from app.storage.sql.tables import MANIFESTS, RUNS, Row
from app.storage.sql.totals import add_finished


class SqlRuns(SqlBase):
    """`app.ledger.runs.RunLedger` in SQL."""

    @writes
    def accept(self, connection: Connection, manifest: ManifestRecord, run: Run, outbox: Outbox = NOTHING) -> Accepted:
        if run.batch_id != manifest.batch_id:
            raise ValueError(f"Run {run.run_id} is of batch {run.batch_id!r}, not {manifest.batch_id!r}.")
        new = self._insert_new(connection, MANIFESTS, conversion.manifest_values(manifest))
        if new is not None:
            row = self._insert_run(connection, run)
            write_outbox(connection, outbox, run.run_id)
            if run.status.is_final:
                add_finished(connection, run)
            return Accepted(conversion.manifest_from(new), conversion.run_from(row), created=True)
        found = select(MANIFESTS).where(MANIFESTS.c.batch_id == manifest.batch_id)
        old = connection.execute(found).mappings().one()
        newest = newest_run(connection, manifest.batch_id)
        if newest is None:
            raise name_without_run(conversion.manifest_from(old))
        return Accepted(conversion.manifest_from(old), newest, created=False)

    @writes
    def add_run(self, connection: Connection, run: Run, outbox: Outbox = NOTHING) -> Run | None:
        if lock_batch(connection, run) is None:
            return None
        return self._insert_further_run(connection, run, outbox)

    @writes
    def supersede(
        self, connection: Connection, manifest: ManifestRecord, run: Run, content_hash: str, outbox: Outbox = NOTHING
    ) -> Accepted | None:
        stored = lock_batch(connection, run)
        of_batch = RUNS.c.batch_id == run.batch_id
        succeeded = select(RUNS.c.run_id).where(of_batch, RUNS.c.status == RunStatus.SUCCESS).limit(1)
        if stored is None or stored.content_hash != content_hash or connection.execute(succeeded).first() is not None:
            return None
        made = superseding(manifest, stored, run)
        own = MANIFESTS.c.batch_id == run.batch_id
        connection.execute(update(MANIFESTS).where(own).values(conversion.manifest_values(made)))
        added = self._insert_further_run(connection, run, outbox)
        row = connection.execute(select(MANIFESTS).where(own)).mappings().one()
        return Accepted(conversion.manifest_from(row), added, created=True)

    @writes
    def reject_manifest(
        self, connection: Connection, manifest: ManifestRecord, outbox: Outbox = NOTHING
    ) -> ManifestRecord:
        same = select(MANIFESTS).where(MANIFESTS.c.batch_id == manifest.batch_id)
        row = self._insert_new(connection, MANIFESTS, conversion.manifest_values(manifest))
        if row is None:
            row = connection.execute(same).mappings().one()
        else:
            write_outbox(connection, outbox)
        return conversion.manifest_from(row)

    async def get_manifest(self, batch_id: str) -> ManifestRecord | None:
        return await self._one(select(MANIFESTS).where(MANIFESTS.c.batch_id == batch_id), conversion.manifest_from)

    async def list_manifests(self, where: ManifestFilter, page: Page) -> Slice[ManifestRecord]:
        key = (MANIFESTS.c.ingested_at, MANIFESTS.c.batch_id)
        queries = [select(MANIFESTS).where(*terms) for terms in self._manifest_terms(where)]
        return await self._page_of(queries, key, conversion.manifest_from, page, MANIFESTS.name)

    async def list_manifest_summaries(self, where: ManifestFilter, page: Page) -> Slice[ManifestSummary]:
        columns = summary_columns(self._db.dialect)
        queries = [select(*columns).where(*terms) for terms in self._manifest_terms(where)]
        key = (MANIFESTS.c.ingested_at, MANIFESTS.c.batch_id)
        return await self._page_of(queries, key, conversion.summary_from, page, MANIFESTS.name)

    def _manifest_terms(self, where: ManifestFilter) -> list[list[ColumnElement[bool]]]:
        """The conditions, for each wanted status."""
        c = MANIFESTS.c
        wanted = {"intent": where.intent, "uploader": where.uploader, "project": where.project}
        terms = equal(MANIFESTS, {**wanted, "testing": where.testing, "object_key": where.object_key})
        if where.since is not None:
            terms.append(c.ingested_at >= where.since)
        statuses = each_of(where.status)
        return [[*terms, c.status == status] for status in statuses] or [[*terms, c.status != ManifestStatus.REMOVED]]

    async def get_run(self, run_id: str) -> Run | None:
        return await self._one(select(RUNS).where(RUNS.c.run_id == run_id), conversion.run_from)

    async def get_runs(self, run_ids: tuple[str, ...]) -> tuple[Run, ...]:
        return await self._all(select(RUNS).where(RUNS.c.run_id.in_(run_ids)), conversion.run_from)

    async def list_runs(self, where: RunFilter, page: Page) -> Slice[Run]:
        of_version = {"partition_key": where.dataset_id, "reserved_version": where.reserved_version}
        query = select(RUNS).where(*equal(RUNS, {"batch_id": where.batch_id, "lane": where.lane, **of_version}))
        queries = [query.where(RUNS.c.status == status) for status in each_of(where.status)] or [query]
        key = (RUNS.c.created_at, RUNS.c.run_id)
        return await self._page_of(queries, key, conversion.run_from, page, RUNS.name)

    async def list_due_runs(self, limit: int) -> tuple[Run, ...]:
        c = RUNS.c
        query = select(RUNS).where(c.status.in_(UNDER_WAY)).order_by(c.created_at, c.run_id).limit(limit)
        return await self._all(query, conversion.run_from)

    @writes
    def change_run(
        self, connection: Connection, /, run_id: str, guard: Guard, outbox: Outbox = NOTHING, **changes: Any
    ) -> Run | None:
        change = checked_change(guard, changes)
        return change_run(connection, run_id, guard, changes, change, outbox)

    def _insert_further_run(self, connection: Connection, run: Run, outbox: Outbox) -> Run:
        added = conversion.run_from(self._insert_run(connection, run))
        mirror(connection, added)
        write_outbox(connection, outbox, added.run_id)
        return added

    def _insert_run(self, connection: Connection, run: Run) -> Row:
        """Insert a run into its table and the queue of its dataset. Raises ValueError when its id exists."""
        own = {"last_seq": 0, "blocked": not dataset_queue.enqueue(connection, self._db.dialect, run)}
        row = self._insert_new(connection, RUNS, conversion.run_values(run) | own)
        if row is None:
            raise ValueError(f"The run id {run.run_id} is taken.")
        return row


def change_run(
    connection: Connection,
    run_id: str,
    guard: Guard,
    changes: Mapping[str, Any],
    checked: tuple[Run, tuple[RunStatus, ...]],
    outbox: Outbox = NOTHING,
) -> Run | None:
    """Change a run as `RunLedger.change_run` does, within a transaction.

    Args:
        connection: with the transaction.
        run_id: of the run.
        guard: what must hold.
        changes: new values by field.
        checked: the result of `checked_change` for guard and changes.
        outbox: written with the change.
    """
    changed, statuses = checked
    c = RUNS.c
    terms = [c.run_id == run_id, c.status.in_(statuses)]
    if guard.attempt is not None:
        terms.append(c.attempt == guard.attempt)
    if guard.lease_owner is not None:
        terms.append(c.lease_owner == guard.lease_owner)
    if guard.lease_expired_at is not None:
        terms.append(c.lease_expires_at < guard.lease_expired_at)
    values = conversion.run_changes(changed, changes) | {"revision": c.revision + 1}
    statement = update(RUNS).where(*terms).values(values).returning(*c)
    row = connection.execute(statement).mappings().one_or_none()
    if row is None:
        return None
    run = conversion.run_from(row)
    if "status" in changes:
        mirror(connection, run)
    if run.status.is_final and not run.blocked:
        dataset_queue.release(connection, run)
    write_outbox(connection, outbox, run_id)
    if "status" in changes and run.status.is_final:
        add_finished(connection, run)
    return run


def newest_run(connection: Connection, batch_id: str) -> Run | None:
    """Return the newest run of a batch, or None."""
    newest = select(RUNS).where(RUNS.c.batch_id == batch_id)
    newest = newest.order_by(RUNS.c.created_at.desc(), RUNS.c.run_id.desc()).limit(1)
    return one(connection, newest, conversion.run_from)


def lock_batch(connection: Connection, run: Run) -> ManifestRecord | None:
    """Return the manifest of a further run, locked until the transaction ends; None where the run cannot be added.

    Raises:
        ValueError: as `RunLedger.add_run`.
    """
    check_further_run(run)
    # The manifest is the lock: of two calls for one batch at once, the second waits for the first.
    batch = select(MANIFESTS).where(MANIFESTS.c.batch_id == run.batch_id).with_for_update()
    stored = one(connection, batch, conversion.manifest_from)
    same = connection.execute(select(RUNS.c.batch_id).where(RUNS.c.run_id == run.run_id)).scalar_one_or_none()
    if same is not None and same != run.batch_id:
        raise ValueError(f"The run id {run.run_id} is taken.")
    newest = newest_run(connection, run.batch_id)
    if stored is None or same is not None or newest is None or not newest.status.is_final:
        return None
    check_younger(run, newest)
    return stored


def lock_run(connection: Connection, run_id: str) -> Run | None:
    """Return the run, locked until the transaction ends (on SQLite, BEGIN IMMEDIATE locks the whole database)."""
    query = select(RUNS).where(RUNS.c.run_id == run_id).with_for_update()
    return one(connection, query, conversion.run_from)


def mirror(connection: Connection, run: Run) -> None:
    """Copy status and error of a run to its manifest, unless the batch has a newer run."""
    later = tuple_(RUNS.c.created_at, RUNS.c.run_id) > tuple_(
        literal(run.created_at, RUNS.c.created_at.type), literal(run.run_id, RUNS.c.run_id.type)
    )
    newer = exists().where(RUNS.c.batch_id == run.batch_id, later)
    own = MANIFESTS.c.batch_id == run.batch_id
    connection.execute(update(MANIFESTS).where(own, ~newer).values(mirrored(run)))
