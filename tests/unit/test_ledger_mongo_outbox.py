"""A MongoDB ledger that dies before any write of a change that tells something: it is told once, or was not made."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from itertools import count
from typing import Any

import pytest

from app.ledger import Guard
from app.ledger.outbox import Outbox
from app.models.manifests.manifest import ManifestStatus
from app.models.runs.run import RunStatus
from app.storage.mongo.ledger import MongoLedger
from tests.contract.ledgers import MINUTE, T0, a_manifest, a_run, put_run
from tests.contract.test_ledger_outbox import QUEUED, said, told
from tests.unit.test_ledger_mongo_crash_points import broken_off, ledger, url

__all__ = ["ledger", "url"]

pytestmark = pytest.mark.anyio

Act = Callable[[MongoLedger], Awaitable[Any]]


async def _settled(ledger: MongoLedger, run_id: str, actions: list[str]) -> list[str]:
    """What the log says once the sweep has looked; checks that the audit trail says the same."""
    await ledger.list_due_runs(10)
    raw = ledger._db.raw
    for name in ("manifests", "runs", "lanes"):
        assert await raw[name].find_one({"pending_told": {"$exists": True}}) is None
    log, trail = await said(ledger, run_id)
    assert trail[len(actions) :] == log
    actions += log
    return log


async def test_a_change_of_a_run(ledger: MongoLedger) -> None:
    actions: list[str] = []
    for turn in count():
        run = await put_run(ledger, batch_id=f"batch-{turn}")

        async def change(other: MongoLedger, run_id: str = run.run_id) -> Any:
            return await other.change_run(run_id, Guard(QUEUED), told("one", "two"), status=RunStatus.CANCELED)

        died, _ = await broken_off(ledger, change, turn)
        changed = (await ledger.get_run(run.run_id) or run).status is RunStatus.CANCELED
        assert await _settled(ledger, run.run_id, actions) == (["one", "two"] if changed else [])
        if not died:
            assert changed
            assert turn > 4
            return


async def test_accepting_and_running_again(ledger: MongoLedger) -> None:
    actions: list[str] = []
    for turn in count():
        batch = f"batch-{turn}"
        first = a_run(batch)
        died, _ = await broken_off(ledger, lambda other: other.accept(a_manifest(batch), first, told("accepted")), turn)  # noqa: B023 # awaited at once
        there = await ledger.get_manifest(batch) is not None
        assert await _settled(ledger, first.run_id, actions) == (["accepted"] if there else [])
        if not died:
            break
    assert await ledger.change_run(first.run_id, Guard(QUEUED), status=RunStatus.CANCELED) is not None
    for turn in count():
        further = a_run(batch, run_id="again", retry_of=first.run_id, created_at=T0 + MINUTE)
        died, _ = await broken_off(ledger, lambda other: other.add_run(further, told("again")), turn)  # noqa: B023 # as above
        there = await ledger.get_run("again") is not None
        assert await _settled(ledger, "again", actions) == (["again"] if there else [])
        if there:
            return


async def test_the_next_change_tells_first_what_was_left(ledger: MongoLedger) -> None:
    run = await put_run(ledger)
    guard = Guard(QUEUED)
    died, _ = await broken_off(ledger, lambda other: other.change_run(run.run_id, guard, told("one"), step="a"), 1)
    assert died
    assert await said(ledger, run.run_id) == ([], [])
    assert await ledger.change_run(run.run_id, guard, told("two"), step="b") is not None
    assert await said(ledger, run.run_id) == (["one", "two"], ["one", "two"])


async def test_a_rejected_manifest(ledger: MongoLedger) -> None:
    for turn in count():
        record = a_manifest(f"rejected.{turn}", status=ManifestStatus.REJECTED)
        entries = told("rejected")
        died, _ = await broken_off(
            ledger,
            lambda other: other.reject_manifest(record, type(entries)(entries=entries.entries)),  # noqa: B023 # awaited at once
            turn,
        )
        await ledger.list_due_runs(10)
        if not died:
            break
    rejected = len((await said(ledger, "nobody"))[1])
    assert rejected == turn, "of each that was kept; the first died before that"


async def test_a_change_of_a_lane(ledger: MongoLedger) -> None:
    entries = Outbox(entries=told("paused").entries)
    for turn in count():
        lane = f"lane-{turn}"
        died, _ = await broken_off(ledger, lambda other: other.change_lane(lane, entries, paused=True), turn)  # noqa: B023 # awaited at once
        await ledger.list_due_runs(10)
        paused = sum(state.paused for state in await ledger.list_lanes())
        assert (await said(ledger, "nobody"))[1] == ["paused"] * paused
        if not died:
            assert turn > paused > 1
            return


async def test_a_batch_that_is_removed_tells_first_what_was_left(ledger: MongoLedger) -> None:
    """The run is over, and whoever ended it died before the audit trail had it."""
    run = await put_run(ledger)
    end = {"status": RunStatus.CANCELED, "completed_at": T0 + MINUTE}
    died, _ = await broken_off(ledger, lambda other: other.change_run(run.run_id, Guard(QUEUED), told("one"), **end), 1)
    assert died
    assert await said(ledger, run.run_id) == ([], [])
    assert await ledger.remove_batch(run.batch_id)
    assert (await said(ledger, run.run_id))[1] == ["one"]
