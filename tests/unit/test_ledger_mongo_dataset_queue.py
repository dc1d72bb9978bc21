"""The turn of a dataset in MongoDB, when a process dies, or sleeps, between any two of its writes."""

from __future__ import annotations

import asyncio
from itertools import count
from typing import Any

import pytest

from app.models.runs.run import Lease, Run, RunStatus
from app.storage.mongo.ledger import MongoLedger
from tests.contract.ledgers import MINUTE, T0, a_manifest, a_run, claim, put_run
from tests.unit.test_ledger_mongo_crash_points import (  # noqa: F401 # two are fixtures
    Fate,
    broken_off,
    half_done,
    ledger,
    only,
    other_process,
    url,
)

pytestmark = pytest.mark.anyio

LEASE = Lease(owner="host:1:1", expires_at=T0 + MINUTE)
QUEUED, RUNNING, CANCELED = RunStatus.QUEUED, RunStatus.RUNNING, RunStatus.CANCELED


async def put_line(ledger: MongoLedger, dataset: str, length: int = 3) -> list[Run]:  # noqa: F811 # the fixture's value
    times = [T0 + place * MINUTE for place in range(length)]
    return [await put_run(ledger, partition_key=dataset, created_at=time) for time in times]


async def writer_of(ledger: MongoLedger, dataset: str) -> str | None:  # noqa: F811 # as above
    writer = await ledger.get_writer(dataset)
    assert writer is None or not writer.blocked
    return None if writer is None else writer.run_id


async def asleep_or_done(task: asyncio.Task[Any], fate: Fate) -> None:
    """It may be done before its write of that number."""
    asleep = asyncio.create_task(fate.asleep.wait())
    await asyncio.wait({task, asleep}, return_when=asyncio.FIRST_COMPLETED)
    asleep.cancel()


async def cancel(ledger: MongoLedger, run: Run) -> None:  # noqa: F811 # as above
    assert await ledger.change_run(run.run_id, only(QUEUED), status=CANCELED, completed_at=T0) is not None


async def test_the_turn_goes_on_wherever_the_one_who_passes_it_dies(ledger: MongoLedger) -> None:  # noqa: F811
    for turn in count():
        dataset = f"data-{turn}"
        first, second, third = await put_line(ledger, dataset)
        died, _ = await broken_off(ledger, lambda other, first=first: cancel(other, first), turn)
        await ledger.list_due_runs(10)
        assert await writer_of(ledger, dataset) == (second if turn > 0 else first).run_id
        if turn == 0:
            await cancel(ledger, first)
        for run, after in ((second, third.run_id), (third, None)):
            await cancel(ledger, run)
            assert await writer_of(ledger, dataset) == after
        assert await half_done(ledger) == []
        if not died:
            assert turn == 6
            return


async def test_the_next_ends_while_it_is_given_the_turn(ledger: MongoLedger) -> None:  # noqa: F811 # the fixture
    for turn in range(1, 6):
        dataset = f"data-{turn}"
        first, second, third = await put_line(ledger, dataset)
        fate = Fate(turn, sleeps=True)
        task = asyncio.create_task(cancel(other_process(ledger, fate), first))
        await asleep_or_done(task, fate)
        await cancel(ledger, second)
        fate.wake.set()
        await task
        await ledger.list_due_runs(10)
        assert await writer_of(ledger, dataset) == third.run_id
        assert await half_done(ledger) == []


async def test_one_that_lines_up_while_the_last_ends_is_not_forgotten(ledger: MongoLedger) -> None:  # noqa: F811
    for ending in range(6):
        for joining in range(3):
            dataset = f"data-{ending}-{joining}"
            (last,) = await put_line(ledger, dataset, 1)
            late = a_run(f"late-{dataset}", partition_key=dataset)
            fates = Fate(ending, sleeps=True), Fate(joining, sleeps=True)
            joins = asyncio.create_task(other_process(ledger, fates[1]).accept(a_manifest(late.batch_id), late))
            await asleep_or_done(joins, fates[1])
            ends = asyncio.create_task(cancel(other_process(ledger, fates[0]), last))
            await asleep_or_done(ends, fates[0])
            fates[1].wake.set()
            await joins
            fates[0].wake.set()
            await ends
            await ledger.list_due_runs(10)
            assert await writer_of(ledger, dataset) == late.run_id, (ending, joining)


