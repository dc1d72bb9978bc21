"""Entries that go for good, on every ledger: logs, companions, batches, rejected manifests, bookkeeping."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from app.errors import BatchConflict
from app.ledger import AssetFilter, Guard, Ledger, ManifestFilter, RunFilter
from app.models.asset import AssetMetadata, Companion, Deletion
from app.models.manifests.delivery import Delivery
from app.models.manifests.manifest import ManifestStatus
from app.models.page import Page
from app.models.runs.activity import Activity
from app.models.runs.run import Run, RunStatus
from tests.contract.ledgers import MINUTE, T0, a_manifest, a_run, an_asset, claim, put_asset, put_run, put_running

pytestmark = pytest.mark.anyio

DELETION = Deletion(at=T0, by="ada", reason="request")


async def over(ledger: Ledger, run: Run, minute: int = 0) -> Run:
    running = Guard(frozenset({RunStatus.RUNNING}))
    ended = await ledger.change_run(
        run.run_id, running, status=RunStatus.FAILURE, completed_at=T0 + minute * MINUTE, lease=None
    )
    assert ended is not None
    return ended


async def test_logs_of_runs_that_are_over(ledger: Ledger) -> None:
    runs = [await put_running(ledger) for _ in range(4)]
    for run in runs:
        await ledger.add_event(run.run_id, code="a", message="m")
    for minute in (2, 1, 0):
        await over(ledger, runs[minute], minute)
    before = T0 + 2 * MINUTE
    assert await ledger.list_logged_runs(before, 10) == (runs[0].run_id, runs[1].run_id)
    assert await ledger.list_logged_runs(before, 1) == (runs[0].run_id,)
    assert not await ledger.remove_log(runs[3].run_id), "it is not over"
    assert not await ledger.remove_log("nowhere")
    assert await ledger.remove_log(runs[0].run_id)
    assert not await ledger.remove_log(runs[0].run_id)
    assert await ledger.list_events(runs[0].run_id) == ()
    assert [len(await ledger.list_events(run.run_id)) for run in runs[1:]] == [1, 1, 1]
    assert await ledger.list_logged_runs(before, 10) == (runs[1].run_id,)
    found = await ledger.get_run(runs[0].run_id)
    assert found is not None
    assert found.status is RunStatus.FAILURE


async def test_a_companion_goes_while_its_version_stays(ledger: Ledger) -> None:
    files = tuple(
        Companion(name=name, s3_key=f"a/v1/{name}", size=1, content_hash="sha256:1")
        for name in ("quarantine.parquet", "preview.png")
    )
    about = AssetMetadata(manifest={"a.b": 2**70, "$x": [1]}, column_schema={}, companions=files)
    asset = await put_asset(ledger, "a", metadata=about)
    changed = await ledger.remove_companion("a", 1, "quarantine.parquet", T0 + MINUTE)
    assert changed == await ledger.get_asset("a", 1)
    assert changed is not None
    assert [each.name for each in changed.companions] == ["preview.png"]
    assert changed.metadata.companions[0].removed_at == T0 + MINUTE
    assert changed.metadata.manifest == about.manifest
    assert asset.object_keys - changed.object_keys == {"a/v1/quarantine.parquet"}
    for dataset_id, name in (("a", "quarantine.parquet"), ("a", "other"), ("b", "preview.png")):
        assert await ledger.remove_companion(dataset_id, 1, name, T0) is None


async def test_of_a_batch_only_its_id_stays(ledger: Ledger) -> None:
    first = await over(ledger, await put_running(ledger, batch_id="batch"))
    again = a_run("batch", retry_of=first.run_id, created_at=T0 + MINUTE, partition_key="a")
    second = await ledger.add_run(again)
    assert second is not None
    running = await claim(ledger, second)
    assert running is not None
    await ledger.add_event(second.run_id, code="c", message="m")
    await ledger.reserve_version(second.run_id, 1)
    asset = await ledger.commit_asset(an_asset(running), 1)
    assert asset is not None
    assert not await ledger.remove_batch("batch"), "a run is not over"
    await over(ledger, second)
    assert not await ledger.remove_batch("batch"), "a version is there"
    await ledger.delete_version("a", 1, DELETION, keep_newest=False)
    assert not await ledger.remove_batch("batch"), "its objects are there"
    await ledger.version_removed("a", 1, T0)
    other = await put_run(ledger, batch_id="other")
    assert await ledger.remove_batch("batch")
    assert not await ledger.remove_batch("batch")
    assert (await ledger.list_runs(RunFilter(), Page())).items == (other,)
    assert await ledger.get_run(second.run_id) is None
    assert await ledger.list_events(second.run_id) == ()
    assert await ledger.get_asset("a", 1) is None
    assert (await ledger.list_assets(AssetFilter(deleted=True), Page())).items == ()
    record = await ledger.get_manifest("batch")
    assert record is not None
    assert (record.status, record.manifest, record.batch_id) == (ManifestStatus.REMOVED, {}, "batch")
    listed = (await ledger.list_manifests(ManifestFilter(), Page())).items
    assert [each.batch_id for each in listed] == ["other"]
    removed = (await ledger.list_manifests(ManifestFilter(status="removed"), Page())).items
    assert [each.batch_id for each in removed] == ["batch"]
    # Neither the batch id nor the version number is given again.
    with pytest.raises(BatchConflict, match="removed"):
        await ledger.accept(a_manifest("batch"), a_run("batch"))
    assert await ledger.add_run(again.model_copy(update={"created_at": T0 + 2 * MINUTE})) is None
    assert (await put_asset(ledger, "a")).version == 2


async def test_what_is_no_batch_is_not_removed(ledger: Ledger) -> None:
    await ledger.reject_manifest(a_manifest("rejected", status=ManifestStatus.REJECTED))
    run = await put_run(ledger)
    for batch_id in ("rejected", "nowhere", run.batch_id):
        assert not await ledger.remove_batch(batch_id)
    for batch_id in ("nowhere", run.batch_id):
        assert not await ledger.remove_rejected(batch_id)
    assert await ledger.remove_rejected("rejected")
    assert not await ledger.remove_rejected("rejected")
    assert await ledger.get_manifest("rejected") is None
    assert await ledger.get_run(run.run_id) == run


async def test_old_bookkeeping_goes_in_parts(ledger: Ledger) -> None:
    def at(second: int) -> Any:
        return T0 + timedelta(seconds=second)

    for second in range(6):
        entry = Activity(timestamp=at(second), user="u", action=str(second), resource_type="t", resource_id="r")
        await ledger.add_activity(entry)
        await ledger.add_delivery(Delivery(delivery_id=f"d{second}", received_at=at(second), body="{}"))
        if second != 1:
            await ledger.finish_delivery(f"d{second}", (), at(second))
    assert [await ledger.remove_activity(at(4), 3) for _ in range(3)] == [3, 1, 0]
    assert [entry.action for entry in (await ledger.list_activity(Page())).items] == ["5", "4"]
    assert [await ledger.remove_deliveries(at(4), 2) for _ in range(3)] == [2, 1, 0]
    left = (await ledger.list_deliveries(None, Page())).items
    assert [each.delivery_id for each in left] == ["d5", "d4", "d1"], "what is not done stays"
