"""Carries one attempt of a run from its claim to its outcome, and removes its scratch in any case.

Runs on the main thread of the job's process, where the alarm of the time limit is handled.
"""

from __future__ import annotations

import logging
import shutil
from datetime import timedelta
from typing import Any

from app.clients import Clients
from app.errors import RunCanceled, StaleAttempt
from app.jobs.shared_state import job_state
from app.ledger.scheduling import Claim
from app.models.asset import Asset
from app.models.base import utcnow
from app.models.runs.attempt import AttemptEnd, AttemptOutcome
from app.models.runs.attempt_rules import final_error, rule_of, with_ended_attempt
from app.models.runs.run import UNDER_WAY, Lease, Retries, Run, RunStatus
from app.pipelines.contract.context import Call
from app.pipelines.job.attempt import Attempt
from app.pipelines.job.failure import FailureContext, end_of
from app.pipelines.job.intent_warnings import intent_warnings
from app.pipelines.job.pipeline import Pipelines
from app.runs.ending import (
    attempt_died,
    cancel_too_late,
    end_run,
    registered_asset,
    success_changes,
)
from app.settings import Settings
from app.system.logs import bound

logger = logging.getLogger(__name__)

_SUCCESS = AttemptEnd(outcome=AttemptOutcome.SUCCESS, detail="")
_CANCELED = AttemptEnd(outcome=AttemptOutcome.CANCELED, detail="it was asked to stop")


def execute(
    run_id: str,
    clients: Clients,
    call: Call,
    owner: str,
    settings: Settings,
    pipelines: Pipelines,
) -> None:
    """Carry the run through its next attempt; do nothing when it does not wait for one. Its errors go to the ledger.

    Args:
        owner: the name of the worker's process, for the lease.
        pipelines: where its pipeline runs.

    Raises:
        LedgerUnavailable: the outcome is not written, and the lease runs out.
    """
    job_state.clear()
    run = _claim(run_id, clients, call, owner, settings)
    if run is None:
        logger.info("run %s is not waiting for a worker", run_id)
        return
    record = call(clients.ledger.get_manifest, run.batch_id)
    if record is None:
        raise LookupError(f"run {run_id}: its manifest {run.batch_id!r} is not in the ledger")
    log_context = {
        "run_id": run.run_id,
        "attempt": run.attempt,
        "lane": run.lane,
        "dataset_id": run.partition_key,
        "traceparent": run.traceparent,
    }
    job_state.write(attempt=run.attempt, log_context=log_context)
    scratch = settings.attempt_dir(run.run_id, run.attempt)
    manifest = record.parsed()
    if manifest.recipe is None:
        # Accepted by a release that kept no recipes.
        manifest = settings.recipes.resolve(manifest)
    attempt = Attempt(
        job_id=run.run_id,
        attempt_number=run.attempt,
        run=run,
        manifest=manifest,
        clients=clients,
        call=call,
        scratch=scratch / "work",
        limits=settings.limits,
        threads=settings.worker.threads,
        memory_bytes=settings.worker.memory_bytes,
        scratch_limit=settings.run.scratch_limit_bytes,
    )
    try:
        with bound(**log_context):
            _run_pipeline(attempt, owner, settings, pipelines)
    finally:
        shutil.rmtree(attempt.scratch.parent, ignore_errors=True)


def _claim(run_id: str, clients: Clients, call: Call, owner: str, settings: Settings) -> Run | None:
    waiting = call(clients.ledger.get_run, run_id)
    if waiting is None or waiting.status is not RunStatus.QUEUED:
        return None
    now = utcnow()
    lease = Lease(owner=owner, expires_at=now + timedelta(seconds=settings.run.lease_seconds))
    limit = clients.lanes.rules.limits.get(waiting.lane)

    async def claim() -> Claim:
        return await clients.ledger.claim_run(run_id, waiting.attempt, lease, at=now, limit=limit)

    made = call(claim)
    if made.waiting_for is not None:
        # It stays queued in the ledger, and is dispatched when what it waits for ends.
        logger.info("run %s waits for %s", run_id, made.waiting_for)
    return made.run


