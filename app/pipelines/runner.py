"""Carries one attempt of a run from its claim to its outcome, and cleans up whatever happens.

Runs on the main thread of the job's process, where the time limit's alarm reaches it.
"""

from __future__ import annotations

import importlib
import logging
import shutil
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

from app.clients import Clients
from app.dispatch import moved_on
from app.errors import RunCanceled, RunRefused, StaleAttempt
from app.jobs.notes import notes
from app.jobs.scratch import temporary_files_in
from app.ledger import Guard
from app.ledger.lanes import Claim
from app.lifecycle import (
    attempt_died,
    cancel_came_too_late,
    count_end,
    registered_asset,
    remove_unregistered,
    success_changes,
    told_of_end,
)
from app.logs import bound
from app.models.asset import Asset
from app.models.attempt import AttemptEnd, Outcome
from app.models.attempt_rules import ended, last_error, rule_of
from app.models.base import utcnow
from app.models.run import Lease, Retries, Run, RunStatus
from app.pipelines.attempt import Attempt
from app.pipelines.context import Call, RunContext
from app.pipelines.engines import VectorEngine
from app.pipelines.engines.local import LocalEngine
from app.pipelines.engines.postgis import PostgisEngine
from app.pipelines.failure import Scene, end_of
from app.settings import Settings
from app.storage.postgis import RunSchema

logger = logging.getLogger(__name__)

_SUCCESS = AttemptEnd(outcome=Outcome.SUCCESS, detail="")
_CANCELED = AttemptEnd(outcome=Outcome.CANCELED, detail="it was asked to stop")


def execute(
    run_id: str,
    clients: Clients,
    call: Call,
    owner: str,
    settings: Settings,
    confine: Callable[[Path], None] = lambda _scratch: None,
) -> None:
    """Carry the run through its next attempt; nothing happens when it is not waiting for one.

    confine: shuts this thread in with the scratch directory, before any source is read.
    What the run meets ends up in the ledger. Raises LedgerUnavailable when that is away: the lease then runs out.
    """
    notes.clear()
    run = _claim(run_id, clients, call, owner, settings)
    if run is None:
        logger.info("run %s is not waiting for a worker", run_id)
        return
    record = call(clients.ledger.get_manifest, run.batch_id)
    if record is None:
        raise LookupError(f"run {run_id}: its manifest {run.batch_id!r} is not in the ledger")
    at_hand = {"run_id": run.run_id, "attempt": run.attempt, "lane": run.lane, "dataset_id": run.partition_key}
    at_hand["traceparent"] = run.traceparent
    notes.write(attempt=run.attempt, at_hand=at_hand)
    scratch = settings.attempt_dir(run.run_id, run.attempt)
    attempt = Attempt(
        run,
        record.parsed(),
        clients,
        call,
        scratch,
        settings.limits,
        settings.worker.threads,
        settings.worker.memory_bytes,
        _engine(run, clients),
        settings.run.scratch_limit_bytes,
    )
    try:
        with bound(**at_hand):
            _carry(attempt, owner, settings, confine)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


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
        # Nothing to put aside: it waits in the ledger, and whoever ends what it waits for enqueues it again.
        logger.info("run %s waits for %s", run_id, made.waiting_for)
    return made.run


def _carry(attempt: Attempt, owner: str, settings: Settings, confine: Callable[[Path], None]) -> None:
    """Run the pipeline and write its outcome, whatever it is."""
    run = attempt.run
    try:
        attempt.scratch.mkdir(parents=True)
        (attempt.scratch / ".owner").write_text(owner)
        confine(attempt.scratch)
        begun = {"owner": owner, "traceparent": run.traceparent}
        attempt.event("attempt.started", f"Attempt {run.attempt} started.", data=begun)
        with temporary_files_in(attempt.scratch):
            made = _registered(attempt) or _pipeline(attempt)(attempt)
        _succeed(attempt, made)
    except StaleAttempt as err:
        logger.warning("run %s: %s", run.run_id, err.detail)
    except RunCanceled:
        _end(attempt, RunStatus.CANCELED, _CANCELED)
    except Exception as err:
        _end_badly(attempt, err, settings)


