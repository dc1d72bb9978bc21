"""What a plan says, put together from what its pipeline found."""

from __future__ import annotations

from collections.abc import Callable

from app.errors import RunRefused
from app.models.plan import Plan, Refusal, Would
from app.pipelines.contract.plan_context import PlanContext


def make_plan(ctx: PlanContext, pipeline: Callable[[PlanContext], None], newest_version: Callable[[], int]) -> Plan:
    """Walk the pipeline's plan and put together what it found. Refusals are part of the plan.

    Args:
        newest_version: gives the newest version of the manifest's dataset; 0 where there is none.
    """
    try:
        pipeline(ctx)
    except RunRefused as err:
        if err not in ctx.refusals:
            ctx.refusals.append(err)
    manifest, draft, same = ctx.manifest, ctx.draft, ctx.same
    version = 1 + newest_version()
    would: Would = "be refused" if ctx.refusals else "change nothing" if same is not None else "succeed"
    folder = f"{manifest.dataset_id}/v{version}"
    intent = manifest.intent_row
    return Plan(
        would=would,
        batch_id=manifest.batch_id,
        dataset_id=manifest.dataset_id,
        intent=intent.name,
        job_name=intent.job_name,
        lane=intent.lane,
        refusals=tuple(
            Refusal(reason=err.reason, detail=err.detail, fix=err.fix, file=err.file) for err in ctx.refusals
        ),
        warnings=tuple(ctx.warnings),
        files=tuple(draft.files),
        parents=tuple(draft.parents),
        steps=tuple(draft.steps),
        engine=dict(draft.engine),
        sql=tuple(draft.sql),
        columns=tuple(draft.columns),
        checks=tuple(draft.checks),
        counts=dict(draft.counts),
        next_version=version,
        unchanged_version=same.version if same is not None and would == "change nothing" else None,
        keys=tuple(f"{folder}/{name}" for name in draft.objects) if would == "succeed" else (),
        not_looked_at=tuple(draft.not_looked_at),
    )
