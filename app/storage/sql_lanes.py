"""Turns, lanes and the claim in SQL; see `app.ledger.lanes` for what each method promises."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime

from sqlalchemy import Connection, func, or_, select

from app.ledger import Guard
from app.ledger.lanes import Claim, changed_lane, claim_changes
from app.ledger.told import NOTHING, Told
from app.models.lane import LaneLimit, LaneState, held_back
from app.models.run import Lease, Run, RunStatus
from app.storage import sql_tables as tables
from app.storage.ledger_rules import checked_change
from app.storage.sql_engine import Database, insert_into, reads, writes
from app.storage.sql_runs import CARRIED, change_run, lock_run
from app.storage.sql_tables import LANES, RUNS, WRITERS
from app.storage.sql_told import tell

_NOTHING_SET = {"paused": False, "limit": None, "limit_is_set": False}


class SqlLanes:
    """The part of the SQL ledger that says which run may begin."""

    _db: Database

    @writes
    def claim_run(
        self, connection: Connection, run_id: str, attempt: int, lease: Lease, *, at: datetime, limit: int | None
    ) -> Claim:
        guard, changes = Guard(frozenset({RunStatus.QUEUED}), attempt=attempt), claim_changes(attempt, lease, at)
        checked = checked_change(guard, changes)
        run = lock_run(connection, run_id)
        if run is None or run.status is not RunStatus.QUEUED or run.attempt != attempt:
            return Claim()
        lane = _lane(connection, run.lane)
        if reason := held_back(run, lane, at):
            return Claim(waiting_for=reason)
        if lane.limit_or(limit) is not None:
            # Locked, so that of two that count at once the second one counts the first.
            at_most = _locked_lane(connection, self._db.dialect, run.lane).limit_or(limit)
            if at_most is not None and _carried(connection, run.lane) >= at_most:
                return Claim(waiting_for="lane_limit")
        return Claim(change_run(connection, run_id, guard, changes, checked))

    @reads
    def list_ready_runs(self, connection: Connection, lane: str, at: datetime, limit: int) -> tuple[Run, ...]:
        c = RUNS.c
        terms = (c.status == RunStatus.QUEUED, c.lane == lane, c.blocked.is_(False))
        due = or_(c.not_before.is_(None), c.not_before <= at)
        query = select(RUNS).where(*terms, due).order_by(c.created_at, c.run_id).limit(limit)
        return tuple(tables.run_from(row) for row in connection.execute(query).mappings())

    @reads
    def get_writer(self, connection: Connection, dataset_id: str) -> Run | None:
        whose = select(WRITERS.c.run_id).where(WRITERS.c.dataset_id == dataset_id).scalar_subquery()
        row = connection.execute(select(RUNS).where(RUNS.c.run_id == whose)).mappings().one_or_none()
        return None if row is None else tables.run_from(row)

    @reads
    def count_by_lane(self, connection: Connection, statuses: Collection[RunStatus]) -> Mapping[str, int]:
        query = select(RUNS.c.lane, func.count().label("runs")).where(RUNS.c.status.in_(statuses))
        return {row.lane: row.runs for row in connection.execute(query.group_by(RUNS.c.lane))}

    @reads
    def list_lanes(self, connection: Connection) -> tuple[LaneState, ...]:
        rows = connection.execute(select(LANES).order_by(LANES.c.lane)).mappings()
        return tuple(LaneState.model_validate(dict(row)) for row in rows)

    @writes
    def change_lane(
        self,
        connection: Connection,
        lane: str,
        told: Told = NOTHING,
        *,
        paused: bool | None = None,
        limit: LaneLimit | None = None,
    ) -> LaneState:
        changed_lane(LaneState(lane=lane), paused, limit)
        new = changed_lane(_locked_lane(connection, self._db.dialect, lane), paused, limit)
        connection.execute(LANES.update().where(LANES.c.lane == lane).values(new.model_dump()))
        tell(connection, told)
        return new


def take_turn(connection: Connection, dialect: str, run: Run) -> bool:
    """Put the run into the line of its dataset, before it is inserted; False when another one goes first."""
    c = WRITERS.c
    first = insert_into(WRITERS, dialect).values(dataset_id=run.partition_key, run_id=run.run_id)
    # An update that changes nothing takes the lock that the one who passes the turn on takes as well.
    locked = first.on_conflict_do_update(index_elements=[c.dataset_id], set_={"run_id": c.run_id})
    return bool((connection.execute(locked.returning(c.run_id))).scalar_one() == run.run_id)


def _lane(connection: Connection, lane: str) -> LaneState:
    row = connection.execute(select(LANES).where(LANES.c.lane == lane)).mappings().one_or_none()
    return LaneState(lane=lane) if row is None else LaneState.model_validate(dict(row))


def _locked_lane(connection: Connection, dialect: str, lane: str) -> LaneState:
    """Its state, which nobody else changes or counts by until the transaction ends."""
    statement = insert_into(LANES, dialect).values(lane=lane, **_NOTHING_SET)
    locked = statement.on_conflict_do_update(index_elements=[LANES.c.lane], set_={"lane": LANES.c.lane})
    row = connection.execute(locked.returning(*LANES.c)).mappings().one()
    return LaneState.model_validate(dict(row))


def _carried(connection: Connection, lane: str) -> int:
    query = select(func.count()).where(RUNS.c.lane == lane, RUNS.c.status.in_(CARRIED))
    return int((connection.execute(query)).scalar_one())
