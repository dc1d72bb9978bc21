"""Carries one attempt of a run from its claim to its outcome, and cleans up whatever happens.

Runs on the main thread of the job's process, where the time limit's alarm reaches it.
"""

from __future__ import annotations

import importlib
import logging
import shutil
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from app.clients import Clients
from app.errors import (
    DomainError,
    EngineUnavailable,
    LedgerUnavailable,
    RunCanceled,
    RunRefused,
    StaleAttempt,
    StoreUnavailable,
)
from app.ledger import Guard
from app.lifecycle import (
    attempt_died,
    cancel_came_too_late,
    registered_asset,
    remove_unregistered,
    success_changes,
    tell_end,
)
from app.models.asset import Asset
from app.models.base import new_id, utcnow
from app.models.run import Lease, Progress, Run, RunError, RunStatus
from app.pipelines.attempt import Attempt
from app.pipelines.context import Call, RunContext
from app.pipelines.engines import VectorEngine
from app.pipelines.engines.local import LocalEngine
from app.pipelines.engines.postgis import PostgisEngine
from app.settings import Settings
from app.storage.postgis import RunSchema

logger = logging.getLogger(__name__)


def execute(run_id: str, clients: Clients, call: Call, owner: str, settings: Settings) -> None:
    """Carry the run through its next attempt; nothing happens when it is not waiting for one.

    What the run meets ends up in the ledger. Raises LedgerUnavailable when that is away: the lease then runs out.
    """
    run = _claim(run_id, clients, call, owner, settings)
    if run is None:
        logger.info("run %s is not waiting for a worker", run_id)
        return
    record = call(clients.ledger.get_manifest, run.batch_id)
    if record is None:
        raise LookupError(f"run {run_id}: its manifest {run.batch_id!r} is not in the ledger")
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
    )
    try:
        scratch.mkdir(parents=True)
        (scratch / ".owner").write_text(owner)
        _carry(attempt, owner, settings)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _claim(run_id: str, clients: Clients, call: Call, owner: str, settings: Settings) -> Run | None:
    waiting = call(clients.ledger.get_run, run_id)
    if waiting is None or waiting.status is not RunStatus.QUEUED:
        return None
    now = utcnow()

    async def claim() -> Run | None:
        return await clients.ledger.change_run(
            run_id,
            Guard(frozenset({RunStatus.QUEUED}), attempt=waiting.attempt),
            status=RunStatus.RUNNING,
            attempt=waiting.attempt + 1,
            lease=Lease(owner=owner, expires_at=now + timedelta(seconds=settings.run.lease_seconds)),
            started_at=now,
            step=None,
            progress=Progress(),
            counts={},
            warnings=(),
            error=None,
            unchanged_version=None,
        )

    return call(claim)


def _carry(attempt: Attempt, owner: str, settings: Settings) -> None:
    """Run the pipeline and write its outcome, whatever it is."""
    run = attempt.run
    try:
        attempt.event("attempt.started", f"Attempt {run.attempt} started.", data={"owner": owner})
        _succeed(attempt, _registered(attempt) or _pipeline(attempt)(attempt))
    except StaleAttempt as err:
        logger.warning("run %s: %s", run.run_id, err.detail)
    except RunCanceled:
        _end(attempt, RunStatus.CANCELED)
    except StoreUnavailable as err:
        _try_again(attempt, f"the object store failed: {err.detail}", settings.run.max_attempts)
    except (EngineUnavailable, LedgerUnavailable) as err:
        _try_again(attempt, str(err), settings.run.max_attempts)
    except RunRefused as err:
        _fail(attempt, err.reason, err.detail, err.fix, file=err.file)
    except DomainError as err:
        _fail(attempt, err.code, err.detail, err.fix)
    except MemoryError:
        limit = f"{settings.run.memory_limit_bytes // 2**20} MiB"
        fix = "Split the file, or raise SPATIAL_ETL_RUN__MEMORY_LIMIT_BYTES."
        _fail(attempt, "memory_limit", f"The job needed more than {limit}.", fix)
    except Exception:
        correlation = new_id()
        logger.exception("run %s attempt %s failed, correlation %s", run.run_id, run.attempt, correlation)
        detail = f"The pipeline failed for a reason of its own (correlation id {correlation})."
        _fail(attempt, "internal_error", detail, "This is a defect: look for the correlation id in the worker's log.")


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
    if _write_end(attempt, RunStatus.RUNNING, **changes):
        return
    if asset.run_id != attempt.run.run_id:
        _write_end(attempt, RunStatus.CANCELING, status=RunStatus.CANCELED, lease=None)
        return
    attempt.warnings.append(cancel_came_too_late(asset))
    _write_end(attempt, RunStatus.CANCELING, **changes)


def _fail(attempt: Attempt, code: str, detail: str, fix: str, *, file: str | None = None) -> None:
    error = RunError(code=code, detail=detail, fix=fix, step=attempt.current_step, file=file)
    _end(attempt, RunStatus.FAILURE, error=error)


def _end(attempt: Attempt, status: RunStatus, **changes: Any) -> None:
    registered = _registered(attempt)
    if registered is not None:
        _succeed(attempt, registered)
        return
    if error := changes.get("error"):
        attempt.event(error.code, f"{error.detail} {error.fix}".strip(), level="error")
    _write_end(attempt, RunStatus.RUNNING, RunStatus.CANCELING, status=status, lease=None, **changes)


def _try_again(attempt: Attempt, reason: str, max_attempts: int) -> None:
    async def give_up() -> None:
        # Somebody may have asked for its end since this attempt last looked.
        run = await attempt.clients.ledger.get_run(attempt.run.run_id)
        if run is not None and run.attempt == attempt.run.attempt and not run.status.is_final:
            await attempt_died(run, reason, attempt.clients, max_attempts, utcnow())

    attempt.call(give_up)


def _write_end(attempt: Attempt, *from_statuses: RunStatus, status: RunStatus, **changes: Any) -> bool:
    """False when the run is no longer this attempt's in one of those statuses."""
    run, ledger = attempt.run, attempt.clients.ledger
    guard = Guard(frozenset(from_statuses), attempt=run.attempt)

    async def write() -> bool:
        ended = await ledger.change_run(
            run.run_id, guard, status=status, completed_at=utcnow(), warnings=tuple(attempt.warnings), **changes
        )
        if ended is None:
            return False
        if ended.attempt > 1 or status is not RunStatus.SUCCESS:
            await remove_unregistered(ended, attempt.clients)
        await tell_end(ended, ledger, step=attempt.current_step, counts=attempt.counts)
        return True

    return attempt.call(write)
