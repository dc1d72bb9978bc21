"""Makes a plan from a manifest. Writes to scratch only, and removes it in any case.

Runs on the main thread of the job's process, where the alarm of the time limit is handled.
"""

from __future__ import annotations

import shutil

from app.clients import Clients
from app.errors import DomainError, TimeLimitExceeded
from app.models.manifests.manifest import Manifest
from app.models.plan import PlanOutcome, PlanProblem
from app.models.runs.attempt import AttemptOutcome
from app.pipelines.contract.context import Call
from app.pipelines.contract.job_context import JobContext
from app.pipelines.job.failure import ReaderDied, defect
from app.pipelines.job.intent_warnings import intent_warnings
from app.pipelines.job.pipeline import Pipelines
from app.settings import Settings
from app.system.memory import is_lack_of_memory
from app.system.processes import process_name


def outcome(
    document: str,
    plan_id: str,
    clients: Clients,
    call: Call,
    settings: Settings,
    pipelines: Pipelines,
) -> PlanOutcome:
    """The plan of a manifest, or why there is none: errors are part of the outcome.

    Args:
        document: the manifest as JSON.
        plan_id: 32 hex digits; names the scratch directory and, with the PostGIS engine, the schema.
        pipelines: where its pipeline runs.
    """
    scratch = settings.plan_dir(plan_id)
    try:
        manifest = Manifest.model_validate_json(document)
        work = scratch / "work"
        work.mkdir(parents=True)
        # This process, not its worker: the sweep removes the directory when its owner is gone.
        (scratch / ".owner").write_text(process_name())
        ctx = JobContext(
            job_id=plan_id,
            manifest=manifest,
            clients=clients,
            call=call,
            scratch=work,
            limits=settings.limits,
            threads=settings.worker.threads,
            memory_bytes=settings.worker.memory_bytes,
        )
        made = pipelines.plan(ctx)
        warnings = (*intent_warnings(manifest, settings.recipes), *made.warnings)
        return PlanOutcome(plan=made.model_copy(update={"warnings": warnings}))
    except TimeLimitExceeded:
        return too_long(settings.plan.time_limit_seconds)
    except DomainError as err:
        return PlanOutcome(problem=PlanProblem(code=err.code, detail=err.detail, fix=err.fix))
    except Exception as err:
        return PlanOutcome(problem=_failure(err, plan_id, settings.run.memory_limit_bytes))
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _failure(err: Exception, plan_id: str, memory_limit: int) -> PlanProblem:
    died = err.end if isinstance(err, ReaderDied) else None
    if died is not None and died.outcome is not AttemptOutcome.MEMORY_LIMIT:
        detail = f"The plan failed: {died.detail}."
        fix = "Check the file with another tool, or post the manifest: a run makes several attempts."
    elif died is not None or is_lack_of_memory(err):
        detail = f"The plan needed more than {memory_limit // 2**20} MiB of memory."
        fix = "Split the file, or raise SPATIAL_ETL_RUN__MEMORY_LIMIT_BYTES, which limits runs and plans."
    else:
        detail, fix = defect(err, f"plan {plan_id}")
    return PlanProblem(code="plan_failed", detail=detail, fix=fix)


def too_long(seconds: int) -> PlanOutcome:
    """The outcome of a plan that exceeded its time limit."""
    detail = f"Reading the sources took more than {seconds} s."
    fix = "Post the manifest: a run may take longer. Or raise SPATIAL_ETL_PLAN__TIME_LIMIT_SECONDS."
    return PlanOutcome(problem=PlanProblem(code="plan_timeout", detail=detail, fix=fix))
