"""Makes a plan from a manifest. Writes to scratch only, and removes it in any case.

Runs on the main thread of the job's process, where the alarm of the time limit is handled.
"""

from __future__ import annotations

import shutil

from app.clients import Clients
from app.errors import DomainError, TimeLimitExceeded
from app.models.manifest import Manifest
from app.models.plan import PlanOutcome, PlanProblem
from app.pipelines.contract.context import Call
from app.pipelines.contract.plan_context import PlanContext
from app.pipelines.job.failure import ReaderDied, defect
from app.pipelines.job.intent_warnings import intent_warnings
from app.pipelines.job.pipeline import Pipelines
from app.settings import Settings
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
        ctx = PlanContext(
            manifest=manifest,
            clients=clients,
            call=call,
            scratch=work,
            limits=settings.limits,
            threads=settings.worker.threads,
            memory_bytes=settings.worker.memory_bytes,
            engine=pipelines.engine(clients, plan_id),
        )
        made = pipelines.plan(ctx)
        warnings = (*intent_warnings(manifest, settings.recipes), *made.warnings)
        return PlanOutcome(plan=made.model_copy(update={"warnings": warnings}))
    except TimeLimitExceeded:
        return too_long(settings.plan.time_limit_seconds)
    except DomainError as err:
        return PlanOutcome(problem=PlanProblem(code=err.code, detail=err.detail, fix=err.fix))
    except ReaderDied as err:
        fix = "Check the file with another tool, or post the manifest: a run makes several attempts."
        return PlanOutcome(
            problem=PlanProblem(code="plan_failed", detail=f"The plan failed: {err.end.detail}.", fix=fix)
        )
    except MemoryError:
        limit = f"{settings.run.memory_limit_bytes // 2**20} MiB"
        fix = "Split the file, or raise SPATIAL_ETL_RUN__MEMORY_LIMIT_BYTES, which limits runs and plans."
        detail = f"The plan needed more than {limit} of memory."
        return PlanOutcome(problem=PlanProblem(code="plan_failed", detail=detail, fix=fix))
    except Exception as err:
        detail, fix = defect(err, f"plan {plan_id}")
        return PlanOutcome(problem=PlanProblem(code="plan_failed", detail=detail, fix=fix))
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def too_long(seconds: int) -> PlanOutcome:
    """The outcome of a plan that exceeded its time limit."""
    detail = f"Reading the sources took more than {seconds} s."
    fix = "Post the manifest: a run may take longer. Or raise SPATIAL_ETL_PLAN__TIME_LIMIT_SECONDS."
    return PlanOutcome(problem=PlanProblem(code="plan_timeout", detail=detail, fix=fix))
