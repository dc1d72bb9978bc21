"""Pipelines in the process of the test; jobs run them in readers."""

from __future__ import annotations

from typing import Any

from app.jobs.scratch import temporary_files_in
from app.models.asset import Asset
from app.models.plan import Plan
from app.pipelines.contract.engine import VectorEngine
from app.pipelines.contract.job_context import JobContext
from app.pipelines.contract.plan_context import PlanContext
from app.pipelines.job.attempt import Attempt
from app.pipelines.job.make_plan import make_plan
from app.pipelines.job.pipeline import pipeline_function
from app.pipelines.vector.engines.local import LocalEngine
from app.pipelines.vector.engines.postgis import PostgisEngine
from app.pipelines.vector.engines.postgis_access import DirectPostgis
from app.storage.postgis.server import RunSchema


class InProcess:
    """See `Pipelines`. Nothing protects the clients from what a file makes of a library."""

    def run(self, attempt: Attempt) -> Asset:
        with temporary_files_in(attempt.scratch):
            made: Asset = pipeline_function(attempt.manifest, "run")(_WithEngine(attempt))
        return made

    def plan(self, ctx: JobContext) -> Plan:
        def newest_version() -> int:
            newest = ctx.call(ctx.clients.ledger.get_asset, ctx.manifest.dataset_id)
            return 0 if newest is None else newest.version

        planned = PlanContext(
            manifest=ctx.manifest,
            inputs=ctx,
            scratch=ctx.scratch,
            limits=ctx.limits,
            threads=ctx.threads,
            memory_bytes=ctx.memory_bytes,
            engine=_engine(ctx),
        )
        with temporary_files_in(ctx.scratch):
            return make_plan(planned, pipeline_function(ctx.manifest, "plan"), newest_version)


class _WithEngine:
    """An attempt and the engine of its job: a `RunContext`."""

    def __init__(self, attempt: Attempt) -> None:
        self._attempt = attempt
        self.engine = _engine(attempt)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._attempt, name)


def _engine(ctx: JobContext) -> VectorEngine:
    if ctx.clients.postgis is None:
        return LocalEngine()
    return PostgisEngine(DirectPostgis(ctx.clients.postgis, RunSchema(ctx.job_id, ctx.attempt_number)))
