"""Pipelines in the process of the caller, for tests and benchmarks; jobs run them in readers."""

from __future__ import annotations

from app.clients import Clients
from app.jobs.scratch import temporary_files_in
from app.models.asset import Asset
from app.models.plan import Plan
from app.pipelines.contract.engine import VectorEngine
from app.pipelines.contract.plan_context import PlanContext
from app.pipelines.job.attempt import Attempt
from app.pipelines.job.make_plan import make_plan
from app.pipelines.job.pipeline import pipeline_function
from app.pipelines.vector.engines.local import LocalEngine
from app.pipelines.vector.engines.postgis import PostgisEngine
from app.pipelines.vector.engines.postgis_access import DirectPostgis
from app.storage.postgis.server import RunSchema


class InProcess:
    """Pipelines in the calling process. Nothing protects its clients from what a file makes of a library."""

    def engine(self, clients: Clients, job_id: str, attempt: int = 1) -> VectorEngine:
        if clients.postgis is None:
            return LocalEngine()
        return PostgisEngine(DirectPostgis(clients.postgis, RunSchema(job_id, attempt)))

    def run(self, attempt: Attempt) -> Asset:
        with temporary_files_in(attempt.scratch):
            made: Asset = pipeline_function(attempt.manifest, "run")(attempt)
        return made

    def plan(self, ctx: PlanContext) -> Plan:
        def newest_version() -> int:
            newest = ctx.call(ctx.clients.ledger.get_asset, ctx.manifest.dataset_id)
            return 0 if newest is None else newest.version

        with temporary_files_in(ctx.scratch):
            return make_plan(ctx, pipeline_function(ctx.manifest, "plan"), newest_version)
