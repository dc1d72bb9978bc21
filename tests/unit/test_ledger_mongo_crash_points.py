"""What a MongoDB ledger leaves behind that dies, or sleeps, between any two of its writes, and who finishes it.

Every operation is broken off before its first write, before its second, and so on; then another ledger goes on.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from itertools import count
from typing import Any

import pytest

from app.errors import VersionTaken
from app.ledger import AssetFilter, Guard, ManifestFilter, RunFilter
from app.models.asset import Asset
from app.models.base import new_id
from app.models.manifests.delivery import Delivery
from app.models.manifests.manifest import ManifestStatus
from app.models.page import Page
from app.models.runs.run import Run, RunStatus
from app.storage.mongo.database import Collection
from app.storage.mongo.ledger import MongoLedger, open_mongo_ledger
from tests.contract.ledgers import T0, a_manifest, a_run, an_asset, claim, put_run, put_running
from tests.servers import mongo

pytestmark = pytest.mark.anyio

WRITES = ("insert_one", "replace_one", "delete_one", "delete_many", "find_one_and_update")
QUEUED, RUNNING, CANCELING = RunStatus.QUEUED, RunStatus.RUNNING, RunStatus.CANCELING
SUCCESS, CANCELED = RunStatus.SUCCESS, RunStatus.CANCELED


class Died(Exception):
    """The process ended here."""


class Fate:
    """What happens before write number `turn` (counted from 0) of a process: it dies, or it sleeps until `wake`."""

    def __init__(self, turn: int, *, sleeps: bool = False) -> None:
        self.turn, self.sleeps = turn, sleeps
        self.written = 0
        self.asleep, self.wake = asyncio.Event(), asyncio.Event()

    async def before_write(self) -> None:
        if self.written == self.turn:
            if not self.sleeps:
                raise Died
            self.asleep.set()
            await self.wake.wait()
        self.written += 1


class Mortal:
    """A driver's collection whose writes are up to its fate."""

    def __init__(self, driver: Any, fate: Fate) -> None:
        self._driver, self._fate = driver, fate

    def __getattr__(self, name: str) -> Any:
        if name not in WRITES:
            return getattr(self._driver, name)

        async def write(*args: Any, **kwargs: Any) -> Any:
            await self._fate.before_write()
            return await getattr(self._driver, name)(*args, **kwargs)

        return write


@pytest.fixture
def url() -> Iterator[str]:
    with mongo.fresh_database() as made:
        yield made


@pytest.fixture
async def ledger(url: str) -> AsyncIterator[MongoLedger]:
    async with open_mongo_ledger(url) as opened:
        await opened.migrate()
        yield opened


def other_process(ledger: MongoLedger, fate: Fate) -> MongoLedger:
    """The same database as another process sees it, with a fate."""
    other = MongoLedger(ledger._db)
    queue, kept = other._dataset_queue, (other._newest_marks, other._asset_writes.newest, other._totals)
    parts = (other, other._run_writes, other._asset_writes, queue, *kept)
    collections = {id(each): each for part in parts for each in vars(part).values() if isinstance(each, Collection)}
    for collection in collections.values():
        collection._driver = Mortal(collection._driver, fate)
    return other


async def half_done(ledger: MongoLedger) -> list[str]:
    """The marks that are left."""
    raw = ledger._db.raw
    marks = {"manifests": ("pending_run.run_id",), "runs": ("pending_commit.s3_key", "mirror_due", "turn_due")}
    return [
        f"{name}.{mark}"
        for name, fields in marks.items()
        for mark in fields
        if await raw[name].find_one({mark: {"$exists": True}})
    ]


async def broken_off(ledger: MongoLedger, act: Callable[[MongoLedger], Awaitable[Any]], turn: int) -> tuple[bool, Any]:
    """Whether the process died in `act` before its write number `turn`, and what `act` gave otherwise."""
    try:
        return False, await act(other_process(ledger, Fate(turn)))
    except Died:
        return True, None


def only(*statuses: RunStatus, **insists: Any) -> Guard:
    return Guard(frozenset(statuses), **insists)


async def sweep(ledger: MongoLedger, _batch: str, _run: Run) -> None:
    await ledger.list_due_runs(10)


async def read_manifest(ledger: MongoLedger, batch: str, _run: Run) -> None:
    await ledger.get_manifest(batch)


async def read_manifests(ledger: MongoLedger, _batch: str, _run: Run) -> None:
    await ledger.list_manifests(ManifestFilter(), Page())


async def read_run(ledger: MongoLedger, _batch: str, run: Run) -> None:
    await ledger.get_run(run.run_id)


