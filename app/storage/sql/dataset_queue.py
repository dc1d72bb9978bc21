"""The queue of a dataset in SQL: one run is its writer, the other unfinished runs wait for it."""

from __future__ import annotations

from sqlalchemy import Connection, delete, select, update

from app.models.runs.run import Run, RunStatus
from app.storage.sql.engine import insert_into
from app.storage.sql.tables import RUNS, WRITERS


def enqueue(connection: Connection, dialect: str, run: Run) -> bool:
    """Add a run to the queue of its dataset, before the run is inserted.

    Returns:
        Whether the run is the writer now; False when another run is.
    """
    c = WRITERS.c
    first = insert_into(WRITERS, dialect).values(dataset_id=run.partition_key, run_id=run.run_id)
    # An update that changes nothing takes the lock that `release` takes as well.
    locked = first.on_conflict_do_update(index_elements=[c.dataset_id], set_={"run_id": c.run_id})
    return bool(connection.execute(locked.returning(c.run_id)).scalar_one() == run.run_id)


def release(connection: Connection, run: Run) -> None:
    """Make the oldest queued run of the dataset the writer, in place of this run, which is over."""
    # Lock first, then read in another statement: a run that is being enqueued is either visible, or waits for the lock.
    own = (WRITERS.c.dataset_id == run.partition_key, WRITERS.c.run_id == run.run_id)
    if connection.execute(select(WRITERS.c.run_id).where(*own).with_for_update()).one_or_none() is None:
        return
    c = RUNS.c
    waits = (c.partition_key == run.partition_key, c.status == RunStatus.QUEUED)
    first = select(c.run_id).where(*waits).order_by(c.created_at, c.run_id).limit(1)
    while (found := connection.execute(first).scalar_one_or_none()) is not None:
        unblock = update(RUNS).where(c.run_id == found, c.status == RunStatus.QUEUED)
        if connection.execute(unblock.values(blocked=False, revision=c.revision + 1)).rowcount:
            connection.execute(update(WRITERS).where(*own).values(run_id=found))
            return
    connection.execute(delete(WRITERS).where(*own))
