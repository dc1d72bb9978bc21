"""What carries out a manifest: the function of its pipeline, and the engine of vector intents, in this process."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Literal, Protocol

from app.messages.job import INTENT_NOT_AVAILABLE
from app.models.asset import Asset
from app.models.manifest import Manifest
from app.models.plan import Plan

if TYPE_CHECKING:
    from app.clients import Clients
    from app.pipelines.contract.engine import VectorEngine
    from app.pipelines.contract.plan_context import PlanContext
    from app.pipelines.job.attempt import Attempt


class Pipelines(Protocol):
    """Where the pipelines of jobs run: in a reader, or in the job's own process."""

    def engine(self, clients: Clients, job_id: str, attempt: int = 1) -> VectorEngine:
        """The engine for the context of a job. job_id, attempt: name the schema of the PostGIS engine."""
        ...

    def run(self, attempt: Attempt) -> Asset:
        """Carry out the manifest. Raises what the pipeline raises."""
        ...

    def plan(self, ctx: PlanContext) -> Plan:
        """Carry out the plan of the manifest. Raises what the pipeline raises, save refusals, which are in the plan."""
        ...


def pipeline_function(manifest: Manifest, purpose: Literal["run", "plan"]) -> Any:
    """The function that the table of intents names, or the `plan` of its module.

    Raises:
        RunRefused: intent_not_available.
    """
    intent = manifest.intent_row
    if intent.pipeline is None:
        raise INTENT_NOT_AVAILABLE(intent=intent.name)
    module, _, name = intent.pipeline.partition(":")
    return getattr(importlib.import_module(module), name if purpose == "run" else purpose)