async def post_again(ledger: MongoLedger, batch: str, _run: Run) -> None:
    await ledger.accept(a_manifest(batch), a_run(batch))


@pytest.mark.parametrize("next_comer", [sweep, read_manifest, read_manifests, read_run, post_again])
async def test_accept_is_finished_by_whoever_comes_next(ledger: MongoLedger, next_comer: Any) -> None:
    for turn in count():
        batch = f"batch-{turn}"
        run = a_run(batch)
        died, _ = await broken_off(
            ledger, lambda other, batch=batch, run=run: other.accept(a_manifest(batch), run), turn
        )
        await next_comer(ledger, batch, run)
        if turn > 0:
            assert await ledger.get_manifest(batch) == a_manifest(batch)
            assert await ledger.get_run(run.run_id) == run
            assert (await ledger.list_runs(RunFilter(batch_id=batch), Page())).items == (run,)
        elif next_comer is not post_again:
            assert await ledger.get_manifest(batch) is None
            assert await ledger.get_run(run.run_id) is None
        await ledger.list_due_runs(10)
        assert await half_done(ledger) == []
        if not died:
            assert turn == 5
            return


async def test_accept_with_a_run_id_of_another_batch_leaves_nothing_wherever_it_dies(ledger: MongoLedger) -> None:
    taken = await put_run(ledger)
    for turn in count():
        batch = f"batch-{turn}"
        run = a_run(batch, run_id=taken.run_id)
        try:
            died, _ = await broken_off(
                ledger, lambda other, batch=batch, run=run: other.accept(a_manifest(batch), run), turn
            )
        except ValueError:
            died = False
        assert (await ledger.list_manifests(ManifestFilter(), Page())).items == (a_manifest(taken.batch_id),)
        assert await ledger.get_manifest(batch) is None
        assert await ledger.get_run(taken.run_id) == taken
        good = a_run(batch)
        assert (await ledger.accept(a_manifest(batch), good)).run == good
        await ledger._db.raw["manifests"].delete_one({"_id": batch})
        if not died:
            assert turn == 3
            return


async def test_accept_that_sleeps_finds_its_work_done(ledger: MongoLedger) -> None:
    for turn in (1, 2):
        batch = f"batch-{turn}"
        fate = Fate(turn, sleeps=True)
        sleeper = other_process(ledger, fate)
        run = a_run(batch)
        task = asyncio.create_task(sleeper.accept(a_manifest(batch), run))
        await fate.asleep.wait()
        again = await ledger.accept(a_manifest(batch), a_run(batch))
        assert (again.created, again.run) == (False, run)
        running = await claim(ledger, run)
        fate.wake.set()
        made = await task
        assert (made.created, made.run) == (True, run)
        assert await ledger.get_run(run.run_id) == running
        manifest = await ledger.get_manifest(batch)
        assert manifest is not None
        assert manifest.status is ManifestStatus.RUNNING
        assert await half_done(ledger) == []


async def test_a_status_reaches_the_manifest_after_a_crash(ledger: MongoLedger) -> None:
    for turn in count():
        run = await put_run(ledger)
        died, _ = await broken_off(ledger, lambda other, run=run: claim(other, run), turn)
        await ledger.list_due_runs(100)
        found, manifest = await ledger.get_run(run.run_id), await ledger.get_manifest(run.batch_id)
        assert found is not None
        assert manifest is not None
        assert found.status is (RUNNING if turn > 0 else QUEUED)
        assert manifest.status.value == found.status.value
        assert await half_done(ledger) == []
        if not died:
            assert turn == 3
            return


async def test_an_old_status_that_comes_late_does_not_win(ledger: MongoLedger) -> None:
    for turn in (1, 2):
        run = await put_run(ledger)
        fate = Fate(turn, sleeps=True)
        task = asyncio.create_task(claim(other_process(ledger, fate), run))
        await fate.asleep.wait()
        await ledger.change_run(run.run_id, only(RUNNING), status=SUCCESS, completed_at=T0)
        fate.wake.set()
        assert await task is not None
        manifest = await ledger.get_manifest(run.batch_id)
        assert manifest is not None
        assert (manifest.status, manifest.completed_at) == (ManifestStatus.SUCCESS, T0)
        await ledger.list_due_runs(10)
        assert await half_done(ledger) == []