def _engine(run: Run, clients: Clients) -> VectorEngine:
    if clients.postgis is None:
        return LocalEngine()
    return PostgisEngine(clients.postgis, RunSchema(run.run_id, run.attempt))


def _pipeline(attempt: Attempt) -> Callable[[RunContext], Asset]:
    intent = attempt.manifest.intent_row
    if intent.pipeline is None:
        raise RunRefused(f"{intent.name} is not part of this release.", reason="intent_not_available")
    module, _, name = intent.pipeline.partition(":")
    function: Callable[[RunContext], Asset] = getattr(importlib.import_module(module), name)
    return function


def _registered(attempt: Attempt) -> Asset | None:
    return attempt.call(registered_asset, attempt.run, attempt.clients)


def _succeed(attempt: Attempt, asset: Asset) -> None:
    """A run that is being canceled is a success if the catalogue has a version of its own, and canceled if not."""
    changes = success_changes(attempt.run, asset)
    if _write_end(attempt, _SUCCESS, RunStatus.RUNNING, **changes):
        return
    if asset.run_id != attempt.run.run_id:
        _write_end(attempt, _CANCELED, RunStatus.CANCELING, status=RunStatus.CANCELED, lease=None)
        return
    attempt.warnings.append(cancel_came_too_late(asset))
    _write_end(attempt, _SUCCESS, RunStatus.CANCELING, **changes)


def _end_badly(attempt: Attempt, err: Exception, settings: Settings) -> None:
    """Another attempt, or the run's failure: as the rules have it."""
    run = attempt.run
    places = {"scratch_full": attempt.scratch.parent}
    if settings.objects.backend == "local":
        places["store_full"] = settings.objects_dir
    at = f"run {run.run_id} attempt {run.attempt}"
    memory = settings.run.memory_limit_bytes
    end = end_of(err, Scene(at, attempt.current_step, notes.get("file"), memory, places))
    # A disk that is full has room for the outcome then.
    shutil.rmtree(attempt.scratch, ignore_errors=True)
    # Where the ledger is away, the worker says it later.
    notes.write(end=end.model_dump(mode="json"))
    if rule_of(end.outcome).tries == 1:
        _end(attempt, RunStatus.FAILURE, end, error=last_error(run, end, settings.run.max_attempts))
    else:
        _try_again(attempt, end, settings.run.retries)
    notes.write(end=None)


def _end(attempt: Attempt, status: RunStatus, end: AttemptEnd, **changes: Any) -> None:
    registered = _registered(attempt)
    if registered is not None:
        _succeed(attempt, registered)
        return
    if error := changes.get("error"):
        attempt.event(error.code, f"{error.detail} {error.fix}".strip(), level="error")
    _write_end(attempt, end, RunStatus.RUNNING, RunStatus.CANCELING, status=status, lease=None, **changes)


def _try_again(attempt: Attempt, end: AttemptEnd, retries: Retries) -> None:
    async def give_up() -> None:
        # Somebody may have asked for its end since this attempt last looked.
        run = await attempt.clients.ledger.get_run(attempt.run.run_id)
        if run is not None and run.attempt == attempt.run.attempt and not run.status.is_final:
            await attempt_died(run, end, attempt.clients, retries, utcnow())

    attempt.call(give_up)


def _write_end(attempt: Attempt, end: AttemptEnd, *from_statuses: RunStatus, status: RunStatus, **changes: Any) -> bool:
    """False when the run is no longer this attempt's in one of those statuses."""
    run, ledger = attempt.run, attempt.clients.ledger
    guard = Guard(frozenset(from_statuses), attempt=run.attempt)

    async def write() -> bool:
        now = utcnow()
        changes.update(completed_at=now, warnings=tuple(attempt.warnings), attempts=ended(run, end, now))
        told = await told_of_end(run, {"status": status, **changes}, ledger, step=attempt.current_step)
        over = await ledger.change_run(run.run_id, guard, told, status=status, **changes)
        if over is None:
            return False
        await moved_on(over, attempt.clients)
        if over.attempt > 1 or status is not RunStatus.SUCCESS:
            await remove_unregistered(over, attempt.clients)
        await count_end(over, ledger, attempt.counts)
        return True

    return attempt.call(write)
