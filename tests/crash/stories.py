"""What is done, and dies: each story has a preparation, an act that dies somewhere, and what its client does then.

Every death has a batch, a dataset and files of its own, named by `name`, in one service with all the others.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any

from app.clients import Clients
from app.errors import DomainError
from app.ledger import Guard
from app.models.base import utcnow
from app.models.caller import Caller
from app.models.manifests.manifest import LANDING_BUCKET, Manifest
from app.models.runs.attempt import AttemptEnd, AttemptOutcome
from app.models.runs.run import Lease, Retries, RunStatus
from app.runs.ending import attempt_died
from app.services.intake import submit as intake
from app.services.intake import webhook_deliveries as deliveries
from app.services.intake.dropped_manifests import IntakeConfig, intake_object
from app.services.intake.webhook_deliveries import Body, read_body
from app.services.runs import control as runs_control
from app.settings import Settings
from tests.service import POINTS, geojson, manifest, point, raster_manifest

Json = dict[str, Any]
LANES = frozenset({"spatial", "tabular", "join", "ingest"})
CSV = b"id,name,n\n" + b"".join(b"%03d,name %d,%d\n" % (n, n, n * n) for n in range(400)) + b"999,ragged\n"


class Service:
    """The parts of the service, in this process."""

    def __init__(
        self, settings: Settings, clients: Clients, call: Callable[..., Any], work: Callable[[str], None]
    ) -> None:
        self.settings, self.clients, self.call, self.work = settings, clients, call, work

    def put(self, key: str, body: bytes) -> None:
        async def put() -> None:
            await self.clients.objects.put(LANDING_BUCKET, key, _chunks(body))

        self.call(put)

    def submit(self, document: Json) -> str:
        async def submit() -> str:
            origin = intake.Origin(caller=Caller(ip="192.0.2.7"))
            parsed = Manifest.model_validate(document)
            return (await intake.submit(parsed, self.clients, enabled_lanes=LANES, origin=origin)).run.run_id

        return str(self.call(submit))

    def ingest(self, document: Json) -> str:
        run_id = self.submit(document)
        self.work(run_id)
        return run_id

    @property
    def intake_config(self) -> IntakeConfig:
        return IntakeConfig(self.clients, LANES, 1_000_000)

    def receive(self, key: str) -> None:
        """The webhook's request."""
        event = {"EventName": "s3:ObjectCreated:Put", "Key": f"{LANDING_BUCKET}/{key}", "Records": []}
        record = {"s3": {"bucket": {"name": LANDING_BUCKET}, "object": {"key": key, "sequencer": key}}}
        event["Records"] = [{"eventName": event["EventName"], **record}]

        async def receive() -> None:
            body: Body = await read_body(_chunks(json.dumps(event).encode()), 1_000_000)
            await deliveries.receive(body, self.intake_config, ip="192.0.2.8")

        self.call(receive)

    def take_in(self, key: str) -> None:
        """What the sweep does with an object that nothing announced."""

        async def take() -> None:
            await intake_object(key, self.intake_config, source="sweep")

        self.call(take)


async def _chunks(body: bytes) -> AsyncIterator[bytes]:
    yield body


@dataclass(frozen=True)
class Story:
    """prepare: what is there before. act: what dies. again: what a client does that got no answer, when there is one.

    at_once: its client asks again before the service has moved on by itself.
    """

    act: Callable[[Service, str], object]
    prepare: Callable[[Service, str], object] = lambda _service, _name: None
    again: Callable[[Service, str], object] = lambda _service, _name: None
    at_once: bool = False


def vector(name: str, **changes: Any) -> Json:
    return manifest(name, (f"{name}/points.geojson", "GeoJSON"), **changes)


def _checked(name: str) -> Json:
    checks = [{"check": "rows", "min": 1_000_000}, {"check": "rows", "min": 999_999, "severity": "warn"}]
    return vector(name, dataset={"checks": checks})


def _put_points(service: Service, name: str) -> None:
    service.put(f"{name}/points.geojson", POINTS)


def _tabular(name: str, key: str = "") -> Json:
    document = manifest(name, intent="ingest_tabular")
    path = f"s3://{LANDING_BUCKET}/{key or name + '/rows.csv'}"
    document["files"] = [{"path": path, "type": "tabular", "format": "CSV", "options": {"types": {"id": "text"}}}]
    return document


def _join(name: str) -> Json:
    config = {"spatial_dataset_id": f"{name}-places", "tabular_dataset_id": f"{name}-rows", "left_key": "name"}
    document = manifest(name, intent="join_datasets")
    document["metadata"]["join_config"] = config
    return document


def _prepare_join(service: Service, name: str) -> None:
    service.put(f"{name}/places.geojson", geojson(*((point(n, n), {"name": f"name {n}"}) for n in range(5))))
    service.put(f"{name}/rows.csv", CSV)
    service.ingest(manifest(f"{name}-places", (f"{name}/places.geojson", "GeoJSON")))
    service.ingest(_tabular(f"{name}-rows", f"{name}/rows.csv"))


def _prepare_unchanged(service: Service, name: str) -> None:
    _put_points(service, name)
    service.ingest(vector(f"{name}-first", tags={"dataset_id": name}))


