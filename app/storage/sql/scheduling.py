"""Lanes, and the claim of a run, in SQL."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime

from sqlalchemy import Connection, func, or_, select

from app.ledger import Guard
from app.ledger.outbox import NOTHING, Outbox
from app.ledger.scheduling import Claim, changed_lane, claim_changes
from app.models.runs.lane import LaneLimit, LaneState, held_back
from app.models.runs.run import UNDER_WAY, Lease, Run, RunStatus
from app.storage.shared.ledger_rules import checked_change
from app.storage.sql import conversion
from app.storage.sql.base import SqlBase
from app.storage.sql.engine import insert_into, reads, writes
from app.storage.sql.outbox import write_outbox
from app.storage.sql.runs import change_run, lock_run
from app.storage.sql.tables import LANES, RUNS, WRITERS

_DEFAULTS = {"paused": False, "limit": None, "limit_is_set": False}


class SqlScheduling(SqlBase):
    """`app.ledger.scheduling.SchedulingLedger` in SQL."""

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
            # Lock the lane, so that of two claims at once the second one counts the first.
            at_most = _locked_lane(connection, self._db.dialect, run.lane).limit_or(limit)
            if at_most is not None and _count_under_way(connection, run.lane) >= at_most:
                return Claim(waiting_for="lane_limit")
        return Claim(change_run(connection, run_id, guard, changes, checked))

    async def list_ready_runs(self, lane: str, at: datetime, limit: int) -> tuple[Run, ...]:
        c = RUNS.c
        terms = (c.status == RunStatus.QUEUED, c.lane == lane, c.blocked.is_(False))
        due = or_(c.not_before.is_(None), c.not_before <= at)
        query = select(RUNS).where(*terms, due).order_by(c.created_at, c.run_id).limit(limit)
        return await self._all(query, conversion.run_from)

    async def get_writer(self, dataset_id: str) -> Run | None:
        whose = select(WRITERS.c.run_id).where(WRITERS.c.dataset_id == dataset_id).scalar_subquery()
        return await self._one(select(RUNS).where(RUNS.c.run_id == whose), conversion.run_from)

    @reads
    def count_by_lane(self, connection: Connection, statuses: Collection[RunStatus]) -> Mapping[str, int]:
        query = select(RUNS.c.lane, func.count().label("runs")).where(RUNS.c.status.in_(statuses))
        return {row.lane: row.runs for row in connection.execute(query.group_by(RUNS.c.lane))}

    async def list_lanes(self) -> tuple[LaneState, ...]:
        return await self._all(select(LANES).order_by(LANES.c.lane), lambda row: LaneState.model_validate(dict(row)))

    @writes
    def change_lane(
        self,
        connection: Connection,
        lane: str,
        outbox: Outbox = NOTHING,
        *,
        paused: bool | None = None,
        limit: LaneLimit | None = None,
    ) -> LaneState:
        changed_lane(LaneState(lane=lane), paused, limit)
        new = changed_lane(_locked_lane(connection, self._db.dialect, lane), paused, limit)
        connection.execute(LANES.update().where(LANES.c.lane == lane).values(new.model_dump()))
        write_outbox(connection, outbox)
        return new


def _lane(connection: Connection, lane: str) -> LaneState:
    row = connection.execute(select(LANES).where(LANES.c.lane == lane)).mappings().one_or_none()
    return LaneState(lane=lane) if row is None else LaneState.model_validate(dict(row))


def _locked_lane(connection: Connection, dialect: str, lane: str) -> LaneState:
    """The state of the lane, locked until the transaction ends."""
    statement = insert_into(LANES, dialect).values(lane=lane, **_DEFAULTS)
    locked = statement.on_conflict_do_update(index_elements=[LANES.c.lane], set_={"lane": LANES.c.lane})
    row = connection.execute(locked.returning(*LANES.c)).mappings().one()
    return LaneState.model_validate(dict(row))


def _count_under_way(connection: Connection, lane: str) -> int:
    query = select(func.count()).where(RUNS.c.lane == lane, RUNS.c.status.in_(UNDER_WAY))
    return int(connection.execute(query).scalar_one())
