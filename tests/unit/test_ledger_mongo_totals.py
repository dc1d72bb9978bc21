"""The totals in MongoDB, wherever the process that counts dies or sleeps, and whatever others do meanwhile."""

from __future__ import annotations

import asyncio
from collections import Counter
from itertools import count
from typing import Any

import pytest

from app.ledger import AssetTotal, Guard, RunTotal, Totals
from app.models.asset import Deletion
from app.models.runs.run import Run, RunStatus
from app.storage.mongo.ledger import MongoLedger
from tests.contract.ledgers import MINUTE, T0, an_asset, put_running
from tests.unit.test_ledger_mongo_crash_points import Fate, broken_off, ledger, other_process, url

__all__ = ["ledger", "url"]

pytestmark = pytest.mark.anyio

DELETION = Deletion(at=T0, by="ada", reason="old")
RUNNING = frozenset({RunStatus.RUNNING})


async def a_version(ledger: MongoLedger, name: str, size: int = 5) -> Run:
    """Of a run that is over."""
    run = await put_running(ledger, partition_key=name, batch_id=f"batch-{name}")
    version = await ledger.reserve_version(run.run_id, 1)
    assert version is not None
    assert await ledger.commit_asset(an_asset(run, version, size=size), 1) is not None
    over = await ledger.change_run(run.run_id, Guard(RUNNING), status=RunStatus.SUCCESS, completed_at=T0 + MINUTE)
    assert over is not None
    return over


async def remove(ledger: MongoLedger, name: str) -> None:
    await ledger.delete_version(name, 1, DELETION, keep_newest=False)
    await ledger.version_removed(name, 1, T0)
    assert await ledger.remove_batch(f"batch-{name}")


async def counted_anew(ledger: MongoLedger) -> Totals:
    """Of finished runs and living versions, from all documents."""
    runs, versions, sizes = Counter[tuple[str, str]](), Counter[str](), Counter[str]()
    attempts = Counter[tuple[str, str]]()
    async for run in ledger._db.raw["runs"].find({}):
        if RunStatus(run["status"]).is_final:
            runs[run["status"], run["lane"]] += 1
            attempts[run["status"], run["lane"]] += run["attempt"]
    async for asset in ledger._db.raw["assets"].find({"state": "living"}):
        versions[asset["kind"]] += 1
        sizes[asset["kind"]] += asset["size"]
    return Totals(
        tuple(RunTotal(RunStatus(key[0]), key[1], runs[key], attempts[key]) for key in sorted(runs)),
        tuple(AssetTotal(kind, versions[kind], sizes[kind]) for kind in sorted(versions)),
    )


async def check(ledger: MongoLedger) -> None:
    assert await ledger.totals() == await counted_anew(ledger)


async def what_is_due(ledger: MongoLedger, name: str) -> None:
    """A run and its version, a version that was counted and deleted, and one that was deleted before it was counted."""
    await a_version(ledger, f"{name}-old", 7)
    await ledger.totals()
    await ledger.delete_version(f"{name}-old", 1, DELETION, keep_newest=False)
    await a_version(ledger, f"{name}-new", 11)
    await a_version(ledger, f"{name}-short", 13)
    await ledger.delete_version(f"{name}-short", 1, DELETION, keep_newest=False)


async def test_a_process_that_dies_while_it_counts(ledger: MongoLedger) -> None:
    for turn in count():
        await what_is_due(ledger, f"data-{turn}")
        died, _ = await broken_off(ledger, lambda other: other.totals(), turn)
        await check(ledger)
        await check(ledger)
        if not died:
            assert turn == 6, "the amounts, two runs, a version, one that was deleted, the end"
            return


async def test_a_process_that_dies_while_it_removes_a_batch(ledger: MongoLedger) -> None:
    for turn in count():
        name = f"data-{turn}"
        await a_version(ledger, name)
        if turn % 2:
            await ledger.totals()
        died, _ = await broken_off(ledger, lambda other, name=name: remove(other, name), turn)
        # Until a removal is finished, its run is out of the totals and still there.
        await ledger.list_due_runs(10)
        await check(ledger)
        if not died:
            assert turn > 10
            return


async def test_a_process_that_sleeps_while_it_counts(ledger: MongoLedger) -> None:
    """The others count the same, delete it, remove it for good, and count that."""
    for turn in range(6):
        name = f"data-{turn}"
        await what_is_due(ledger, name)
        fate = Fate(turn, sleeps=True)
        task = asyncio.create_task(other_process(ledger, fate).totals())
        await fate.asleep.wait()
        await check(ledger)
        await ledger.delete_version(f"{name}-new", 1, DELETION, keep_newest=False)
        await a_version(ledger, f"{name}-last", 17)
        await check(ledger)
        await remove(ledger, f"{name}-old")
        await remove(ledger, f"{name}-short")
        fate.wake.set()
        await task
        await check(ledger)


async def test_many_at_once(ledger: MongoLedger) -> None:
    async def life(name: str) -> None:
        await a_version(ledger, name)
        if name[-1] in "24":
            await remove(ledger, name)

    async def watch() -> None:
        for _ in range(5):
            await ledger.totals()

    await asyncio.gather(*(life(f"data-{number}") for number in range(6)), watch(), watch())
    await check(ledger)


async def test_totals_read_no_finished_run_and_no_version(ledger: MongoLedger) -> None:
    """What was counted and is no longer in the one document does not appear: it was not read."""
    await a_version(ledger, "a")
    waiting = await put_running(ledger)
    assert len((await ledger.totals()).runs) == 2
    await ledger._db.raw["totals"].update_one({}, {"$set": {"amounts": []}})
    found = await ledger.totals()
    assert ([each.status for each in found.runs], found.assets) == ([waiting.status], ())


async def test_the_migration_counts_what_is_there(ledger: MongoLedger) -> None:
    for name in ("a", "b"):
        await a_version(ledger, name)
    await ledger.delete_version("b", 1, DELETION, keep_newest=False)
    raw: Any = ledger._db.raw
    for name in ("runs", "assets"):
        await raw[name].update_many({}, {"$unset": {"counted": ""}})
    await raw["totals"].drop()
    await raw["schema_migrations"].delete_one({"_id": "0011_totals"})
    assert await ledger.migrate() == ("0011_totals",)
    assert (await raw["totals"].find_one({}))["amounts"], "by the migration, not one by one"
    await check(ledger)
    await remove(ledger, "b")
    await ledger.delete_version("a", 1, DELETION, keep_newest=False)
    await check(ledger)
