"""A deletion in MongoDB that dies, or sleeps, between any two of its writes; and a commit of a child beside it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from itertools import count
from typing import Any

import pytest

from app.errors import VersionDeleted, VersionHasChildren
from app.ledger import AssetFilter, Guard
from app.models.asset import Asset, Deletion, ParentInput
from app.models.manifests.manifest import ManifestStatus
from app.models.page import Page
from app.models.runs.run import RunStatus
from app.storage.mongo.ledger import MongoLedger
from tests.contract.ledgers import MINUTE, T0, an_asset, put_asset, put_running
from tests.unit.test_ledger_mongo_crash_points import Fate, broken_off, half_done, ledger, other_process, url

__all__ = ["ledger", "url"]

pytestmark = pytest.mark.anyio

DELETION = Deletion(at=T0, by="ada", reason="request")


async def two_versions(ledger: MongoLedger, name: str) -> Asset:
    first = await put_asset(ledger, name)
    await put_asset(ledger, name)
    return first


async def a_child(ledger: MongoLedger, parent: Asset) -> Asset:
    """Ready to be committed."""
    run = await put_running(ledger, partition_key=f"child-of-{parent.dataset_id}")
    named = ParentInput(dataset_id=parent.dataset_id, version=parent.version, role="left")
    return an_asset(run, inputs=(named,))


async def unfinished(ledger: MongoLedger) -> list[str]:
    raw = ledger._db.raw["assets"]
    marks = ("pending_deletion.deletion_id", "untold")
    return [mark for mark in marks if await raw.find_one({mark: {"$exists": True}})] + await half_done(ledger)


async def entries(ledger: MongoLedger, name: str) -> int:
    found = await ledger.list_activity(Page(limit=1000))
    return sum(entry.resource_id == f"{name}/v1" for entry in found.items)


async def outcome(task: Any) -> Any:
    try:
        return await task
    except (VersionDeleted, VersionHasChildren) as err:
        return err


async def check_one_of_both(ledger: MongoLedger, parent: Asset, child: Asset, deleted: Any, committed: Any) -> None:
    there = await ledger.get_asset(parent.dataset_id, 1)
    made = await ledger.get_asset(child.dataset_id)
    assert there is not None
    assert (there.deletion is None) == (made is not None), "a living child has a living parent"
    assert isinstance(deleted, VersionHasChildren if made else Asset), deleted
    assert isinstance(committed, Asset if made else VersionDeleted), committed
    assert await entries(ledger, parent.dataset_id) == (0 if made else 1)
    await ledger.list_due_runs(10)
    assert await unfinished(ledger) == []


async def test_a_deletion_is_finished_by_whoever_comes_next(ledger: MongoLedger) -> None:
    for turn in count():
        name = f"data-{turn}"
        await two_versions(ledger, name)
        died, _ = await broken_off(ledger, lambda other, name=name: other.delete_version(name, 1, DELETION), turn)
        if turn % 2:
            await ledger.list_due_runs(10)
        deleted = await ledger.delete_version(name, 1, DELETION)
        assert deleted is not None
        assert deleted.deletion == DELETION
        await ledger.list_due_runs(10)
        assert await unfinished(ledger) == []
        # Between the entry and the note that it is there lies one write.
        assert await entries(ledger, name) in ((1, 2) if died else (1,))
        assert (await ledger.list_assets(AssetFilter(dataset_id=name), Page())).items[0].version == 2
        if not died:
            assert turn == 4, "the mark, the decision, the entry, that it is there"
            return


async def test_a_refused_deletion_leaves_nothing_wherever_it_dies(ledger: MongoLedger) -> None:
    for turn in range(3):
        parent = await two_versions(ledger, f"data-{turn}")
        child = await a_child(ledger, parent)
        await ledger.commit_asset(child, 1)
        delete = lambda other, name=parent.dataset_id: other.delete_version(name, 1, DELETION)  # noqa: E731
        try:
            await broken_off(ledger, delete, turn)
        except VersionHasChildren:
            assert turn == 2
        await ledger.list_due_runs(10)
        assert await unfinished(ledger) == []
        assert await ledger.get_asset(parent.dataset_id, 1) == parent
        assert await entries(ledger, parent.dataset_id) == 0


async def test_a_deletion_that_sleeps_while_a_child_is_committed(ledger: MongoLedger) -> None:
    for turn in range(4):
        parent = await two_versions(ledger, f"data-{turn}")
        child = await a_child(ledger, parent)
        fate = Fate(turn, sleeps=True)
        task = asyncio.create_task(other_process(ledger, fate).delete_version(parent.dataset_id, 1, DELETION))
        await fate.asleep.wait()
        committed = await outcome(ledger.commit_asset(child, 1))
        fate.wake.set()
        await check_one_of_both(ledger, parent, child, await outcome(task), committed)


async def test_a_commit_that_sleeps_while_its_parent_is_deleted(ledger: MongoLedger) -> None:
    """Its writes: the mark, that its parents were checked, the version, the mark's end."""
    for turn in range(4):
        parent = await two_versions(ledger, f"data-{turn}")
        child = await a_child(ledger, parent)
        fate = Fate(turn, sleeps=True)
        task = asyncio.create_task(other_process(ledger, fate).commit_asset(child, 1))
        await fate.asleep.wait()
        deleted = await outcome(ledger.delete_version(parent.dataset_id, 1, DELETION))
        fate.wake.set()
        await check_one_of_both(ledger, parent, child, deleted, await outcome(task))
        assert isinstance(deleted, VersionHasChildren) == (turn >= 2)


