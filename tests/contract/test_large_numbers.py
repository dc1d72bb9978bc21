"""Ten thousand queued runs, five thousand files, sixty-four generations: bounded work, on every ledger.

Nothing is timed: what is counted is what a look reads, writes and sends.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert

from app.clients import Clients, open_clients
from app.ledger import Ledger, RunFilter
from app.models.asset import AssetMetadata, ParentInput, SourceInput
from app.models.manifest import Manifest
from app.models.page import Page
from app.services import lineage
from app.services.intake import submit
from app.services.sweep import Sweep
from app.settings import QueueSettings, Settings
from app.storage import mongo_documents as documents
from app.storage import sql_tables as tables
from app.storage.ledger_mongo import MongoLedger
from app.storage.ledger_sql import SqlLedger
from tests.contract.ledgers import T0, a_manifest, a_run, an_asset, put_asset, put_running
from tests.servers.redis import RedisServer
from tests.service import manifest

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

RUNS = 10_000
FILES = 5_000
GENERATIONS = 64


@pytest.fixture
async def clients(ledger: Ledger, tmp_path: Path) -> AsyncIterator[Clients]:
    with RedisServer(tmp_path / "redis") as redis:
        settings = Settings(data_dir=tmp_path / "data", queue=QueueSettings.model_validate({"redis_url": redis.url}))
        async with open_clients(settings) as opened:
            yield replace(opened, ledger=ledger)


async def put_queued(ledger: Ledger, number: int) -> None:
    """At once, where accepting them one by one would take minutes."""
    pairs = []
    for n in range(number):
        fields: dict[str, Any] = {"run_id": f"{n:032x}", "partition_key": f"d{n % 97}"}
        run = a_run(f"b{n:05}", created_at=T0 + timedelta(milliseconds=n), **fields)
        pairs.append((a_manifest(run.batch_id), run))
    if isinstance(ledger, SqlLedger):
        async with ledger._db.write() as connection:
            await connection.execute(insert(tables.MANIFESTS), [tables.manifest_values(one) for one, _ in pairs])
            await connection.execute(
                insert(tables.RUNS), [tables.run_values(run) | {"last_seq": 0} for _, run in pairs]
            )
        return
    assert isinstance(ledger, MongoLedger)
    raw = ledger._db.raw
    for name, rows in (
        ("manifests", [documents.manifest_document(*pair) for pair in pairs]),
        ("runs", [documents.run_document(run) for _, run in pairs]),
    ):
        for start in range(0, number, 1000):
            await raw[name].insert_many(rows[start : start + 1000])


class Counted:
    """A ledger that counts its calls."""

    def __init__(self, inner: Ledger) -> None:
        self._inner = inner
        self.calls: Counter[str] = Counter()

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._inner, name)

        async def call(*args: Any, **kwargs: Any) -> Any:
            self.calls[name] += 1
            return await method(*args, **kwargs)

        return call


async def test_a_look_at_ten_thousand_queued_runs_is_bounded(ledger: Ledger, clients: Clients, tmp_path: Path) -> None:
    """Redis has lost everything; each look enqueues a batch at most, reads as much, and the first come first."""
    await put_queued(ledger, RUNS)
    counted = Counted(ledger)
    sweep = Sweep(replace(clients, ledger=counted), scratch=tmp_path / "scratch", max_attempts=3)  # type: ignore[arg-type] # counts
    assert await sweep.once() == ()
    assert sum(counted.calls.values()) <= 10
    for look in range(1, 6):
        counted.calls.clear()
        assert len(await sweep.once()) == 200
        assert sum(counted.calls.values()) <= 210
        assert clients.queue.waiting_runs() == {f"{n:032x}" for n in range(200 * look)}
    counted.calls.clear()
    assert await sweep.once() == ()
    assert sum(counted.calls.values()) <= 10


async def test_ten_thousand_runs_are_paged_and_counted(ledger: Ledger) -> None:
    await put_queued(ledger, RUNS)
    seen: list[str] = []
    page: Page | None = Page(limit=1000)
    while page is not None:
        part = await ledger.list_runs(RunFilter(), page)
        seen += [run.run_id for run in part.items]
        page = Page(1000, part.next_cursor) if part.next_cursor else None
    assert seen == [f"{n:032x}" for n in reversed(range(RUNS))]
    (total,) = (await ledger.totals()).runs
    assert (total.runs, total.oldest) == (RUNS, T0)


async def test_five_thousand_files_fit_a_manifest_and_the_lineage_of_a_version(
    ledger: Ledger, clients: Clients
) -> None:
    """Far under the 16 MiB that MongoDB takes of one document, which holds the manifest and the asset of a commit."""
    keys = [f"tiles/of a longer name than usual/{n:05}.geojson" for n in range(FILES)]
    document = manifest("many", *((key, "GeoJSON") for key in keys))
    accepted = await submit(Manifest.model_validate(document), clients, enabled_lanes=frozenset({"spatial"}))
    assert accepted.created
    record = await ledger.get_manifest("many")
    assert record is not None
    assert len(record.parsed().files) == FILES
    inputs = tuple(
        SourceInput(s3_key=f"s3://landing-zone/{key}", size=2**40, etag="e" * 64, sha256="a" * 64) for key in keys
    )
    run = await put_running(ledger, partition_key="many")
    version = await ledger.reserve_version(run.run_id, run.attempt)
    assert version == 1
    metadata = AssetMetadata(manifest=document, column_schema={})
    made = an_asset(run, inputs=inputs, metadata=metadata)
    assert len(made.model_dump_json()) < 4 * 2**20
    assert await ledger.commit_asset(made, run.attempt) == made
    assert await ledger.get_asset("many") == made
    graph = lineage.graph_of(await lineage.trace(ledger, "many", 1, "both", 1))
    assert sum(node.type == "source" for node in graph.nodes) == FILES


async def test_sixty_four_generations_are_walked_to_the_depth_that_is_asked_for(ledger: Ledger) -> None:
    parents: tuple[ParentInput, ...] = ()
    for n in range(GENERATIONS + 1):
        await put_asset(ledger, f"g{n}", *parents)
        parents = (ParentInput(dataset_id=f"g{n}", version=1, role="left"),)
    for start, direction in ((GENERATIONS, "up"), (0, "down"), (GENERATIONS // 2, "both")):
        depth = GENERATIONS // 2 if direction == "both" else GENERATIONS
        found = await lineage.trace(ledger, f"g{start}", 1, direction, depth)  # type: ignore[arg-type] # one of three
        assert ({asset.dataset_id for asset in found.assets}, found.truncated) == (
            {f"g{n}" for n in range(GENERATIONS + 1)},
            False,
        )
        assert (await lineage.trace(ledger, f"g{start}", 1, direction, depth - 1)).truncated  # type: ignore[arg-type] # as above
        for encoding in ("graph", "openlineage", "prov", "mermaid"):
            text = await lineage.encode(ledger, found, encoding)  # type: ignore[arg-type] # one of four
            assert all(f"g{n}" in text for n in range(GENERATIONS + 1)), encoding