@pytest.mark.parametrize("first", ["another run", "the same run"])
async def test_versions_stay_unique_and_gapless_wherever_a_process_dies(ledger: MongoLedger, first: str) -> None:
    for turn in count():
        dataset = f"data-{turn}"
        run, other_run = [await put_running(ledger, partition_key=dataset) for _ in range(2)]
        died, _ = await broken_off(ledger, lambda other, run=run: other.reserve_version(run.run_id, 1), turn)
        order = (run, other_run) if first == "the same run" else (other_run, run)
        numbers = {each.run_id: await ledger.reserve_version(each.run_id, 1) for each in order}
        assert sorted(numbers.values(), key=str) == [1, 2]
        for each in order:
            assert await ledger.reserve_version(each.run_id, 1) == numbers[each.run_id]
        if not died:
            assert turn == 3
            return


async def test_a_process_that_sleeps_while_it_reserves_gets_one_version(ledger: MongoLedger) -> None:
    for turn in range(3):
        dataset = f"data-{turn}"
        run, *others = [await put_running(ledger, partition_key=dataset) for _ in range(3)]
        fate = Fate(turn, sleeps=True)
        task = asyncio.create_task(other_process(ledger, fate).reserve_version(run.run_id, 1))
        await fate.asleep.wait()
        # The run itself, in another attempt's process, and others before and after it.
        numbers = {each.run_id: await ledger.reserve_version(each.run_id, 1) for each in (others[0], run, others[1])}
        fate.wake.set()
        assert await task == numbers[run.run_id]
        assert sorted(numbers.values(), key=str) == [1, 2, 3]
        last = await put_running(ledger, partition_key=dataset)
        assert await ledger.reserve_version(last.run_id, 1) == 4


async def reserved(ledger: MongoLedger, dataset: str) -> tuple[Run, Asset]:
    """A run that is ready to commit, and its product."""
    run = await put_running(ledger, partition_key=dataset)
    version = await ledger.reserve_version(run.run_id, run.attempt)
    assert version == 1
    return run, an_asset(run, content_hash="sha256:first")


async def next_attempt(ledger: MongoLedger, run: Run) -> tuple[Run, Asset]:
    """As the sweep and the next worker do: the run goes back to the queue and is claimed again, with other content."""
    back = await ledger.change_run(run.run_id, only(RUNNING, attempt=1), status=QUEUED, lease=None)
    assert back is not None
    again = await claim(ledger, back, "host:2:2")
    assert again is not None
    hashed = {"content_hash": "sha256:second", "s3_key": f"{run.partition_key}/v1/second.parquet"}
    return again, an_asset(again, **hashed)


async def test_a_commit_that_began_is_what_the_next_attempt_gets(ledger: MongoLedger) -> None:
    for turn in count():
        run, asset = await reserved(ledger, f"data-{turn}")
        died, _ = await broken_off(ledger, lambda other, asset=asset: other.commit_asset(asset, 1), turn)
        again, second = await next_attempt(ledger, run)
        registered = asset if turn > 0 else second
        assert await ledger.commit_asset(asset, 1) is None
        assert await ledger.commit_asset(second, 2) == registered
        assert (await ledger.list_assets(AssetFilter(run_id=again.run_id), Page())).items == (registered,)
        assert await half_done(ledger) == []
        if not died:
            assert turn == 3
            return


async def by_sweep(ledger: MongoLedger, _asset: Asset) -> None:
    await ledger.list_due_runs(10)


async def by_key(ledger: MongoLedger, asset: Asset) -> None:
    assert await ledger.get_asset_by_key(asset.s3_key) == asset


async def by_run(ledger: MongoLedger, asset: Asset) -> None:
    assert (await ledger.list_assets(AssetFilter(run_id=asset.run_id), Page())).items == (asset,)


async def by_cancel(ledger: MongoLedger, asset: Asset) -> None:
    assert await ledger.change_run(asset.run_id, only(RUNNING), status=CANCELING) is not None


@pytest.mark.parametrize("next_comer", [by_sweep, by_key, by_run, by_cancel])
async def test_a_commit_is_finished_by_whoever_comes_next(ledger: MongoLedger, next_comer: Any) -> None:
    for turn in (1, 2, 3):
        _, asset = await reserved(ledger, f"data-{turn}")
        await broken_off(ledger, lambda other, asset=asset: other.commit_asset(asset, 1), turn)
        await next_comer(ledger, asset)
        assert await ledger.get_asset(asset.dataset_id) == asset
        await ledger.list_due_runs(10)
        assert await half_done(ledger) == []