def _run_pipeline(attempt: Attempt, owner: str, settings: Settings, pipelines: Pipelines) -> None:
    """Run the pipeline and write its outcome."""
    run = attempt.run
    try:
        attempt.scratch.mkdir(parents=True)
        (attempt.scratch.parent / ".owner").write_text(owner)
        begun = {"owner": owner, "traceparent": run.traceparent}
        attempt.event("attempt.started", f"Attempt {run.attempt} started.", data=begun)
        for warning in intent_warnings(attempt.manifest, settings.recipes):
            attempt.warn(warning)
        made = _registered(attempt) or pipelines.run(attempt)
        _succeed(attempt, made)
    except StaleAttempt as err:
        logger.warning("run %s: %s", run.run_id, err.detail)
    except RunCanceled:
        _end_unless_registered(attempt, RunStatus.CANCELED, _CANCELED)
    except Exception as err:
        _end_after_error(attempt, err, settings)


def _registered(attempt: Attempt) -> Asset | None:
    return attempt.call(registered_asset, attempt.run, attempt.clients)


def _succeed(attempt: Attempt, asset: Asset) -> None:
    """A run that is being canceled is a success if its version is in the catalogue, and canceled if not."""
    changes = success_changes(attempt.run, asset)
    if _end(attempt, _SUCCESS, RunStatus.SUCCESS, RunStatus.RUNNING, **changes):
        return
    if asset.run_id != attempt.run.run_id:
        _end(attempt, _CANCELED, RunStatus.CANCELED, RunStatus.CANCELING)
        return
    attempt.warnings.append(cancel_too_late(asset))
    _end(attempt, _SUCCESS, RunStatus.SUCCESS, RunStatus.CANCELING, **changes)


def _end_unless_registered(attempt: Attempt, status: RunStatus, end: AttemptEnd, **changes: Any) -> None:
    registered = _registered(attempt)
    if registered is not None:
        _succeed(attempt, registered)
        return
    if error := changes.get("error"):
        attempt.event(error.code, f"{error.detail} {error.fix}".strip(), level="error")
    _end(attempt, end, status, *UNDER_WAY, **changes)


def _end_after_error(attempt: Attempt, err: Exception, settings: Settings) -> None:
    """Another attempt, or the failure of the run: as the rules of its outcome say."""
    run = attempt.run
    directories = {"scratch_full": settings.scratch_dir}
    if settings.objects.backend == "local":
        directories["store_full"] = settings.objects_dir
    job = f"run {run.run_id} attempt {run.attempt}"
    memory = settings.run.memory_limit_bytes
    end = end_of(err, FailureContext(job, attempt.current_step, job_state.get("file"), memory, directories))
    # A full disk then has room for the outcome.
    shutil.rmtree(attempt.scratch.parent, ignore_errors=True)
    # Where the ledger is away, the worker reports this end later.
    job_state.write(end=end.model_dump(mode="json"))
    if rule_of(end.outcome).tries == 1:
        error = final_error(run, end, settings.run.max_attempts)
        _end_unless_registered(attempt, RunStatus.FAILURE, end, error=error)
    else:
        _try_again(attempt, end, settings.run.retries)
    job_state.write(end=None)


def _try_again(attempt: Attempt, end: AttemptEnd, retries: Retries) -> None:
    async def give_up() -> None:
        # A cancel may have come since this attempt last wrote.
        run = await attempt.clients.ledger.get_run(attempt.run.run_id)
        if run is not None and run.attempt == attempt.run.attempt:
            await attempt_died(run, end, attempt.clients, retries, utcnow())

    attempt.call(give_up)


def _end(attempt: Attempt, end: AttemptEnd, status: RunStatus, *from_statuses: RunStatus, **changes: Any) -> bool:
    """False when the run is no longer this attempt's in one of those statuses."""
    run, now = attempt.run, utcnow()

    async def write() -> bool:
        ended = await end_run(
            run,
            status,
            attempt.clients,
            from_statuses=from_statuses,
            step=attempt.current_step,
            metrics=attempt.counts,
            completed_at=now,
            warnings=tuple(attempt.warnings),
            attempts=with_ended_attempt(run, end, now),
            **changes,
        )
        return ended is not None

    return attempt.call(write)