async def test_a_commit_that_ends_between_two_reads_of_a_deletion(
    ledger: MongoLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when the first read comes from a primary that was deposed, and shows the ledger before the child was added."""
    parent = await two_versions(ledger, "data")
    child = await a_child(ledger, parent)
    fate = Fate(2, sleeps=True)
    committing = asyncio.create_task(other_process(ledger, fate).commit_asset(child, 1))
    await fate.asleep.wait()  # its parents are checked, and it is not added yet
    reads = []

    async def read_and_let_it_end(read: Callable[[], Awaitable[Any]]) -> Any:
        found = await read()
        reads.append(found)
        fate.wake.set()
        await committing
        return found

    deleting = other_process(ledger, Fate(-1))
    many, pending = deleting._assets.many, deleting._asset_writes.pending_commits
    monkeypatch.setattr(deleting._assets, "many", lambda *query: read_and_let_it_end(lambda: many(*query)))
    monkeypatch.setattr(
        deleting._asset_writes, "pending_commits", lambda key: read_and_let_it_end(lambda: pending(key))
    )
    deleted = await outcome(deleting.delete_version("data", 1, DELETION))
    assert len(reads) > 1
    await check_one_of_both(ledger, parent, child, deleted, await committing)


async def test_a_commit_that_died_and_the_deletion_of_its_parent(ledger: MongoLedger) -> None:
    for turn in range(4):
        parent = await two_versions(ledger, f"data-{turn}")
        child = await a_child(ledger, parent)
        await broken_off(ledger, lambda other, child=child: other.commit_asset(child, 1), turn)
        deleted = await outcome(ledger.delete_version(parent.dataset_id, 1, DELETION))
        committed = await outcome(ledger.commit_asset(child, 1))
        await check_one_of_both(ledger, parent, child, deleted, committed)


async def test_a_batch_that_is_half_removed_is_removed_by_the_sweep(ledger: MongoLedger) -> None:
    for turn in count():
        batch_id = f"batch-{turn}"
        run = await put_running(ledger, batch_id=batch_id)
        await ledger.add_event(run.run_id, code="c", message="m")
        over = await ledger.change_run(
            run.run_id, Guard(frozenset({RunStatus.RUNNING})), status=RunStatus.FAILURE, completed_at=T0, lease=None
        )
        assert over is not None
        died, _ = await broken_off(ledger, lambda other, batch_id=batch_id: other.remove_batch(batch_id), turn)
        if died and turn == 0:
            assert await ledger.get_run(run.run_id) == over
            assert await ledger.remove_batch(batch_id)
        # A further run does not begin in what is half removed, and does not wait for its end either.
        further = over.model_copy(
            update={"run_id": f"further-{turn}", "retry_of": run.run_id, "created_at": T0 + MINUTE}
        )
        assert await ledger.add_run(further) is None
        await ledger.list_due_runs(10)
        assert await ledger.get_run(run.run_id) is None
        assert await ledger.list_events(run.run_id) == ()
        record = await ledger.get_manifest(batch_id)
        assert record is not None
        assert (record.status, record.manifest) == (ManifestStatus.REMOVED, {})
        assert await ledger._db.raw["manifests"].find_one({"removing": {"$exists": True}}) is None
        if not died:
            assert turn == 10, "the manifest, three to count the run, three to take it out, log, run, the mark"
            return
