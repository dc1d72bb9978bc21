"""One story, with a death before each of its writes: `python -m tests.crash.campaign STORY EVERY` prints JSON.

The environment says which service: data directory, ledger, store, engine. This process imports the heavy modules and
uses none of them; every death, and what goes on after them, is a forked child of it. All deaths lie in one service:
when all have happened, the sweep and one more worker go on until nothing moves any more. What is left of each is
printed beside what is left where nobody died. There is no queue: the ledger is where runs wait when it is away.
"""

from __future__ import annotations

import importlib
import json
import os
import pickle
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable
from itertools import count
from typing import Any

from anyio.from_thread import start_blocking_portal

from app.clients import open_clients
from app.ledger import AssetFilter, ManifestFilter, RunFilter
from app.models.asset import Asset
from app.models.intents import pipelines
from app.models.manifests.manifest import LAKE_BUCKET, LANDING_BUCKET, REJECTED_PREFIX
from app.models.page import Page
from app.models.runs.activity import Activity
from app.models.runs.run import Retries, Run, RunStatus
from app.services.intake.landing_scan import LandingScanner
from app.services.sweep.sweep import Sweep
from app.settings import Settings
from app.system.processes import process_name
from tests.crash.stories import STORIES, Service, Story
from tests.crash.tape import DIED, Tape, record
from tests.in_process import InProcess

Json = dict[str, Any]
_ALL = Page(limit=1000)
_PATIENCE = 120.0
# Besides the pipelines: what every child would import for itself.
_WARM = ("app.pipelines.job.runner", "app.storage.sql.ledger", "app.storage.mongo.ledger", "app.storage.s3.store",
         "asyncpg", "sqlalchemy.dialects.sqlite.pysqlite", "aiobotocore.client")  # fmt: skip


def forked(work: Callable[[], Any]) -> tuple[int, Any]:
    """Run it in a forked child: the status that it ends with, and what it returned."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            os.close(reading)
            with os.fdopen(writing, "wb") as pipe:
                pickle.dump(work(), pipe)
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        sent = pipe.read()
    _, ended = os.waitpid(pid, 0)
    code = os.waitstatus_to_exitcode(ended)
    return code, pickle.loads(sent) if code == 0 else None  # noqa: S301 # of our own child


def with_service(work: Callable[[Service], Any]) -> Any:
    from app.pipelines.job import runner

    settings = Settings()
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(open_clients(settings)) as clients:

        def carry(run_id: str) -> None:
            runner.execute(run_id, clients, portal.call, process_name(), settings, InProcess())

        return work(Service(settings, clients, portal.call, carry))


def dying(story: Story, name: str, turn: int) -> list[str]:
    """Its writes, if it lives."""
    tape = Tape(turn)

    def act(service: Service) -> None:
        # Opened and asked before anything counts.
        service.call(service.clients.ledger.ping)
        record(tape, service.settings.objects_dir)
        story.act(service, name)

    with_service(act)
    return tape.names


def settle(service: Service, story: Story, names: list[str]) -> None:
    """What the service does by itself, and the clients of those names, who got no answer."""
    if story.at_once:
        for name in names:
            story.again(service, name)
    _go_on(service)
    if not story.at_once:
        for name in names:
            story.again(service, name)
    _go_on(service)


def _go_on(service: Service) -> None:
    clients, deadline = service.clients, time.monotonic() + _PATIENCE
    for partial in service.settings.objects_dir.glob(".*.partial/*"):
        # Uploads of dead writers are removed when they are an hour old.
        os.utime(partial, (0, 0))
    clock = _Fast()
    scratch, retries = service.settings.scratch_dir, Retries(3)
    sweep = Sweep(clients, scratch=scratch, retries=retries, clock=clock)
    watch = LandingScanner(service.intake_config)
    while time.monotonic() < deadline:
        service.call(sweep.once)
        service.call(watch.once)
        due = service.call(clients.ledger.list_due_runs, 1000)
        queued = service.call(clients.ledger.list_runs, RunFilter(RunStatus.QUEUED), _ALL).items
        for run in reversed(queued):
            service.work(run.run_id)
        waiting = service.call(clients.ledger.list_deliveries, "received", _ALL).items
        dropped = service.call(clients.objects.list_objects, LANDING_BUCKET, "manifests/").objects
        if not due and not queued and not waiting and not dropped:
            # Once more, for what the last runs left.
            service.call(Sweep(clients, scratch=scratch, retries=retries).once)
            return
        clock.ahead += 60
        time.sleep(0.2)
    raise AssertionError(f"it does not come to rest: {due} {queued} {waiting} {dropped}")


class _Fast:
    """The sweep's own clock, put forward: a minute of silence need not be waited for."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        return time.monotonic() + self.ahead