async def test_a_batch_that_is_removed_hands_its_turn_over_first(ledger: MongoLedger) -> None:  # noqa: F811
    """Later nobody would know that it had one."""
    for turn in range(1, 7):
        dataset = f"data-{turn}"
        first, second, _ = await put_line(ledger, dataset)
        await broken_off(ledger, lambda other, first=first: cancel(other, first), turn)
        assert await ledger.remove_batch(first.batch_id)
        assert await ledger.get_run(first.run_id) is None
        assert await writer_of(ledger, dataset) == second.run_id


async def test_one_that_slept_while_it_lined_up_and_is_over_does_not_keep_the_turn(
    ledger: MongoLedger,  # noqa: F811 # the fixture
) -> None:
    for turn in range(1, 5):
        run = a_run(f"batch-{turn}", partition_key=f"data-{turn}")
        fate = Fate(turn, sleeps=True)
        task = asyncio.create_task(other_process(ledger, fate).accept(a_manifest(run.batch_id), run))
        await asleep_or_done(task, fate)
        await ledger.list_due_runs(10)
        await cancel(ledger, run)
        fate.wake.set()
        await task
        later = await put_run(ledger, partition_key=run.partition_key)
        assert await writer_of(ledger, run.partition_key) == later.run_id


async def test_a_slot_of_a_lane_is_given_back_whoever_dies(ledger: MongoLedger) -> None:  # noqa: F811 # the fixture
    for turn in count():
        lane = f"lane-{turn}"
        run, other_run = [await put_run(ledger, lane=lane) for _ in range(2)]
        await ledger.change_lane(lane, limit=1)
        died, made = await broken_off(
            ledger, lambda other, run=run: other.claim_run(run.run_id, 0, LEASE, at=T0, limit=None), turn
        )
        await ledger.list_due_runs(100)
        found = await ledger.get_run(run.run_id)
        assert found is not None
        taken = (await ledger.claim_run(other_run.run_id, 0, LEASE, at=T0, limit=None)).run
        slots = (await ledger._db.raw["lanes"].find_one({"_id": lane}))["slots"]
        assert slots == [f"{(taken or run).run_id}:1"]
        if found.status is QUEUED:
            assert taken is None or turn == 0
            await ledger.change_run(run.run_id, only(QUEUED), status=CANCELED)
        else:
            assert taken is None
            died_too, _ = await broken_off(
                ledger, lambda other, run=run: other.change_run(run.run_id, only(RUNNING), status=RunStatus.SUCCESS), 1
            )
            assert died_too
            await ledger.list_due_runs(100)
        if taken is None:
            assert (await ledger.claim_run(other_run.run_id, 0, LEASE, at=T0, limit=None)).run is not None
        if not died:
            assert made.run is not None
            return


async def test_runs_of_a_release_before_it_line_up(ledger: MongoLedger) -> None:  # noqa: F811 # the fixture
    from app.storage.mongo.migrate import load_script

    first, second, third = await put_line(ledger, "data")
    elsewhere = await put_run(ledger)
    await claim(ledger, second)
    raw = ledger._db.raw
    await raw["runs"].update_many({}, {"$unset": {"blocked": "", "not_before": "", "due_at": ""}})
    await raw["dataset_writers"].delete_many({})
    for _ in range(2):
        await load_script("0009_lanes").upgrade(raw)
        assert await writer_of(ledger, "data") == second.run_id
        assert await writer_of(ledger, elsewhere.partition_key) == elsewhere.run_id
        found = [await ledger.get_run(run.run_id) for run in (first, third)]
        assert [run.blocked for run in found if run is not None] == [True, True]
    await ledger.change_run(second.run_id, only(RUNNING), status=RunStatus.SUCCESS)
    assert await writer_of(ledger, "data") == first.run_id
