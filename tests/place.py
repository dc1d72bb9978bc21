"""One service without processes, on a real ledger and a real store: the thread that asks for a run carries it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from anyio.from_thread import BlockingPortal, start_blocking_portal

from app.clients import Clients, open_clients
from app.ledger import Accepted, Ledger
from app.models.base import new_id
from app.models.manifests.manifest import LAKE_BUCKET, LANDING_BUCKET, Manifest
from app.models.plan import PlanOutcome
from app.models.runs.run import Run
from app.pipelines.job import plan_runner, runner
from app.services.intake.submit import Origin, submit
from app.settings import Settings
from app.system.processes import process_name
from tests.in_process import InProcess
from tests.service import Json

LANES = frozenset({"spatial", "tabular", "ingest", "join"})


class Place:
    """Everything but processes and HTTP."""

    def __init__(self, portal: BlockingPortal, clients: Clients, settings: Settings) -> None:
        self.portal, self.clients, self.settings = portal, clients, settings

    @property
    def ledger(self) -> Ledger:
        return self.clients.ledger

    def put(self, key: str, body: bytes) -> str:
        async def chunks() -> AsyncIterator[bytes]:
            yield body

        async def put() -> None:
            await self.clients.objects.put(LANDING_BUCKET, key, chunks())

        self.portal.call(put)
        return key

    def accept(self, document: Json, origin: Origin | None = None) -> Accepted:
        async def accept() -> Accepted:
            manifest = Manifest.model_validate(document)
            return await submit(manifest, self.clients, enabled_lanes=LANES, origin=origin or Origin())

        return self.portal.call(accept)

    def carry(self, run: Run, **parts: Any) -> Run:
        clients = replace(self.clients, **parts)
        runner.execute(run.run_id, clients, self.portal.call, process_name(), self.settings, InProcess())
        found = self.portal.call(self.ledger.get_run, run.run_id)
        assert found is not None
        return found

    def ingest(self, document: Json) -> Run:
        return self.carry(self.accept(document).run)

    def plan(self, document: Json) -> PlanOutcome:
        """What a worker answers to the plan of this manifest."""
        text = Manifest.model_validate(document).model_dump_json(exclude_defaults=True)
        return plan_runner.outcome(text, new_id(), self.clients, self.portal.call, self.settings, InProcess())

    def codes(self, run: Run) -> list[str]:
        return [event.code for event in self.portal.call(self.ledger.list_events, run.run_id)]

    def lake(self) -> list[str]:
        found = self.portal.call(self.clients.objects.list_objects, LAKE_BUCKET, "")
        return [info.key for info in found.objects]

    def product(self, dataset: str) -> Path:
        """The data of the newest version."""
        asset = self.portal.call(self.ledger.get_asset, dataset)
        assert asset is not None
        return self.settings.objects_dir / LAKE_BUCKET / asset.s3_key


@contextmanager
def a_place(data_dir: Path) -> Iterator[Place]:
    data_dir.mkdir()
    settings = Settings(data_dir=data_dir)
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(open_clients(settings)) as clients:
        portal.call(clients.ledger.migrate)
        yield Place(portal, clients, settings)
