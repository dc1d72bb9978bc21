"""Plans: a worker looks at what a manifest names, and the answer goes back to whoever waits for it.

This process never looks itself: the sources are hostile, and the libraries that read them stay out of it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TypeVar

import anyio
from anyio import CancelScope, to_thread

from app import errors
from app.clients import Clients
from app.errors import DomainError, NoFreeWorker, PlanFailed, PlanTimedOut, QueueUnavailable
from app.models.base import new_id
from app.models.caller import ANYBODY, Caller
from app.models.manifest import Manifest
from app.models.plan import Plan, PlanOutcome, PlanProblem
from app.models.run import Warning_
from app.queue import PlanJob, RunQueue
from app.services.access import check_files
from app.services.intake import batch_conflict, check_available

logger = logging.getLogger(__name__)

_LOOK_EVERY = 0.1
# Seconds beyond the time limit in which a worker says that it was reached.
_GRACE = 5.0
# Heartbeats of its worker that may be missed before a plan counts as lost.
_MISSED_BEATS = 4

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Patience:
    """Seconds: for a worker to take the plan, for its work, and between two heartbeats of a worker."""

    wait: float
    time_limit: int
    heartbeat: float


async def plan(
    manifest: Manifest, clients: Clients, *, enabled_lanes: frozenset[str], patience: Patience, caller: Caller = ANYBODY
) -> Plan:
    """What would happen if the manifest were posted now. Nothing is written, nothing reserved.

    Raises what posting it would raise; QueueUnavailable, NoFreeWorker, PlanTimedOut, PlanFailed.
    """
    check_files(caller, manifest)
    check_available(manifest, enabled_lanes)
    known = await clients.ledger.get_manifest(manifest.batch_id)
    if known is not None and known.content_hash != manifest.content_hash:
        raise batch_conflict(known)
    made = await _ask(manifest, clients.queue, patience)
    if known is None:
        return made
    message = (
        f"The batch {manifest.batch_id!r} was accepted before with this content: posting it again gives the run that "
        "there is. Choose another batch_id for a new one."
    )
    return made.model_copy(update={"warnings": (Warning_(code="batch_known", message=message), *made.warnings)})


async def _ask(manifest: Manifest, queue: RunQueue, patience: Patience) -> Plan:
    plan_id = new_id()
    # Without defaults, as it came: what is not there was not asked for.
    document = manifest.model_dump_json(exclude_defaults=True)
    await to_thread.run_sync(queue.enqueue_plan, plan_id, document, patience.time_limit)
    async with _tidied(plan_id, queue):
        await _taken(plan_id, queue, patience)
        job = await _over(plan_id, queue, patience)
    if job.state == "died" or job.result is None:
        raise PlanFailed(
            f"The process that looked at the sources ended without an answer: {job.reason or 'it gave none'}.",
            "Often a file needs more memory than SPATIAL_ETL_RUN__MEMORY_LIMIT_BYTES, or the worker was stopped: "
            "look at the worker's log, and try again.",
        )
    outcome = PlanOutcome.model_validate_json(job.result)
    if outcome.plan is None:
        raise _raised(outcome.problem)
    return outcome.plan


@asynccontextmanager
async def _tidied(plan_id: str, queue: RunQueue) -> AsyncIterator[None]:
    """However it ends, also when nobody waits any more: nothing of the plan stays in the queue or goes on."""
    try:
        yield
    except BaseException:
        with CancelScope(shield=True):
            await _quietly(lambda: queue.end_plan(plan_id))
        raise
    await _quietly(lambda: queue.forget_plan(plan_id))


async def _quietly(action: Callable[[], object]) -> None:
    try:
        await to_thread.run_sync(action)
    except QueueUnavailable as err:
        logger.warning("a plan is left to its time limit: %s", err.detail)


async def _taken(plan_id: str, queue: RunQueue, patience: Patience) -> None:
    """Return when a worker has it. Raises NoFreeWorker."""
    deadline = time.monotonic() + patience.wait
    while (await to_thread.run_sync(queue.look_at_plan, plan_id)).state == "waiting":
        over = time.monotonic() - deadline
        # Where it is in the queue no more, a worker is about to begin; unless it died just then.
        if over >= 0 and (await to_thread.run_sync(queue.withdraw_plan, plan_id) or over >= _GRACE):
            workers = await to_thread.run_sync(queue.count_workers)
            busy = f"all {workers} workers are busy" if workers else "no worker is running"
            raise NoFreeWorker(
                f"No worker took the plan within {patience.wait:g} s: {busy}.",
                "Try again later, start more workers, or raise SPATIAL_ETL_PLAN__WAIT_SECONDS.",
            )
        await anyio.sleep(_LOOK_EVERY)


async def _over(plan_id: str, queue: RunQueue, patience: Patience) -> PlanJob:
    """The job once it has ended. Raises PlanTimedOut, and PlanFailed when its worker has fallen silent."""
    deadline = time.monotonic() + patience.time_limit + _GRACE
    silence = _MISSED_BEATS * max(1.0, patience.heartbeat)
    beat, heard = "", time.monotonic()
    while True:
        job = await to_thread.run_sync(queue.look_at_plan, plan_id)
        if job.state in ("finished", "died"):
            return job
        now = time.monotonic()
        if job.beat != beat:
            beat, heard = job.beat, now
        if now - heard > silence:
            raise PlanFailed(
                f"The worker that looked at the sources has been silent for {silence:g} s.",
                "It was killed, or its host is gone: see that workers run, and try again.",
            )
        if now > deadline:
            raise PlanTimedOut(
                f"Looking at the sources took more than {patience.time_limit} s.",
                "Post the manifest: a run may take longer. Or raise SPATIAL_ETL_PLAN__TIME_LIMIT_SECONDS.",
            )
        await anyio.sleep(_LOOK_EVERY)


def _raised(problem: PlanProblem | None) -> DomainError:
    """The worker's error as this process's: the same class, so that it gets the same status."""
    if problem is None:
        return PlanFailed("The plan came back empty.", "This is a defect: look at the worker's log.")
    classes = {kind.code: kind for kind in (PlanTimedOut, errors.StoreUnavailable, errors.LedgerUnavailable,
                                            errors.EngineUnavailable)}  # fmt: skip
    return classes.get(problem.code, PlanFailed)(problem.detail, problem.fix)