@pytest.mark.parametrize("end", ["next attempt", "cancel"])
async def test_a_worker_that_slept_in_its_commit_changes_nothing(ledger: MongoLedger, end: str) -> None:
    """Its lease ran out between two of its writes. What the others saw when they went on stays true."""
    for turn in range(3):
        run, asset = await reserved(ledger, f"data-{turn}")
        fate = Fate(turn, sleeps=True)
        task = asyncio.create_task(other_process(ledger, fate).commit_asset(asset, 1))
        await fate.asleep.wait()
        began = turn > 0
        if end == "cancel":
            await ledger.change_run(run.run_id, only(RUNNING), status=CANCELING)
            await ledger.change_run(run.run_id, only(CANCELING), status=CANCELED)
            expected = (asset,) if began else ()
        else:
            _, second = await next_attempt(ledger, run)
            expected = (asset,) if began else (second,)
            assert await ledger.commit_asset(second, 2) == expected[0]
        where = AssetFilter(dataset_id=asset.dataset_id)
        assert (await ledger.list_assets(where, Page())).items == expected
        fate.wake.set()
        assert await task == (asset if began else None)
        await ledger.list_due_runs(10)
        assert (await ledger.list_assets(where, Page())).items == expected
        assert await half_done(ledger) == []


async def test_two_processes_that_commit_for_the_same_attempt(ledger: MongoLedger) -> None:
    """As after a lost answer: the sleeper and the other one agree, wherever the first one sleeps."""
    for turn in range(3):
        run, asset = await reserved(ledger, f"data-{turn}")
        twin = an_asset(run, content_hash="sha256:twin", s3_key=f"{run.partition_key}/v1/twin.parquet")
        fate = Fate(turn, sleeps=True)
        task = asyncio.create_task(other_process(ledger, fate).commit_asset(asset, 1))
        await fate.asleep.wait()
        registered = await ledger.commit_asset(twin, 1)
        fate.wake.set()
        assert await task == registered == (asset if turn > 0 else twin)
        assert (await ledger.list_assets(AssetFilter(run_id=run.run_id), Page())).items == (registered,)
        assert await half_done(ledger) == []


@pytest.mark.parametrize("conflict", ["version", "key"])
async def test_a_commit_that_meets_another_runs_asset_leaves_nothing(ledger: MongoLedger, conflict: str) -> None:
    for turn in count():
        dataset = f"data-{turn}"
        _, first = await reserved(ledger, dataset)
        assert await ledger.commit_asset(first, 1) == first
        run = await put_running(ledger, partition_key=dataset)
        wrong = an_asset(run, 1, s3_key="elsewhere") if conflict == "version" else an_asset(run, 2, s3_key=first.s3_key)
        try:
            died, _ = await broken_off(ledger, lambda other, wrong=wrong: other.commit_asset(wrong, 1), turn)
        except VersionTaken:
            died = False
        await ledger.list_due_runs(10)
        assert await half_done(ledger) == []
        assert (await ledger.list_assets(AssetFilter(dataset_id=dataset), Page())).items == (first,)
        right = an_asset(run, 2, s3_key=f"{dataset}/v2/data.parquet")
        assert await ledger.commit_asset(right, 1) == right
        if not died:
            return


async def test_a_run_that_makes_progress_while_it_commits_keeps_both(ledger: MongoLedger) -> None:
    run, asset = await reserved(ledger, "data")
    fate = Fate(1, sleeps=True)
    task = asyncio.create_task(other_process(ledger, fate).commit_asset(asset, 1))
    await fate.asleep.wait()
    changed = await ledger.change_run(run.run_id, only(RUNNING, attempt=1), step="commit", counts={"rows_out": 3})
    fate.wake.set()
    assert await task == asset
    assert await ledger.get_run(run.run_id) == changed


async def test_events_leave_no_gap_that_a_reader_could_step_over(ledger: MongoLedger) -> None:
    run = await put_run(ledger)
    fate = Fate(0, sleeps=True)
    task = asyncio.create_task(other_process(ledger, fate).add_event(run.run_id, code="slow", message="m"))
    await fate.asleep.wait()
    quick = await ledger.add_event(run.run_id, code="quick", message="m")
    died, _ = await broken_off(ledger, lambda other: other.add_event(run.run_id, code="dead", message="m"), 0)
    assert died
    fate.wake.set()
    slow = await task
    assert (quick.seq, slow.seq) == (1, 2)
    assert await ledger.list_events(run.run_id) == (quick, slow)


async def test_a_delivery_that_is_counted_twice_at_once(ledger: MongoLedger) -> None:
    delivery = Delivery(delivery_id=new_id(), received_at=T0, body="{}")
    await ledger.add_delivery(delivery)
    fate = Fate(1, sleeps=True)
    task = asyncio.create_task(other_process(ledger, fate).add_delivery(delivery))
    await fate.asleep.wait()
    assert (await ledger.add_delivery(delivery)).repeats == 1
    await ledger.finish_delivery(delivery.delivery_id, (), T0)
    fate.wake.set()
    found = await task
    assert (found.repeats, found.status, found.processed_at) == (2, "done", T0)
