"""A further run in MongoDB that dies, or sleeps, between any two of its writes; and runs of releases before it."""

from __future__ import annotations

import asyncio
from itertools import count
from typing import Any

import pytest

from app.ledger import Guard, RunFilter
from app.models.manifests.manifest import ManifestStatus
from app.models.page import Page
from app.models.runs.run import Run, RunStatus
from app.storage.mongo.ledger import MongoLedger
from app.storage.mongo.migrate import load_script
from tests.contract.ledgers import MINUTE, T0, a_manifest, a_run, put_run
from tests.unit.test_ledger_mongo_crash_points import (  # noqa: F401 # two are fixtures
    Fate,
    broken_off,
    half_done,
    ledger,
    other_process,
    post_again,
    read_manifest,
    read_manifests,
    read_run,
    sweep,
    url,
)

pytestmark = pytest.mark.anyio

QUEUED = Guard(frozenset({RunStatus.QUEUED}))


async def put_canceled(ledger: MongoLedger, **fields: Any) -> Run:  # noqa: F811 # the fixture's value
    run = await put_run(ledger, **fields)
    over = await ledger.change_run(run.run_id, QUEUED, status=RunStatus.CANCELED, completed_at=T0)
    assert over is not None
    return over


def further(run: Run, **fields: Any) -> Run:
    common = {"retry_of": run.run_id, "created_at": run.created_at + MINUTE, "partition_key": run.partition_key}
    return a_run(run.batch_id, **common | fields)


async def status_of(ledger: MongoLedger, run: Run) -> ManifestStatus:  # noqa: F811 # as above
    record = await ledger.get_manifest(run.batch_id)
    assert record is not None
    return record.status


async def ask_again(ledger: MongoLedger, _batch: str, run: Run) -> None:  # noqa: F811 # as above
    await ledger.add_run(run)


@pytest.mark.parametrize("next_comer", [sweep, read_manifest, read_manifests, read_run, post_again, ask_again])
async def test_a_further_run_is_finished_by_whoever_comes_next(
    ledger: MongoLedger,  # noqa: F811 # the fixture
    next_comer: Any,
) -> None:
    for turn in count():
        first = await put_canceled(ledger, batch_id=f"batch-{turn}")
        run = further(first)
        died, _ = await broken_off(ledger, lambda other, run=run: other.add_run(run), turn)
        await next_comer(ledger, run.batch_id, run)
        runs = (await ledger.list_runs(RunFilter(batch_id=run.batch_id), Page())).items
        if turn > 0 or next_comer is ask_again:
            assert [each.run_id for each in runs] == [run.run_id, first.run_id]
            assert await status_of(ledger, run) is ManifestStatus.QUEUED
        else:
            assert runs == (first,)
            assert await status_of(ledger, run) is ManifestStatus.CANCELED
        await ledger.list_due_runs(10)
        assert await half_done(ledger) == []
        assert (await ledger.get_writer(run.partition_key) == run) is (len(runs) == 2)
        if not died:
            assert turn == 5
            return


@pytest.mark.parametrize("next_comer", [sweep, read_manifest, read_manifests, read_run, post_again])
async def test_a_corrected_manifest_comes_with_its_run_or_not_at_all(
    ledger: MongoLedger,  # noqa: F811 # the fixture
    next_comer: Any,
) -> None:
    for turn in count():
        first = await put_canceled(ledger, batch_id=f"batch-{turn}")
        run = further(first)
        new = a_manifest(run.batch_id, content_hash="sha256:2")
        died, _ = await broken_off(ledger, lambda other, new=new, run=run: other.supersede(new, run, "sha256:1"), turn)
        await next_comer(ledger, run.batch_id, run)
        record = await ledger.get_manifest(run.batch_id)
        assert record is not None
        runs = (await ledger.list_runs(RunFilter(batch_id=run.batch_id), Page())).items
        found = (record.content_hash, len(record.earlier), record.status, len(runs))
        if turn > 0:
            assert found == ("sha256:2", 1, ManifestStatus.QUEUED, 2)
        else:
            assert found == ("sha256:1", 0, ManifestStatus.CANCELED, 1)
        await ledger.list_due_runs(10)
        assert await half_done(ledger) == []
        if not died:
            return


