"""What carries out a manifest: the function of its pipeline."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Literal, Protocol

from app.messages.job import INTENT_NOT_AVAILABLE
from app.models.asset import Asset
from app.models.manifests.manifest import Manifest
from app.models.plan import Plan

if TYPE_CHECKING:
    from app.pipelines.contract.job_context import JobContext
    from app.pipelines.job.attempt import Attempt


class Pipelines(Protocol):
    """Where the pipelines of jobs run: in a reader (`InReader`), or in a test's own process."""

    def run(self, attempt: Attempt) -> Asset:
        """Carry out the manifest. Raises what the pipeline raises."""
        ...

    def plan(self, ctx: JobContext) -> Plan:
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
