"""The slots of a lane in MongoDB, when a process is suspended between two of its steps while others go on."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from itertools import count
from typing import Any

import pytest

from app.ledger.scheduling import Claim
from app.models.runs.run import Run, RunStatus
from app.storage.mongo.documents import Document
from app.storage.mongo.ledger import MongoLedger
from tests.contract.ledgers import T0, put_run
from tests.unit.test_ledger_mongo_crash_points import Fate, ledger, only, other_process, url
from tests.unit.test_ledger_mongo_dataset_queue import LEASE, asleep_or_done

__all__ = ["ledger", "url"]

pytestmark = pytest.mark.anyio

QUEUED, RUNNING, SUCCESS = RunStatus.QUEUED, RunStatus.RUNNING, RunStatus.SUCCESS


async def two_runs(ledger: MongoLedger, lane: str) -> tuple[Run, Run]:
    """In a lane that has room for one."""
    first, second = [await put_run(ledger, lane=lane) for _ in range(2)]
    await ledger.change_lane(lane, limit=1)
    return first, second


async def claim(ledger: MongoLedger, run: Run, attempt: int = 0) -> Claim:
    return await ledger.claim_run(run.run_id, attempt, LEASE, at=T0, limit=None)


async def slots(ledger: MongoLedger, lane: str) -> list[str]:
    found = await ledger._db.raw["lanes"].find_one({"_id": lane})
    return list(found["slots"])


async def test_an_attempt_that_gives_its_slot_back_late_leaves_that_of_the_next_one(ledger: MongoLedger) -> None:
    for turn in count(1):
        lane = f"lane-{turn}"
        run, other_run = await two_runs(ledger, lane)
        assert (await claim(ledger, run)).run is not None
        fate = Fate(turn, sleeps=True)
        ends = other_process(ledger, fate).change_run(run.run_id, only(RUNNING), status=QUEUED, lease=None)
        task = asyncio.create_task(ends)
        await asleep_or_done(task, fate)
        assert (await claim(ledger, run, 1)).run is not None, "its own slot is no obstacle"
        fate.wake.set()
        await task
        assert (await claim(ledger, other_run)).waiting_for == "lane_limit"
        assert await slots(ledger, lane) == [f"{run.run_id}:2"]
        await ledger.change_run(run.run_id, only(RUNNING), status=SUCCESS)
        assert (await claim(ledger, other_run)).run is not None
        if not fate.asleep.is_set():
            assert turn == 4, "the run, its manifest, that it is shown there, the slot"
            return


async def test_a_claim_that_comes_late_takes_no_slot_of_a_later_attempt(ledger: MongoLedger) -> None:
    run, other_run = await two_runs(ledger, "lane")
    fate = Fate(0, sleeps=True)
    late = asyncio.create_task(claim(other_process(ledger, fate), run))
    await fate.asleep.wait()
    assert (await claim(ledger, run)).run is not None
    await ledger.change_run(run.run_id, only(RUNNING), status=QUEUED, lease=None)
    assert (await claim(ledger, run, 1)).run is not None
    fate.wake.set()
    assert (await late).run is None
    assert await slots(ledger, "lane") == [f"{run.run_id}:2"]
    assert (await claim(ledger, other_run)).waiting_for == "lane_limit"


async def test_a_run_that_is_claimed_during_a_repair_keeps_its_slot(
    ledger: MongoLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, other_run = await two_runs(ledger, "lane")
    fate = Fate(1, sleeps=True)
    claiming = asyncio.create_task(claim(other_process(ledger, fate), run))
    await fate.asleep.wait()
    assert await slots(ledger, "lane") == [f"{run.run_id}:1"], "it has its slot, and is queued"
    repairing = other_process(ledger, Fate(-1))
    many = repairing._runs.many
    reads = 0

    async def read_and_let_it_begin(query: Mapping[str, Any], *rest: Sequence[Any]) -> list[Document]:
        nonlocal reads
        found = await many(query, *rest)  # type: ignore[arg-type] # as they came
        reads += 1
        fate.wake.set()
        await claiming
        return found

    monkeypatch.setattr(repairing._runs, "many", read_and_let_it_begin)
    await repairing.repair_all_slots()
    assert reads == 2
    assert (await claiming).run is not None
    assert await slots(ledger, "lane") == [f"{run.run_id}:1"]
    assert (await claim(ledger, other_run)).waiting_for == "lane_limit"


async def test_slots_of_an_earlier_release_are_replaced(ledger: MongoLedger) -> None:
    """It named them by their runs."""
    run, other_run = await two_runs(ledger, "lane")
    assert (await claim(ledger, run)).run is not None
    await ledger._db.raw["lanes"].update_one({"_id": "lane"}, {"$set": {"slots": [run.run_id]}, "$inc": {"writes": 1}})
    assert (await claim(ledger, other_run)).waiting_for == "lane_limit"
    await ledger.list_due_runs(10)
    assert await slots(ledger, "lane") == [f"{run.run_id}:1"]
