"""Further runs of a batch, and what is counted, on every ledger."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import timedelta

import pytest

from app.ledger import AssetTotal, Guard, Ledger, ManifestFilter, RunFilter, RunTotal
from app.models.manifests.manifest import FilesFound, ManifestRecord, ManifestStatus
from app.models.page import Page
from app.models.runs.run import Run, RunStatus
from tests.contract.conftest import CROWD, Crowd
from tests.contract.ledgers import MINUTE, T0, a_manifest, a_run, claim, put_asset, put_run, put_running

pytestmark = pytest.mark.anyio

QUEUED, RUNNING = RunStatus.QUEUED, RunStatus.RUNNING


def further(run: Run, **fields: object) -> Run:
    common = {"retry_of": run.run_id, "created_at": run.created_at + MINUTE, "partition_key": run.partition_key}
    return a_run(run.batch_id, **common | fields)


async def put_over(ledger: Ledger, status: RunStatus = RunStatus.FAILURE, **fields: object) -> Run:
    run = await put_running(ledger, **fields)
    over = await ledger.change_run(run.run_id, Guard(frozenset({RUNNING})), status=status, completed_at=T0 + MINUTE)
    assert over is not None
    return over


@pytest.mark.parametrize("status", [RunStatus.FAILURE, RunStatus.SUCCESS])
async def test_a_further_run_speaks_for_its_batch(ledger: Ledger, status: RunStatus) -> None:
    first = await put_over(ledger, status, batch_id="batch")
    asked = further(first, new_version="always", traceparent="00-1")
    second = await ledger.add_run(asked)
    assert second == asked == await ledger.get_run(asked.run_id)
    record = await ledger.get_manifest("batch")
    assert record is not None
    assert (record.status, record.error_message, record.completed_at) == (ManifestStatus.QUEUED, None, None)
    assert (await ledger.list_runs(RunFilter(batch_id="batch"), Page())).items == (second, first)
    assert await ledger.get_writer(first.partition_key) == second
    assert (await ledger.accept(a_manifest("batch"), a_run("batch"))).run == second
    running = await claim(ledger, second)
    assert running is not None
    await ledger.change_run(second.run_id, Guard(frozenset({RUNNING})), status=RunStatus.SUCCESS, completed_at=T0)
    record = await ledger.get_manifest("batch")
    assert record is not None
    assert record.status is ManifestStatus.SUCCESS


@pytest.mark.parametrize("status", [QUEUED, RUNNING, RunStatus.CANCELING])
async def test_a_run_that_is_not_over_has_no_further_one(ledger: Ledger, status: RunStatus) -> None:
    run = await (put_run(ledger) if status is QUEUED else put_running(ledger))
    if status is RunStatus.CANCELING:
        assert await ledger.change_run(run.run_id, Guard(frozenset({RUNNING})), status=status) is not None
    asked = further(run)
    assert await ledger.add_run(asked) is None
    assert await ledger.get_run(asked.run_id) is None
    assert len((await ledger.list_runs(RunFilter(batch_id=run.batch_id), Page())).items) == 1
    (record,) = (await ledger.list_manifests(ManifestFilter(), Page())).items
    assert record.status == status.value


async def test_only_the_newest_run_counts(ledger: Ledger) -> None:
    first = await put_over(ledger)
    second = await ledger.add_run(further(first))
    assert second is not None
    assert await ledger.add_run(further(first, created_at=first.created_at + 2 * MINUTE)) is None
    assert await ledger.add_run(second) is None, "its id is known"
    over = await ledger.change_run(second.run_id, Guard(frozenset({QUEUED})), status=RunStatus.CANCELED)
    assert over is not None
    assert await ledger.add_run(second) is None, "its id is still known"
    third = await ledger.add_run(further(over))
    assert third is not None
    assert third.retry_of == second.run_id


async def test_what_could_not_become_the_newest_is_a_mistake(ledger: Ledger) -> None:
    first = await put_over(ledger)
    other = await put_over(ledger)
    before = await ledger.get_manifest(first.batch_id)
    with pytest.raises(ValueError, match="retry_of"):
        await ledger.add_run(further(first, retry_of=None))
    with pytest.raises(ValueError, match="not younger"):
        await ledger.add_run(further(first, created_at=first.created_at - timedelta(milliseconds=1)))
    with pytest.raises(ValueError, match=other.run_id):
        await ledger.add_run(further(first, run_id=other.run_id))
    assert await ledger.get_manifest(first.batch_id) == before
    assert (await ledger.list_runs(RunFilter(batch_id=first.batch_id), Page())).items == (first,)


async def test_a_batch_without_runs_has_no_further_one(ledger: Ledger) -> None:
    assert await ledger.add_run(a_run("nowhere", retry_of="x")) is None
    rejected = a_manifest("rejected", status=ManifestStatus.REJECTED)
    await ledger.reject_manifest(rejected)
    assert await ledger.add_run(a_run("rejected", retry_of="x")) is None
    assert await ledger.get_manifest("rejected") == rejected


async def test_of_many_that_ask_at_once_one_gets_its_run(ledger: Ledger, crowd: Crowd) -> None:
    runs = [await put_over(ledger) for _ in range(8)]
    made = [pair for part in await crowd("rerun", *(run.run_id for run in runs)) for pair in part]
    assert len(made) == 2 * CROWD * len(runs)
    written = Counter(batch for batch, done in made if done)
    assert written == {run.batch_id: 1 for run in runs}
    for run in runs:
        newest, first = (await ledger.list_runs(RunFilter(batch_id=run.batch_id), Page())).items
        assert (first, newest.retry_of, newest.status) == (run, run.run_id, QUEUED)
        record = await ledger.get_manifest(run.batch_id)
        assert record is not None
        assert record.status is ManifestStatus.QUEUED


async def test_totals_of_an_empty_ledger(ledger: Ledger) -> None:
    assert await ledger.totals() == type(await ledger.totals())((), ())
    assert await ledger.get_counts() == {}


async def test_totals_count_by_status_and_lane(ledger: Ledger) -> None:
    await put_run(ledger, lane="tabular", created_at=T0 + MINUTE)
    await put_run(ledger, lane="tabular", created_at=T0)
    await put_run(ledger, lane="spatial")
    await put_asset(ledger, "a", size=2**40)
    await put_asset(ledger, "a", size=3)
    await put_asset(ledger, "t", size=1, kind="tabular", format="parquet")
    found = await ledger.totals()
    assert found.runs == (
        RunTotal(QUEUED, "spatial", 1, 0, T0),
        RunTotal(QUEUED, "tabular", 2, 0, T0),
        RunTotal(RUNNING, "spatial", 3, 3, T0),
    )
    assert found.assets == (AssetTotal("spatial", 2, 2**40 + 3), AssetTotal("tabular", 1, 1))


async def test_counters_add_up_across_processes(ledger: Ledger, crowd: Crowd) -> None:
    await ledger.count({})
    await ledger.count({"odd 'name\" {lane}.$x": 2**40, "zero": 0})
    await crowd("count", "b", "a", "c.d")
    counts = dict(await ledger.get_counts())
    assert counts == {"odd 'name\" {lane}.$x": 2**40, "zero": 0, "a": 40, "b": 40, "c.d": 40}
    with pytest.raises(ValueError, match="only grow"):
        await ledger.count({"a": -1})


def corrected(batch: str = "batch", **fields: object) -> ManifestRecord:
    return a_manifest(batch, content_hash="sha256:2", document={"uploader": "bob"}, **fields)


async def test_a_corrected_manifest_supersedes_one_that_failed(ledger: Ledger) -> None:
    first = await put_over(ledger, batch_id="batch")
    before = await ledger.get_manifest("batch")
    assert before is not None
    asked = further(first, partition_key="other")
    new = corrected(ingested_at=asked.created_at, files_found=(FilesFound(path="p", keys=("a",)),))
    accepted = await ledger.supersede(new, asked, "sha256:1")
    assert accepted is not None
    assert (accepted.created, accepted.run) == (True, asked)
    stored = await ledger.get_manifest("batch")
    assert stored == accepted.manifest
    (earlier,) = stored.earlier
    assert stored == new.model_copy(update={"earlier": (earlier,)})
    assert (earlier.manifest, earlier.content_hash, earlier.ingested_at) == (before.manifest, "sha256:1", T0)
    assert earlier.superseded_at == asked.created_at
    assert (await ledger.list_runs(RunFilter(batch_id="batch"), Page())).items == (asked, first)
    found = await ledger.list_manifest_summaries(ManifestFilter(uploader="bob"), Page())
    assert [each.batch_id for each in found.items] == ["batch"]
    assert not (await ledger.list_manifests(ManifestFilter(uploader="ada"), Page())).items
    assert await ledger.get_writer("other") == asked
    # Again, when that one has failed too.
    guard = Guard(frozenset({QUEUED}))
    over = await ledger.change_run(asked.run_id, guard, status=RunStatus.CANCELED, completed_at=T0)
    assert over is not None
    again = await ledger.supersede(corrected(ingested_at=T0), further(over), "sha256:2")
    assert again is not None
    assert [each.content_hash for each in again.manifest.earlier] == ["sha256:1", "sha256:2"]
    assert again.manifest.earlier[1].files_found == new.files_found


async def test_what_is_under_way_or_made_something_is_not_superseded(ledger: Ledger) -> None:
    failed = await put_over(ledger)
    waiting = await put_run(ledger)
    made = await put_over(ledger, RunStatus.SUCCESS)
    after = await ledger.add_run(further(made))
    assert after is not None
    ended = await ledger.change_run(after.run_id, Guard(frozenset({QUEUED})), status=RunStatus.FAILURE, completed_at=T0)
    assert ended is not None
    for run, content_hash in ((failed, "sha256:0"), (waiting, "sha256:1"), (ended, "sha256:1"), (a_run("no"), "x")):
        before = await ledger.get_manifest(run.batch_id)
        assert await ledger.supersede(corrected(run.batch_id), further(run), content_hash) is None
        assert await ledger.get_manifest(run.batch_id) == before
    with pytest.raises(ValueError, match="retry_of"):
        await ledger.supersede(corrected(failed.batch_id), further(failed, retry_of=None), "sha256:1")


@pytest.mark.parametrize("crowd", [CROWD])
async def test_of_several_corrections_at_once_one_supersedes(ledger: Ledger, crowd: int) -> None:
    first = await put_over(ledger, batch_id="batch")
    runs = [further(first) for _ in range(crowd)]
    made = await asyncio.gather(*(ledger.supersede(corrected(), run, "sha256:1") for run in runs))
    (winner,) = [each for each in made if each is not None]
    stored = await ledger.get_manifest("batch")
    assert stored is not None
    assert len(stored.earlier) == 1
    assert {run.run_id for run in (await ledger.list_runs(RunFilter(batch_id="batch"), Page())).items} == {
        first.run_id,
        winner.run.run_id,
    }