def left_of(service: Service, name: str) -> Json:
    """Everything that a reader can see of that batch, without what may differ: times, ids, numbers of attempts."""
    clients, call = service.clients, service.call
    runs = call(clients.ledger.list_runs, RunFilter(batch_id=name), _ALL).items[::-1]
    record = call(clients.ledger.get_manifest, name)
    logs = [call(clients.ledger.list_events, run.run_id, 0, 1000) for run in runs]
    assets = call(clients.ledger.list_assets, AssetFilter(dataset_id=name), _ALL).items
    trail = call(clients.ledger.list_activity, _ALL).items
    names, key = (name, *(run.run_id for run in runs)), f"manifests/{name}.json"
    entries = [entry for entry in trail if entry.resource_id in names or entry.details.get("object_key") == key]
    lake = call(clients.objects.list_objects, LAKE_BUCKET, f"{name}/").objects
    archive = call(clients.objects.list_objects, LANDING_BUCKET, f"archive/manifests/{name}.").objects
    rejected = call(clients.ledger.list_manifests, ManifestFilter(object_key=key), _ALL).items
    left = {
        "manifests": [each and (each.status, each.error_message, len(each.earlier)) for each in (record, *rejected)],
        "runs": [_run(run) for run in runs],
        "assets": [_asset(asset) for asset in assets],
        "audit": sorted(Counter(f"{_who(each)} {each.action}" for each in entries).items()),
        "ends": [sorted(event.code for event in log if event.code.startswith("run.")) for log in logs],
        "gaps": [[event.seq for event in log] != list(range(1, len(log) + 1)) for log in logs],
        "lake": [info.key for info in lake],
        "archived": len(archive),
        "looked at": [
            info.key
            for run in runs
            for info in call(clients.objects.list_objects, LAKE_BUCKET, f"{REJECTED_PREFIX}{run.run_id}/").objects
        ],
    }
    text = json.dumps(left).replace(name, "NAME")
    for number, run in enumerate(runs):
        text = text.replace(run.run_id, f"RUN{number}")
    return dict(json.loads(text))


def _who(entry: Activity) -> str:
    """Where the webhook died before it accepted what was dropped, the sweep takes it in: either may do that."""
    return "intake" if entry.user in ("webhook", "sweep") else f"{entry.user} {entry.ip}"


def _run(run: Run) -> Json:
    fields = {"status", "counts", "unchanged_version", "reserved_version", "progress", "checks"}
    return {
        **run.model_dump(mode="json", include=fields),
        "error": run.error and run.error.code,
        "warnings": sorted(warning.code for warning in run.warnings),
    }


def _asset(asset: Asset) -> Json:
    fields = {"version", "content_hash", "size", "kind", "format", "crs", "bounds", "statistics"}
    inputs = [each.model_dump(mode="json", exclude={"etag", "s3_key", "dataset_id"}) for each in asset.inputs]
    return {**asset.model_dump(mode="json", include=fields), "inputs": inputs}


def litter(service: Service) -> list[str]:
    """What nobody owns any more."""
    settings = service.settings
    found = [path.name for path in settings.scratch_dir.glob("*")]
    found += [str(path.relative_to(settings.objects_dir)) for path in settings.objects_dir.glob(".*.partial/*")]
    if service.clients.postgis is not None:
        found += [schema.name for schema in service.call(service.clients.postgis.list_schemas)]
    return found


def campaign(word: str, every: int) -> Json:
    story = STORIES[word]
    names: list[str] = []
    for turn in count(0, every):
        name = f"{word.replace('_', '-')}-{turn}"
        names.append(name)
        code, _ = forked(lambda name=name: with_service(lambda service: story.prepare(service, name)))  # type: ignore[misc] # read at once
        assert code == 0, f"the preparation of {name} ended with {code}"
        code, writes = forked(lambda name=name, turn=turn: dying(story, name, turn))  # type: ignore[misc] # as above
        assert code in (0, DIED), f"{name} ended with {code}"
        if code == 0:
            break

    def end(service: Service) -> Json:
        *died, lived = names
        settle(service, story, died)
        return {
            "writes": writes,
            "undisturbed": left_of(service, lived),
            "died": {name: left_of(service, name) for name in died},
            "litter": litter(service),
        }

    code, found = forked(lambda: with_service(end))
    assert code == 0, "what goes on after the deaths failed"
    return dict(found)


def main() -> None:
    for path in pipelines():
        importlib.import_module(path.partition(":")[0])
    for module in _WARM:
        importlib.import_module(module)
    print(json.dumps(campaign(sys.argv[1], int(sys.argv[2]))))


if __name__ == "__main__":
    main()