def _submitted(service: Service, name: str) -> None:
    _put_points(service, name)
    service.submit(vector(name))


def _begun(service: Service, name: str, *, silent: bool = False) -> None:
    """A run that a worker of another host has claimed. silent: its lease is over."""
    _submitted(service, name)
    lease = Lease(owner="another-host/0/1/1", expires_at=utcnow() + timedelta(hours=-1 if silent else 1))

    async def claim() -> None:
        guard = Guard(frozenset({RunStatus.QUEUED}))
        changes = {"status": RunStatus.RUNNING, "attempt": 1, "lease": lease}
        assert await service.clients.ledger.change_run(intake.run_id_for(name), guard, **changes)

    service.call(claim)


def _died(max_attempts: int) -> Callable[[Service, str], None]:
    """What the sweep does with a silent run."""

    def act(service: Service, name: str) -> None:
        async def give_up() -> None:
            run = await service.clients.ledger.get_run(intake.run_id_for(name))
            assert run is not None
            end = AttemptEnd(outcome=AttemptOutcome.LEASE_LOST, detail="it fell silent")
            await attempt_died(run, end, service.clients, Retries(max_attempts), utcnow())

        service.call(give_up)

    return act


def _cancel(service: Service, name: str) -> None:
    async def cancel() -> None:
        await runs_control.cancel(intake.run_id_for(name), service.clients, seconds=-60, caller=Caller(ip="192.0.2.9"))

    _asked(service, cancel)


def _rerun(service: Service, name: str) -> None:
    async def rerun() -> str:
        first = intake.run_id_for(name)
        run = await runs_control.rerun(first, service.clients, enabled_lanes=LANES, new_version="always")
        return run.run_id

    _asked(service, rerun)


def _withdraw(service: Service, name: str) -> None:
    async def withdraw() -> None:
        await runs_control.withdraw(name, service.clients, caller=Caller(ip="192.0.2.9"))

    _asked(service, withdraw)


def _asked(service: Service, function: Callable[[], Any]) -> None:
    """An answer that says that it is done already is as good as one that does it."""
    with suppress(DomainError):
        service.call(function)


def _prepare_failed(service: Service, name: str) -> None:
    """A manifest whose file is not there, and its run."""
    _put_points(service, name)
    service.ingest(manifest(name, (f"{name}/pints.geojson", "GeoJSON")))


def _correct(service: Service, name: str) -> str:
    stored = service.call(service.clients.ledger.get_manifest, name)
    return service.submit(vector(name, supersedes=stored.content_hash))


def _ingest(make: Callable[[str], Json]) -> Callable[[Service, str], object]:
    return lambda service, name: service.ingest(make(name))


def _submit(make: Callable[[str], Json]) -> Callable[[Service, str], object]:
    return lambda service, name: service.submit(make(name))


def _drop(service: Service, name: str, document: Json) -> None:
    service.put(f"manifests/{name}.json", json.dumps(document).encode())


def _prepare_dropped(service: Service, name: str) -> None:
    _put_points(service, name)
    _drop(service, name, vector(name))


def _prepare_rejected(service: Service, name: str) -> None:
    _drop(service, name, {"batch_id": name, "uploader": "ada"})


def _announce(service: Service, name: str) -> None:
    service.receive(f"manifests/{name}.json")


def _raster(service: Service, name: str) -> None:
    service.put(f"{name}/grid.tif", (service.settings.data_dir / "grid.tif").read_bytes())


STORIES: dict[str, Story] = {
    "vector": Story(_ingest(vector), _put_points, _submit(vector)),
    "raster": Story(
        _ingest(lambda name: raster_manifest(name, f"{name}/grid.tif")),
        _raster,
        _submit(lambda name: raster_manifest(name, f"{name}/grid.tif")),
    ),
    "tabular": Story(_ingest(_tabular), lambda service, name: service.put(f"{name}/rows.csv", CSV), _submit(_tabular)),
    "join": Story(_ingest(_join), _prepare_join, _submit(_join)),
    "unchanged": Story(_ingest(vector), _prepare_unchanged, _submit(vector)),
    # One of its checks fails, and one only warns.
    "checks": Story(_ingest(_checked), _put_points, _submit(_checked)),
    # Its file is not there.
    "refused": Story(_ingest(vector), again=_submit(vector)),
    "cancel_queued": Story(_cancel, _submitted, _cancel, at_once=True),
    "cancel_running": Story(_cancel, _begun, _cancel, at_once=True),
    # What the sweep of the service does as well, which has three attempts.
    "next_attempt": Story(_died(3), partial(_begun, silent=True)),
    "withdraw": Story(_withdraw, _submitted, _withdraw, at_once=True),
    "rerun": Story(
        _rerun, lambda service, name: (_put_points(service, name), service.ingest(vector(name))), _rerun, at_once=True
    ),
    "supersede": Story(
        lambda service, name: service.work(_correct(service, name)), _prepare_failed, _correct, at_once=True
    ),
    "dropped": Story(lambda service, name: service.take_in(f"manifests/{name}.json"), _prepare_dropped),
    "rejected": Story(lambda service, name: service.take_in(f"manifests/{name}.json"), _prepare_rejected),
    # The store sends an event again until it is answered.
    "webhook": Story(_announce, _prepare_dropped, _announce, at_once=True),
}