async def test_a_further_run_that_sleeps_finds_its_work_done(ledger: MongoLedger) -> None:  # noqa: F811
    for turn in range(1, 5):
        first = await put_canceled(ledger, batch_id=f"batch-{turn}")
        fate = Fate(turn, sleeps=True)
        run = further(first)
        task = asyncio.create_task(other_process(ledger, fate).add_run(run))
        await fate.asleep.wait()
        await ledger.list_due_runs(10)
        assert await ledger.get_run(run.run_id) == run
        over = await ledger.change_run(run.run_id, QUEUED, status=RunStatus.CANCELED, completed_at=T0)
        assert over is not None
        third = await ledger.add_run(further(over))
        assert third is not None
        fate.wake.set()
        assert await task == run
        assert await ledger.get_run(run.run_id) == over
        assert (await ledger.list_runs(RunFilter(batch_id=run.batch_id), Page())).items == (third, over, first)
        assert await status_of(ledger, run) is ManifestStatus.QUEUED
        assert await half_done(ledger) == []


async def test_a_run_id_that_is_taken_meanwhile_leaves_the_batch_as_it_was(ledger: MongoLedger) -> None:  # noqa: F811
    first = await put_canceled(ledger, batch_id="batch")
    before = await ledger.get_manifest("batch")
    run = further(first)
    fate = Fate(1, sleeps=True)
    task = asyncio.create_task(other_process(ledger, fate).add_run(run))
    await fate.asleep.wait()
    # Past the ledger, which would not give that id away: the mark is there, the run is not.
    await ledger._runs.add((await _document(ledger, run)) | {"batch_id": "other"})
    fate.wake.set()
    with pytest.raises(ValueError, match=run.run_id):
        await task
    assert await ledger.get_manifest("batch") == before
    assert (await ledger.list_runs(RunFilter(batch_id="batch"), Page())).items == (first,)
    assert await half_done(ledger) == []


@pytest.mark.parametrize("next_comer", [sweep, read_manifest, read_manifests, None])
async def test_a_correction_whose_run_id_is_taken_leaves_the_manifest_as_it_was(
    ledger: MongoLedger,  # noqa: F811 # the fixture
    next_comer: Any,
) -> None:
    """The process that corrects finds it out, or dies before, and what comes next does."""
    first = await put_canceled(ledger, batch_id="batch")
    corrected = a_manifest("batch", content_hash="sha256:2", object_key="manifests/b.json", object_etag="e2")
    once = await ledger.supersede(corrected, further(first), "sha256:1")
    assert once is not None
    over = await ledger.change_run(once.run.run_id, QUEUED, status=RunStatus.CANCELED, completed_at=T0)
    assert over is not None
    before = await ledger.get_manifest("batch")
    assert before is not None
    assert [each.content_hash for each in before.earlier] == ["sha256:1"]
    run, fate = further(over), Fate(1, sleeps=True)
    other = other_process(ledger, fate)
    again = a_manifest("batch", content_hash="sha256:3", document={"uploader": "bob"})
    task = asyncio.create_task(other.supersede(again, run, "sha256:2"))
    await fate.asleep.wait()
    await ledger._runs.add((await _document(ledger, run)) | {"batch_id": "other"})
    if next_comer is not None:
        await next_comer(ledger, "batch", run)
        assert await half_done(ledger) == []
    fate.wake.set()
    with pytest.raises(ValueError, match=run.run_id):
        await task
    assert await ledger.get_manifest("batch") == before
    assert (await ledger.list_runs(RunFilter(batch_id="batch"), Page())).items == (over, first)
    assert await half_done(ledger) == []
    # The batch can be corrected as before.
    last = await ledger.supersede(again, further(over), "sha256:2")
    assert last is not None
    assert [each.content_hash for each in last.manifest.earlier] == ["sha256:1", "sha256:2"]


async def _document(ledger: MongoLedger, run: Run) -> dict[str, Any]:  # noqa: F811 # the fixture's value
    found = await ledger._manifests.one({"_id": run.batch_id})
    assert found is not None
    pending: dict[str, Any] = found["pending_run"]
    return pending


async def test_runs_of_a_release_before_it_can_be_read(ledger: MongoLedger) -> None:  # noqa: F811 # the fixture
    run = await put_run(ledger)
    await ledger._db.raw["runs"].update_one({"_id": run.run_id}, {"$unset": {"new_version": ""}})
    with pytest.raises(KeyError):
        await ledger.get_run(run.run_id)
    for _ in range(2):
        await load_script("0003_rerun").upgrade(ledger._db.raw)
        assert await ledger.get_run(run.run_id) == run
