"""Which runs the queue is given: those that a worker could begin with now. All others wait in the ledger.

A run is looked at when it is accepted, and when another one of its dataset or lane has ended; what a process left
undone that died in between, and back-offs that are over, are found by the sweep.
"""

from __future__ import annotations

import logging

from anyio import to_thread

from app.clients import Clients
from app.errors import DomainError, QueueUnavailable
from app.lanes import CARRIED
from app.models.base import utcnow
from app.models.lane import LaneState, held_back
from app.models.run import Run, RunStatus

logger = logging.getLogger(__name__)

# Of a lane that is opened again: the others are found by the sweep while these are at work.
_AT_ONCE = 200


async def offer(run: Run, clients: Clients) -> None:
    """Hand the run to the queue if nothing holds it back. What fails here is no error: the sweep will do it."""
    try:
        await _offer(run, clients)
    except DomainError as err:
        logger.warning("run %s waits for the sweep: %s", run.run_id, err)


async def _offer(run: Run, clients: Clients) -> None:
    if run.status is not RunStatus.QUEUED:
        return
    # A second old will do: a worker asks again before it begins. What holds it back must be true now, though.
    lane = (await clients.lanes.now()).state(run.lane)
    if held_back(run, lane, utcnow()):
        lane = await _state(run.lane, clients)
    if held_back(run, lane, utcnow()):
        return
    if lane.limit_or(clients.lanes.rules.limits.get(run.lane)) is not None:
        await fill(run.lane, clients)
    else:
        await _enqueue((run,), clients)


async def fill(lane: str, clients: Clients) -> None:
    """Hand the oldest runs of the lane that may begin to the queue: as many as the lane has room for."""
    await _enqueue(await ready_runs(lane, clients, _AT_ONCE), clients)


async def ready_runs(lane: str, clients: Clients, at_most: int) -> tuple[Run, ...]:
    """Runs of the lane that a worker could begin with now, oldest first."""
    state = await _state(lane, clients)
    if state.paused:
        return ()
    limit = state.limit_or(clients.lanes.rules.limits.get(lane))
    if limit is not None:
        carried = await clients.ledger.count_by_lane(CARRIED)
        at_most = min(at_most, limit - carried.get(lane, 0))
    return await clients.ledger.list_ready_runs(lane, utcnow(), at_most) if at_most > 0 else ()


async def moved_on(run: Run, clients: Clients) -> None:
    """After a run went back to the queue or ended: who waited for it begins. What fails here the sweep does."""
    try:
        if run.status.is_final:
            writer = await clients.ledger.get_writer(run.partition_key)
            if writer is not None:
                await offer(writer, clients)
        else:
            await offer(run, clients)
        if (await _state(run.lane, clients)).limit_or(clients.lanes.rules.limits.get(run.lane)) is not None:
            await fill(run.lane, clients)
    except DomainError as err:
        logger.warning("run %s: the sweep will find who waited for it: %s", run.run_id, err)


async def _state(lane: str, clients: Clients) -> LaneState:
    """As the ledger says it at this moment."""
    return next((state for state in await clients.ledger.list_lanes() if state.lane == lane), LaneState(lane=lane))


async def _enqueue(runs: tuple[Run, ...], clients: Clients) -> None:
    for run in runs:
        try:
            await to_thread.run_sync(clients.queue.enqueue, run)
        except QueueUnavailable as err:
            logger.warning("run %s waits in the ledger: %s", run.run_id, err.detail)
            return
