"""Carries a plan from its manifest to its answer, and cleans up whatever happens. Writes nothing but scratch.

Runs on the main thread of the job's process, where the time limit's alarm reaches it.
"""

from __future__ import annotations

import importlib
import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from app.clients import Clients
from app.errors import DomainError, RunRefused, TimeLimitExceeded
from app.jobs.scratch import temporary_files_in
from app.models.base import new_id
from app.models.manifest import Manifest
from app.models.plan import Plan, PlanOutcome, PlanProblem, Refusal, Would
from app.pipelines.context import Call
from app.pipelines.engines import VectorEngine
from app.pipelines.engines.local import LocalEngine
from app.pipelines.engines.postgis import PostgisEngine
from app.pipelines.plan import Rehearsal
from app.processes import process_name
from app.settings import Settings
from app.storage.postgis import RunSchema

logger = logging.getLogger(__name__)


def outcome(
    document: str,
    plan_id: str,
    clients: Clients,
    call: Call,
    settings: Settings,
    confine: Callable[[Path], None] = lambda _scratch: None,
) -> PlanOutcome:
    """The plan of this manifest (JSON), or why there is none. Whatever it meets is in the outcome.

    plan_id: 32 hex digits; names the scratch directory and, with the PostGIS engine, the schema. confine: shuts this
    thread in with the scratch directory, before any source is read.
    """
    scratch = settings.plan_dir(plan_id)
    try:
        manifest = Manifest.model_validate_json(document)
        scratch.mkdir(parents=True)
        # This process, not its worker: whoever finds the directory without it may remove it.
        (scratch / ".owner").write_text(process_name())
        confine(scratch)
        rehearsal = Rehearsal(
            manifest,
            clients,
            call,
            scratch,
            settings.limits,
            settings.worker.threads,
            settings.worker.memory_bytes,
            _engine(clients, plan_id),
        )
        with temporary_files_in(scratch):
            return PlanOutcome(plan=_plan(rehearsal))
    except TimeLimitExceeded:
        return too_long(settings.plan.time_limit_seconds)
    except DomainError as err:
        return PlanOutcome(problem=PlanProblem(code=err.code, detail=err.detail, fix=err.fix))
    except MemoryError:
        limit = f"{settings.run.memory_limit_bytes // 2**20} MiB"
        fix = "Split the file, or raise SPATIAL_ETL_RUN__MEMORY_LIMIT_BYTES: a run has no more."
        detail = f"The plan needed more than {limit} of memory."
        return PlanOutcome(problem=PlanProblem(code="plan_failed", detail=detail, fix=fix))
    except Exception:
        correlation = new_id()
        logger.exception("plan %s failed, correlation %s", plan_id, correlation)
        detail = f"The plan failed for a reason of its own (correlation id {correlation})."
        fix = "This is a defect: look for the correlation id in the worker's log."
        return PlanOutcome(problem=PlanProblem(code="plan_failed", detail=detail, fix=fix))
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def too_long(seconds: int) -> PlanOutcome:
    """The outcome of a plan that met its time limit, wherever the alarm found it."""
    detail = f"Looking at the sources took more than {seconds} s."
    fix = "Post the manifest: a run may take longer. Or raise SPATIAL_ETL_PLAN__TIME_LIMIT_SECONDS."
    return PlanOutcome(problem=PlanProblem(code="plan_timeout", detail=detail, fix=fix))


def _plan(rehearsal: Rehearsal) -> Plan:
    try:
        _pipeline(rehearsal.manifest)(rehearsal)
    except RunRefused as err:
        if err not in rehearsal.refusals:
            rehearsal.refusals.append(err)
    manifest, draft, same = rehearsal.manifest, rehearsal.draft, rehearsal.same
    newest = rehearsal.call(rehearsal.clients.ledger.get_asset, manifest.dataset_id)
    version = 1 + (newest.version if newest is not None else 0)
    would: Would = "be refused" if rehearsal.refusals else "change nothing" if same is not None else "succeed"
    folder = f"{manifest.dataset_id}/v{version}"
    intent = manifest.intent_row
    return Plan(
        would=would,
        batch_id=manifest.batch_id,
        dataset_id=manifest.dataset_id,
        intent=intent.name,
        job_name=intent.job_name,
        lane=intent.lane,
        refusals=tuple(_refusal(err) for err in rehearsal.refusals),
        warnings=tuple(rehearsal.warnings),
        files=tuple(draft.files),
        parents=tuple(draft.parents),
        steps=tuple(draft.steps),
        engine=dict(draft.engine),
        sql=tuple(draft.sql),
        columns=tuple(draft.columns),
        counts=dict(draft.counts),
        next_version=version,
        unchanged_version=same.version if same is not None and would == "change nothing" else None,
        keys=tuple(f"{folder}/{name}" for name in draft.objects) if would == "succeed" else (),
        not_looked_at=tuple(draft.not_looked_at),
    )


def _refusal(err: RunRefused) -> Refusal:
    return Refusal(reason=err.reason, detail=err.detail, fix=err.fix, file=err.file)


def _engine(clients: Clients, plan_id: str) -> VectorEngine:
    return LocalEngine() if clients.postgis is None else PostgisEngine(clients.postgis, RunSchema(plan_id, 1))


def _pipeline(manifest: Manifest) -> Callable[[Rehearsal], None]:
    """`plan` beside the `run` that the table of intents names."""
    intent = manifest.intent_row
    if intent.pipeline is None:
        raise RunRefused(f"{intent.name} is not part of this release.", reason="intent_not_available")
    function: Any = importlib.import_module(intent.pipeline.partition(":")[0]).plan
    found: Callable[[Rehearsal], None] = function
    return found
