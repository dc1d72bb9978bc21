"""Plans: a worker examines the sources of a manifest, and the API waits for its answer.

The API never reads sources itself, because they are untrusted and parsed by native libraries.
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
from app.messages.job import BATCH_KNOWN
from app.models.base import new_id
from app.models.caller import ANYBODY, Caller
from app.models.manifests.manifest import Manifest
from app.models.plan import Plan, PlanOutcome, PlanProblem
from app.models.recipes.table import SHIPPED, RecipeTable
from app.queue.run_queue import PlanJob, RunQueue
from app.services.intake.submit import batch_conflict, checked_files, is_same
from app.services.intake.supersede import check_supersedes

logger = logging.getLogger(__name__)

_POLL_SECONDS = 0.1
# Seconds after the time limit in which the worker reports that it was exceeded.
_GRACE = 5.0
# Heartbeats of its worker that may be missed before a plan counts as lost.
_MISSED_BEATS = 4

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class PlanTimeouts:
    """Seconds. wait: for a worker to take the plan; time_limit: for its work; heartbeat: between two of a worker."""

    wait: float
    time_limit: int
    heartbeat: float


async def plan(
    manifest: Manifest,
    clients: Clients,
    *,
    enabled_lanes: frozenset[str],
    timeouts: PlanTimeouts,
    recipes: RecipeTable = SHIPPED,
    caller: Caller = ANYBODY,
) -> Plan:
    """What would happen if the manifest were posted now. Nothing is written or reserved.

    Raises:
        InvalidManifest, LaneClosed, BatchConflict, Forbidden: as `submit`.
        QueueUnavailable, NoFreeWorker, PlanTimedOut, PlanFailed: there is no answer of a worker.
    """
    found = await checked_files(manifest, clients, caller, enabled_lanes, recipes)
    known = await clients.ledger.get_manifest(manifest.batch_id)
    same = known is not None and is_same(known, manifest, recipes)
    if manifest.supersedes is not None and not same:
        await check_supersedes(manifest.supersedes, manifest.batch_id, clients, caller)
    elif known is not None and not same:
        raise batch_conflict(known)
    made = await _run_plan(recipes.resolve(manifest).with_files(found), clients.queue, timeouts)
    if not same:
        return made
    warning = BATCH_KNOWN(batch_id=manifest.batch_id)
    return made.model_copy(update={"warnings": (warning, *made.warnings)})


async def _run_plan(manifest: Manifest, queue: RunQueue, timeouts: PlanTimeouts) -> Plan:
    plan_id = new_id()
    # Without defaults: a plan distinguishes what the manifest sets from what it leaves out.
    document = manifest.model_dump_json(exclude_defaults=True)
    await to_thread.run_sync(queue.enqueue_plan, plan_id, document, timeouts.time_limit)
    async with _removed_from_queue(plan_id, queue):
        await _wait_for_worker(plan_id, queue, timeouts)
        job = await _wait_for_result(plan_id, queue, timeouts)
    if job.state == "died" or job.result is None:
        raise PlanFailed(
            f"The process that examined the sources ended without an answer: {job.reason or 'no reason is known'}.",
            "Usually a file needs more memory than SPATIAL_ETL_RUN__MEMORY_LIMIT_BYTES, or the worker was stopped. "
            "Check the log of the worker and try again.",
        )
    outcome = PlanOutcome.model_validate_json(job.result)
    if outcome.plan is None:
        raise _error_from(outcome.problem)
    return outcome.plan


@asynccontextmanager
async def _removed_from_queue(plan_id: str, queue: RunQueue) -> AsyncIterator[None]:
    """At the end of the body, also when the client disconnects, stop the plan and remove it from the queue."""
    try:
        yield
    except BaseException:
        with CancelScope(shield=True):
            await _ignore_queue_outage(lambda: queue.end_plan(plan_id))
        raise
    await _ignore_queue_outage(lambda: queue.forget_plan(plan_id))


async def _ignore_queue_outage(action: Callable[[], object]) -> None:
    try:
        await to_thread.run_sync(action)
    except QueueUnavailable as err:
        logger.warning("cannot stop a plan, which will end at its time limit: %s", err.detail)


async def _wait_for_worker(plan_id: str, queue: RunQueue, timeouts: PlanTimeouts) -> None:
    """Return when a worker has taken the plan. Raises NoFreeWorker."""
    deadline = time.monotonic() + timeouts.wait
    while (await to_thread.run_sync(queue.get_plan_job, plan_id)).state == "waiting":
        over = time.monotonic() - deadline
        # If it is not in the queue any more, a worker is starting it, or died while doing so.
        if over >= 0 and (await to_thread.run_sync(queue.withdraw_plan, plan_id) or over >= _GRACE):
            workers = await to_thread.run_sync(queue.count_workers)
            busy = f"all {workers} workers are busy" if workers else "no worker is running"
            raise NoFreeWorker(
                f"No worker took the plan within {timeouts.wait:g} s: {busy}.",
                "Try again later, start more workers, or raise SPATIAL_ETL_PLAN__WAIT_SECONDS.",
            )
        await anyio.sleep(_POLL_SECONDS)


async def _wait_for_result(plan_id: str, queue: RunQueue, timeouts: PlanTimeouts) -> PlanJob:
    """The job once it has ended. Raises PlanTimedOut, and PlanFailed when its worker sends no heartbeats."""
    deadline = time.monotonic() + timeouts.time_limit + _GRACE
    allowed_silence = _MISSED_BEATS * max(1.0, timeouts.heartbeat)
    beat, heard = "", time.monotonic()
    while True:
        job = await to_thread.run_sync(queue.get_plan_job, plan_id)
        if job.state in ("finished", "died"):
            return job
        now = time.monotonic()
        if job.beat != beat:
            beat, heard = job.beat, now
        if now - heard > allowed_silence:
            raise PlanFailed(
                f"The worker that examined the sources sent no heartbeat for {allowed_silence:g} s.",
                "It was killed or lost its connection. Check that workers are running, and try again.",
            )
        if now > deadline:
            raise PlanTimedOut(
                f"Examining the sources took more than {timeouts.time_limit} s.",
                "Submit the manifest, because runs may take longer, or raise SPATIAL_ETL_PLAN__TIME_LIMIT_SECONDS.",
            )
        await anyio.sleep(_POLL_SECONDS)


def _error_from(problem: PlanProblem | None) -> DomainError:
    """The error of the worker as one of the same class, so that it gets the same HTTP status."""
    if problem is None:
        return PlanFailed(
            "The worker returned no plan.", "This is a defect of the service. Report it with the log of the worker."
        )
    classes = {kind.code: kind for kind in (PlanTimedOut, errors.StoreUnavailable, errors.LedgerUnavailable,
                                            errors.EngineUnavailable)}  # fmt: skip
    return classes.get(problem.code, PlanFailed)(problem.detail, problem.fix)
