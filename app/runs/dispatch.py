"""Hands runs to the queue, as soon as a worker could start them. All others wait in the ledger.

A run is checked when it is accepted, and when another run of its dataset or lane has ended. The sweep finds the runs
that a dead process did not hand over, and those whose back-off is over.
"""

from __future__ import annotations

import logging

from anyio import to_thread

from app.clients import Clients
from app.errors import DomainError, QueueUnavailable
from app.models.base import utcnow
from app.models.runs.lane import LaneState, held_back
from app.models.runs.run import UNDER_WAY, Run, RunStatus

logger = logging.getLogger(__name__)

# Runs of a lane that is opened again; the sweep hands over the others meanwhile.
_MAX_AT_ONCE = 200


async def dispatch_run(run: Run, clients: Clients) -> None:
    """Hand the run to the queue if nothing holds it back. Failures are logged only: the sweep tries again."""
    try:
        await _dispatch(run, clients)
    except DomainError as err:
        logger.warning("run %s waits for the sweep: %s", run.run_id, err)


async def _dispatch(run: Run, clients: Clients) -> None:
    if run.status is not RunStatus.QUEUED:
        return
    # A snapshot may release a run (its worker checks again), but only the ledger may hold it back.
    lane = (await clients.lanes.now()).state(run.lane)
    if held_back(run, lane, utcnow()):
        lane = await _lane_state(run.lane, clients)
    if held_back(run, lane, utcnow()):
        return
    if lane.limit_or(clients.lanes.rules.limits.get(run.lane)) is not None:
        await fill_lane(run.lane, clients)
    else:
        await _enqueue((run,), clients)


async def fill_lane(lane: str, clients: Clients) -> None:
    """Hand the oldest ready runs of the lane to the queue: as many as its limit allows."""
    await _enqueue(await ready_runs(lane, clients, _MAX_AT_ONCE), clients)


async def ready_runs(lane: str, clients: Clients, at_most: int) -> tuple[Run, ...]:
    """Runs of the lane that a worker could start now, oldest first."""
    state = await _lane_state(lane, clients)
    if state.paused:
        return ()
    limit = state.limit_or(clients.lanes.rules.limits.get(lane))
    if limit is not None:
        under_way = await clients.ledger.count_by_lane(UNDER_WAY)
        at_most = min(at_most, limit - under_way.get(lane, 0))
    return await clients.ledger.list_ready_runs(lane, utcnow(), at_most) if at_most > 0 else ()


async def dispatch_waiting(run: Run, clients: Clients) -> None:
    """Dispatch the runs that waited for `run`, which ended or was queued again. Failures are left to the sweep."""
    try:
        if run.status.is_final:
            writer = await clients.ledger.get_writer(run.partition_key)
            if writer is not None:
                await dispatch_run(writer, clients)
        else:
            await dispatch_run(run, clients)
        if (await _lane_state(run.lane, clients)).limit_or(clients.lanes.rules.limits.get(run.lane)) is not None:
            await fill_lane(run.lane, clients)
    except DomainError as err:
        logger.warning("run %s: the sweep will dispatch the runs that wait for it: %s", run.run_id, err)


async def _lane_state(lane: str, clients: Clients) -> LaneState:
    """The lane as it is in the ledger now."""
    return next((state for state in await clients.ledger.list_lanes() if state.lane == lane), LaneState(lane=lane))


async def _enqueue(runs: tuple[Run, ...], clients: Clients) -> None:
    for run in runs:
        try:
            await to_thread.run_sync(clients.queue.enqueue, run)
        except QueueUnavailable as err:
            logger.warning("run %s waits in the ledger: %s", run.run_id, err.detail)
            return
