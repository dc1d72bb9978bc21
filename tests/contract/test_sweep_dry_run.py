"""`sweep --dry-run`: it says what the sweep then does, and writes nothing, on every ledger."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, select

from app.clients import Clients, open_clients
from app.lane_limits import LaneRules, Lanes
from app.ledger import Guard, Ledger
from app.models.manifests.delivery import Delivery
from app.models.manifests.manifest import LANDING_BUCKET
from app.models.runs.run import Lease, Retries, Run, RunStatus
from app.services.sweep.dead_attempts import LeaseTimeouts
from app.services.sweep.dry_run import Finding, dry_run
from app.services.sweep.sweep import Sweep
from app.settings import QueueSettings, Settings
from app.storage.mongo import documents
from app.storage.mongo.ledger import MongoLedger
from app.storage.sql.ledger import SqlLedger
from app.storage.sql.tables import Base
from app.system.processes import process_name
from tests.contract.ledgers import T0, a_manifest, a_run, an_asset, put_run, put_running
from tests.servers.redis import RedisServer

pytestmark = pytest.mark.anyio

GONE = process_name().rpartition("/")[0] + "/1"
SILENT = "another-host/0/1/1"


async def everything(ledger: Ledger) -> dict[str, list[Any]]:
    """All rows or documents of the ledger."""
    if isinstance(ledger, SqlLedger):

        def look(connection: Connection) -> dict[str, list[Any]]:
            tables = Base.metadata.sorted_tables
            return {table.name: sorted(map(repr, connection.execute(select(table)))) for table in tables}

        return await ledger._db.read(look)
    assert isinstance(ledger, MongoLedger)
    raw = ledger._db.raw
    return {
        name: sorted([repr(each) async for each in raw[name].find({})]) for name in await raw.list_collection_names()
    }


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture
async def clients(ledger: Ledger, tmp_path: Path) -> AsyncIterator[Clients]:
    with RedisServer(tmp_path / "redis") as redis:
        settings = Settings(data_dir=tmp_path / "data", queue=QueueSettings.model_validate({"redis_url": redis.url}))
        async with open_clients(settings) as opened:
            await opened.objects.make_buckets()
            yield replace(opened, ledger=ledger, lanes=Lanes(ledger, LaneRules()))


async def leased(ledger: Ledger, owner: str, status: RunStatus = RunStatus.RUNNING, **fields: Any) -> Run:
    run = await put_running(ledger, **fields)
    guard = Guard(frozenset({RunStatus.RUNNING}))
    changed = await ledger.change_run(run.run_id, guard, status=status, lease=Lease(owner=owner, expires_at=T0))
    assert changed is not None
    return changed


async def half_accepted(ledger: Ledger) -> str | None:
    """A manifest whose writer died before its run was inserted; only MongoDB knows such."""
    if not isinstance(ledger, MongoLedger):
        return None
    record, run = a_manifest("half"), a_run("half")
    document = documents.manifest_document(record, run) | {"pending_run": documents.run_document(run)}
    assert await ledger._manifests.add(document)
    return record.batch_id


async def body() -> AsyncIterator[bytes]:
    yield b"{}"


async def test_it_says_what_the_sweep_then_does_and_writes_nothing(
    ledger: Ledger, clients: Clients, tmp_path: Path
) -> None:
    scratch = tmp_path / "data" / "scratch"
    runs = {
        "queued": await leased(ledger, GONE, partition_key="a"),
        "canceled": await leased(ledger, GONE, RunStatus.CANCELING, partition_key="b"),
        "success": await leased(ledger, SILENT, partition_key="c"),
        "living": await leased(ledger, process_name(), partition_key="d"),
        "lost": await put_run(ledger, partition_key="e"),
        "waiting": await put_run(ledger, partition_key="f"),
    }
    version = await ledger.reserve_version(runs["success"].run_id, 1)
    assert version == 1
    statistics = {"counts": {}, "engine": {}}
    assert await ledger.commit_asset(an_asset(runs["success"], 1, statistics=statistics), 1) is not None
    living = runs["living"].model_copy(update={"lease": None})
    await ledger.change_run(living.run_id, Guard(frozenset({RunStatus.RUNNING})), lease=None)
    clients.queue.enqueue(runs["waiting"])
    half = await half_accepted(ledger)
    await ledger.add_delivery(Delivery(delivery_id="d", received_at=T0, body="{}"))
    await clients.objects.put(LANDING_BUCKET, "manifests/m.json", body())
    for name, owner in ((f"{runs['queued'].run_id}.1", GONE), (f"{living.run_id}.1", process_name())):
        (scratch / name).mkdir(parents=True)
        (scratch / name / ".owner").write_text(owner)

    patience = LeaseTimeouts(lease_seconds=0)
    before = await everything(ledger), files(tmp_path / "data"), clients.queue.waiting_runs()
    found = await dry_run(clients, scratch=scratch, max_attempts=3, timeouts=patience, pause=0)
    assert (await everything(ledger), files(tmp_path / "data"), clients.queue.waiting_runs()) == before

    of_runs = {each.name: each.action for each in found if each.kind == "run"}
    assert of_runs == {
        **{runs[status].run_id: status for status in ("queued", "canceled", "success")},
        runs["lost"].run_id: "enqueued",
    }
    others = {(each.kind, each.name) for each in found if each.kind != "run"}
    assert others == {
        ("scratch", f"{runs['queued'].run_id}.1"),
        ("manifest", "manifests/m.json"),
        ("delivery", "d"),
        *({("write", half)} if half else ()),
    }

    sweep = Sweep(clients, scratch=scratch, retries=Retries(3), timeouts=patience)
    done = [*await sweep.once(), *await sweep.once()]
    assert {each.run_id: each.action for each in done if each.action != "scratch_removed"}.items() >= of_runs.items()
    assert await everything(ledger) != before[0]
    again = await dry_run(clients, scratch=scratch, max_attempts=3, timeouts=patience, pause=0)
    assert {each.kind for each in again} == {"manifest", "delivery"}


async def test_a_queue_that_is_away_is_said(ledger: Ledger, tmp_path: Path) -> None:
    await put_run(ledger)
    async with open_clients(Settings(data_dir=tmp_path)) as opened:
        alone = replace(opened, ledger=ledger, lanes=Lanes(ledger, LaneRules()))
        found = await dry_run(alone, scratch=tmp_path, max_attempts=3, timeouts=LeaseTimeouts(), pause=0)
    assert [(each.kind, each.name) for each in found] == [("unseen", "queue")]
    assert isinstance(found[0], Finding)
