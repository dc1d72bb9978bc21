"""What several operations of the SQL ledger do with a run, within a transaction of theirs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, delete, exists, literal, select, tuple_, update

from app.ledger import Guard
from app.ledger.told import NOTHING, Told
from app.models.run import Run, RunStatus
from app.storage import sql_tables as tables
from app.storage.ledger_rules import mirrored
from app.storage.sql_tables import MANIFESTS, RUNS, WRITERS
from app.storage.sql_told import tell

CARRIED = (RunStatus.RUNNING, RunStatus.CANCELING)


def change_run(
    connection: Connection,
    run_id: str,
    guard: Guard,
    changes: Mapping[str, Any],
    checked: tuple[Run, tuple[RunStatus, ...]],
    told: Told = NOTHING,
) -> Run | None:
    """See `Ledger.change_run`. checked: what `checked_change` made of guard and changes."""
    changed, statuses = checked
    c = RUNS.c
    terms = [c.run_id == run_id, c.status.in_(statuses)]
    if guard.attempt is not None:
        terms.append(c.attempt == guard.attempt)
    if guard.lease_owner is not None:
        terms.append(c.lease_owner == guard.lease_owner)
    if guard.lease_expired_at is not None:
        terms.append(c.lease_expires_at < guard.lease_expired_at)
    values = tables.run_changes(changed, changes) | {"revision": c.revision + 1}
    statement = update(RUNS).where(*terms).values(values).returning(*c)
    row = connection.execute(statement).mappings().one_or_none()
    if row is None:
        return None
    run = tables.run_from(row)
    if "status" in changes:
        mirror(connection, run)
    if run.status.is_final and not run.blocked:
        pass_turn(connection, run)
    tell(connection, told, run_id)
    return run


def pass_turn(connection: Connection, run: Run) -> None:
    """Give the dataset's turn, which this run has, to the next of its line."""
    # The lock first, then a look of its own: whoever joins the line has done so, or waits for us to be done.
    own = (WRITERS.c.dataset_id == run.partition_key, WRITERS.c.run_id == run.run_id)
    if connection.execute(select(WRITERS.c.run_id).where(*own).with_for_update()).one_or_none() is None:
        return
    c = RUNS.c
    waits = (c.partition_key == run.partition_key, c.status == RunStatus.QUEUED)
    first = select(c.run_id).where(*waits).order_by(c.created_at, c.run_id).limit(1)
    while (found := connection.execute(first).scalar_one_or_none()) is not None:
        turn = update(RUNS).where(c.run_id == found, c.status == RunStatus.QUEUED)
        if connection.execute(turn.values(blocked=False, revision=c.revision + 1)).rowcount:
            connection.execute(update(WRITERS).where(*own).values(run_id=found))
            return
    connection.execute(delete(WRITERS).where(*own))


def newest_run(connection: Connection, batch_id: str) -> Run | None:
    newest = select(RUNS).where(RUNS.c.batch_id == batch_id)
    newest = newest.order_by(RUNS.c.created_at.desc(), RUNS.c.run_id.desc()).limit(1)
    row = connection.execute(newest).mappings().one_or_none()
    return None if row is None else tables.run_from(row)


def lock_run(connection: Connection, run_id: str) -> Run | None:
    """The run, unchanged until the transaction ends (on SQLite, BEGIN IMMEDIATE saw to that)."""
    query = select(RUNS).where(RUNS.c.run_id == run_id).with_for_update()
    row = connection.execute(query).mappings().one_or_none()
    return None if row is None else tables.run_from(row)


def mirror(connection: Connection, run: Run) -> None:
    """Let the manifest say what its newest run says; an older run no longer speaks for it."""
    later = tuple_(RUNS.c.created_at, RUNS.c.run_id) > tuple_(
        literal(run.created_at, RUNS.c.created_at.type), literal(run.run_id, RUNS.c.run_id.type)
    )
    newer = exists().where(RUNS.c.batch_id == run.batch_id, later)
    own = MANIFESTS.c.batch_id == run.batch_id
    connection.execute(update(MANIFESTS).where(own, ~newer).values(mirrored(run)))
