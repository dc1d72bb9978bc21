"""What every ledger promises (app/ledger/__init__.py), shown on each of them."""

from __future__ import annotations

import asyncio
import base64
import json
from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta, timezone
from typing import Any, TypeVar

import pytest

from app.errors import InvalidRequest, LedgerUnavailable, NotFound, VersionTaken
from app.ledger import AssetFilter, Guard, Ledger, ManifestFilter, RunFilter
from app.models.asset import ParentInput, SourceInput
from app.models.manifests.manifest import ManifestStatus
from app.models.page import Page, Slice
from app.models.runs.activity import Activity
from app.models.runs.run import TRANSITIONS, Lease, Progress, RunError, RunStatus, RunWarning
from tests.contract.conftest import CROWD, Crowd
from tests.contract.ledgers import (
    BACKENDS,
    MINUTE,
    T0,
    a_manifest,
    a_run,
    an_asset,
    claim,
    put_asset,
    put_run,
    put_running,
)

pytestmark = pytest.mark.anyio

QUEUED, RUNNING, CANCELING = RunStatus.QUEUED, RunStatus.RUNNING, RunStatus.CANCELING
SUCCESS, FAILURE, CANCELED = RunStatus.SUCCESS, RunStatus.FAILURE, RunStatus.CANCELED
T = TypeVar("T")
ODD_TEXT = "Zürich 北京 🗺 'quoted\" \\ %s :name {braces} \n"
MILLISECOND = timedelta(milliseconds=1)


def only(*statuses: RunStatus, **insists: Any) -> Guard:
    return Guard(frozenset(statuses), **insists)


async def follow(read: Callable[[Page], Awaitable[Slice[T]]], limit: int) -> list[T]:
    """All items of a listing, page by page; each page but the last must be full."""
    items: list[T] = []
    page = Page(limit)
    while True:
        part = await read(page)
        items += part.items
        if part.next_cursor is None:
            return items
        assert len(part.items) == limit
        page = Page(limit, part.next_cursor)


def encoded(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).decode()


BAD_CURSORS = [
    *("", "x", "not a cursor", "äöü", "====", "A" * 5000, "\0", encoded(b"[" * 3000), encoded(b"\xff\xfe")),
    *(
        encoded(json.dumps(parts).encode())
        for parts in (None, [], {}, "runs", ["runs"], ["runs", 1], ["other", 1, "a"])
    ),
    *(encoded(json.dumps(["runs", *parts]).encode()) for parts in (["1", "a"], [1, 2], [1, "a", "b"], [1, None])),
    *(encoded(json.dumps(["runs", part, "a"]).encode()) for part in (10**30, 2**62, True, 1.5, None, [])),
]


class TestLedger:
    async def test_migrating_again_applies_nothing(self, ledger: Ledger) -> None:
        assert await ledger.migrate() == ()

    async def test_ping_names_what_answers(self, ledger: Ledger) -> None:
        info = await ledger.ping()
        assert info.name
        assert info.version
        json.dumps(dict(info.details))

    async def test_ping_of_a_ledger_that_is_not_migrated_says_how(
        self, ledger_backend: str, empty_ledger_url: str
    ) -> None:
        async with BACKENDS[ledger_backend].open(empty_ledger_url) as ledger:
            with pytest.raises(LedgerUnavailable) as caught:
                await ledger.ping()
            assert "spatial-etl migrate" in caught.value.fix
            assert await ledger.migrate()
            await ledger.ping()

    async def test_accept_writes_manifest_and_run(self, ledger: Ledger) -> None:
        manifest, run = a_manifest(), a_run()
        accepted = await ledger.accept(manifest, run)
        assert accepted.created
        assert accepted.manifest == manifest == await ledger.get_manifest("batch")
        assert accepted.run == run == await ledger.get_run(run.run_id)

    async def test_accept_of_a_known_batch_writes_nothing(self, ledger: Ledger) -> None:
        first = await ledger.accept(a_manifest(), a_run())
        other = a_run()
        again = await ledger.accept(a_manifest(content_hash="sha256:other"), other)
        assert not again.created
        assert (again.manifest, again.run) == (first.manifest, first.run)
        assert await ledger.get_run(other.run_id) is None
        assert (await ledger.list_runs(RunFilter(), Page())).items == (first.run,)

    async def test_accept_writes_both_or_neither(self, ledger: Ledger) -> None:
        run = await put_run(ledger)
        with pytest.raises(ValueError, match=run.run_id):
            await ledger.accept(a_manifest("other"), a_run("other", run_id=run.run_id))
        assert await ledger.get_manifest("other") is None

    async def test_accept_refuses_a_run_of_another_batch(self, ledger: Ledger) -> None:
        with pytest.raises(ValueError, match="other"):
            await ledger.accept(a_manifest(), a_run("other"))

    async def test_what_was_not_written_is_not_there(self, ledger: Ledger) -> None:
        assert await ledger.get_manifest("x") is None
        assert await ledger.get_run("x") is None
        assert await ledger.get_asset("x") is None
        assert await ledger.get_asset_by_key("x") is None
        assert await ledger.list_events("x") == ()
        assert await ledger.list_children((("x", 1),)) == ()
        assert await ledger.change_run("x", only(QUEUED), step="load") is None
        assert await ledger.reserve_version("x", 1) is None
        assert await ledger.commit_asset(an_asset(a_run()), 1) is None

    async def test_odd_values_come_back_as_they_went_in(self, ledger: Ledger) -> None:
        document = {
            "z": 1,
            "a": {ODD_TEXT: [None, True, -0.0, 1e300, 0.1, 2**62 + 1, ""]},
            "nul": "a\0b",
            "half": "\ud800",
            "b": [],
        }
        manifest = a_manifest(
            ingested_at=datetime.max.replace(microsecond=999_000, tzinfo=T0.tzinfo), document=document
        )
        await ledger.accept(manifest, a_run(partition_key=ODD_TEXT))
        found = await ledger.get_manifest("batch")
        assert found == manifest
        assert list(found.manifest) == list(manifest.manifest)  # the order of keys carries meaning in schemas

    async def test_times_are_utc_to_the_millisecond(self, ledger: Ledger) -> None:
        local = T0.astimezone(timezone(timedelta(hours=5, minutes=30))) + timedelta(microseconds=999)
        accepted = await ledger.accept(a_manifest(ingested_at=local), a_run(created_at=local))
        found = await ledger.get_run(accepted.run.run_id)
        assert found == accepted.run
        assert found.created_at == T0
        assert found.created_at.utcoffset() == timedelta(0)
        assert accepted.manifest.ingested_at == T0

    async def test_a_time_without_zone_is_refused(self, ledger: Ledger) -> None:
        with pytest.raises(ValueError, match="zone"):
            await ledger.accept(a_manifest(ingested_at=T0.replace(tzinfo=None)), a_run())

    async def test_manifests_by_filter(self, ledger: Ledger) -> None:
        documents: dict[str, dict[str, Any]] = {
            "plain": {},
            "intent": {"intent": "ingest_raster"},
            "uploader": {"uploader": ODD_TEXT},
            "project": {"metadata": {"project": "north"}},
            "testing": {"metadata": {"tags": {"testing": True}}},
            # A rejected document may be wrong anywhere; it must be kept all the same.
            "wrong": {"intent": 1, "uploader": ["x"], "metadata": {"project": {}, "tags": {"testing": "yes"}}},
            "worse": {"metadata": "none"},
        }
        for index, (name, document) in enumerate(documents.items()):
            record = a_manifest(name, document=document, ingested_at=T0 + index * MINUTE)
            await ledger.accept(record, a_run(name))
        run = (await ledger.list_runs(RunFilter(batch_id="plain"), Page())).items[0]
        await claim(ledger, run)

        async def named(**where: Any) -> list[str]:
            found = await ledger.list_manifests(ManifestFilter(**where), Page())
            return [record.batch_id for record in found.items]

        assert await named() == list(reversed(documents))
        assert await named(intent="ingest_raster") == ["intent"]
        assert await named(uploader=ODD_TEXT) == ["uploader"]
        assert await named(project="north") == ["project"]
        assert await named(testing=True) == ["testing"]
        assert "testing" not in await named(testing=False)
        assert await named(status="running") == ["plain"]
        assert await named(status=("running", "rejected")) == ["plain"]
        assert await named(status=("running", "queued")) == list(reversed(documents))
        assert await named(since=T0 + 5 * MINUTE) == ["worse", "wrong"]
        assert await named(since=T0 + 5 * MINUTE + MILLISECOND) == ["worse"]
        assert await named(intent="ingest_raster", uploader="bob") == []

    async def test_a_change_is_written_and_counted(self, ledger: Ledger) -> None:
        run = await put_running(ledger)
        changes: dict[str, Any] = {
            "step": ODD_TEXT,
            "progress": Progress(rows_done=2**40, rows_total=2**41),
            "counts": {"rows_in": 3},
            "warnings": (RunWarning(code="w", message="m", count=2, samples=(1, "a", None)),),
            "engine": {"geos": "3.13"},
            "started_at": T0,
        }
        changed = await ledger.change_run(run.run_id, only(RUNNING), **changes)
        assert changed == run.model_copy(update={**changes, "revision": run.revision + 1})
        assert changed == await ledger.get_run(run.run_id)

    async def test_a_lease_can_be_given_back(self, ledger: Ledger) -> None:
        run = await put_running(ledger)
        changed = await ledger.change_run(run.run_id, only(RUNNING), status=QUEUED, lease=None)
        assert changed is not None
        assert (changed.status, changed.lease, changed.attempt) == (QUEUED, None, 1)

    @pytest.mark.parametrize(
        "guard",
        [
            only(QUEUED),
            only(),
            only(RUNNING, attempt=0),
            only(RUNNING, attempt=2),
            only(RUNNING, lease_owner="other"),
            only(RUNNING, lease_expired_at=T0 + MINUTE),
            only(RUNNING, attempt=2, lease_owner="host:1:1"),
        ],
    )
    async def test_a_guard_that_does_not_fit_changes_nothing(self, ledger: Ledger, guard: Guard) -> None:
        run = await put_running(ledger)
        assert await ledger.change_run(run.run_id, guard, step="load") is None
        assert await ledger.get_run(run.run_id) == run

    @pytest.mark.parametrize(
        "guard",
        [
            only(RUNNING),
            only(QUEUED, RUNNING, CANCELING),
            only(RUNNING, attempt=1, lease_owner="host:1:1"),
            only(RUNNING, lease_expired_at=T0 + MINUTE + MILLISECOND),
        ],
    )
    async def test_a_guard_that_fits(self, ledger: Ledger, guard: Guard) -> None:
        run = await put_running(ledger)
        changed = await ledger.change_run(run.run_id, guard, step="load")
        assert changed is not None
        assert changed.step == "load"

    async def test_a_run_without_lease_has_no_expired_one(self, ledger: Ledger) -> None:
        run = await put_run(ledger)
        assert await ledger.change_run(run.run_id, only(QUEUED, lease_expired_at=T0 + MINUTE), step="load") is None
        assert await ledger.change_run(run.run_id, only(QUEUED, lease_owner="host:1:1"), step="load") is None

    @pytest.mark.parametrize("old", list(RunStatus))
    async def test_transitions_are_those_of_the_table(self, ledger: Ledger, old: RunStatus) -> None:
        way = {QUEUED: (), RUNNING: (RUNNING,), CANCELING: (RUNNING, CANCELING), SUCCESS: (RUNNING, SUCCESS)}
        way |= {FAILURE: (FAILURE,), CANCELED: (CANCELED,)}
        for new in RunStatus:
            run = await put_run(ledger)
            for status in way[old]:
                run = await ledger.change_run(run.run_id, only(run.status), status=status) or run
            assert run.status is old
            if new in TRANSITIONS[old] or (new is old and not old.is_final):
                changed = await ledger.change_run(run.run_id, only(old), status=new)
                assert changed is not None
                assert changed.status is new
            else:
                with pytest.raises(ValueError, match=f"from {old} to {new}"):
                    await ledger.change_run(run.run_id, only(old), status=new)
                assert await ledger.get_run(run.run_id) == run

    async def test_a_guard_wider_than_the_table_of_transitions(self, ledger: Ledger) -> None:
        """A worker that ends a run need not know whether its cancel was asked for."""
        run = await put_running(ledger)
        carried = only(RUNNING, CANCELING)
        assert await ledger.change_run(run.run_id, carried, status=CANCELED) is None
        assert await ledger.get_run(run.run_id) == run
        assert await ledger.change_run(run.run_id, only(), status=CANCELED) is None
        await ledger.change_run(run.run_id, carried, status=CANCELING)
        canceled = await ledger.change_run(run.run_id, carried, status=CANCELED)
        assert canceled is not None
        assert canceled.status is CANCELED

    @pytest.mark.parametrize(
        "changes", [{"batch_id": "x"}, {"revision": 9}, {"reserved_version": 1}, {"colour": "red"}, {"attempt": "many"}]
    )
    async def test_fields_that_cannot_be_set_are_refused(self, ledger: Ledger, changes: dict[str, Any]) -> None:
        run = await put_run(ledger)
        with pytest.raises(ValueError, match=next(iter(changes))):
            await ledger.change_run(run.run_id, only(QUEUED), **changes)
        assert await ledger.get_run(run.run_id) == run

    async def test_the_manifest_mirrors_its_run(self, ledger: Ledger) -> None:
        run = await put_run(ledger)
        await claim(ledger, run)
        manifest = await ledger.get_manifest(run.batch_id)
        assert manifest is not None
        assert (manifest.status, manifest.completed_at) == (ManifestStatus.RUNNING, None)
        error = RunError(code="crs_missing", detail="No CRS.", fix="Declare one.")
        await ledger.change_run(run.run_id, only(RUNNING), status=FAILURE, error=error, completed_at=T0 + MINUTE)
        manifest = await ledger.get_manifest(run.batch_id)
        assert manifest is not None
        assert (manifest.status, manifest.completed_at) == (ManifestStatus.FAILURE, T0 + MINUTE)
        assert manifest.error_message == "No CRS. Declare one."

    async def test_a_change_that_does_not_fit_leaves_the_manifest_alone(self, ledger: Ledger) -> None:
        run = await put_running(ledger)
        assert await ledger.change_run(run.run_id, only(RUNNING, attempt=9), status=SUCCESS, completed_at=T0) is None
        manifest = await ledger.get_manifest(run.batch_id)
        assert manifest is not None
        assert manifest.status is ManifestStatus.RUNNING

    async def test_one_of_many_tasks_claims_a_run(self, ledger: Ledger) -> None:
        run = await put_run(ledger)
        claims = await asyncio.gather(*(claim(ledger, run, f"host:{index}:1") for index in range(25)))
        winners = [claimed for claimed in claims if claimed is not None]
        assert len(winners) == 1
        assert await ledger.get_run(run.run_id) == winners[0]
        assert winners[0].revision == run.revision + 1

    async def test_a_worker_that_lost_its_lease_changes_nothing(self, ledger: Ledger) -> None:
        first = await put_running(ledger)
        lost = only(RUNNING, attempt=1, lease_expired_at=T0 + 2 * MINUTE)
        back = await ledger.change_run(first.run_id, lost, status=QUEUED, lease=None)
        assert back is not None
        second = await claim(ledger, back, "host:2:2")
        assert second is not None
        assert second.attempt == 2
        stale = only(RUNNING, attempt=1)
        assert await ledger.change_run(first.run_id, stale, lease=Lease(owner="host:1:1", expires_at=T0)) is None
        assert await ledger.change_run(first.run_id, stale, status=SUCCESS) is None
        assert await ledger.reserve_version(first.run_id, 1) is None
        assert await ledger.commit_asset(an_asset(first), 1) is None
        assert await ledger.get_run(first.run_id) == second

    async def test_runs_by_filter(self, ledger: Ledger) -> None:
        old = await put_run(ledger, lane="tabular", partition_key="roads")
        new = await put_running(ledger, created_at=T0 + MINUTE)

        async def found(**where: Any) -> list[str]:
            return [run.run_id for run in (await ledger.list_runs(RunFilter(**where), Page())).items]

        assert await found() == [new.run_id, old.run_id]
        assert await found(status=RUNNING) == [new.run_id]
        assert await found(batch_id=old.batch_id) == [old.run_id]
        assert await found(dataset_id="roads") == [old.run_id]
        assert await found(lane="spatial") == [new.run_id]
        assert await found(lane="spatial", status=QUEUED) == []
        assert await found(status=(QUEUED, RUNNING, QUEUED)) == [new.run_id, old.run_id]
        assert await found(status=(SUCCESS, QUEUED)) == [old.run_id]
        for number in range(4):
            await put_run(ledger, created_at=T0 + (number - 2) * MINUTE)
        everything, where = await found(), RunFilter((QUEUED, RUNNING))
        paged: list[str] = []
        page: Page | None = Page(2)
        while page is not None:
            part = await ledger.list_runs(where, page)
            paged += [run.run_id for run in part.items]
            page = None if part.next_cursor is None else Page(2, part.next_cursor)
        assert paged == everything
        assert len(paged) == 6

    async def test_due_runs_are_the_carried_ones(self, ledger: Ledger) -> None:
        await put_run(ledger, created_at=T0 + 3 * MINUTE)
        canceling = await put_running(ledger, created_at=T0 + 4 * MINUTE)
        await ledger.change_run(canceling.run_id, only(RUNNING), status=CANCELING)
        running = await put_running(ledger, created_at=T0 + 2 * MINUTE)
        without_lease = await put_running(ledger, created_at=T0 + 5 * MINUTE)
        await ledger.change_run(without_lease.run_id, only(RUNNING), lease=None)
        done = await put_running(ledger, created_at=T0)
        await ledger.change_run(done.run_id, only(RUNNING), status=SUCCESS)
        expected = [running.run_id, canceling.run_id, without_lease.run_id]
        for limit in (1, 3, 100):
            due = await ledger.list_due_runs(limit)
            assert [run.run_id for run in due] == expected[:limit]
        assert due[0] == running

    async def test_a_run_reserves_one_version_for_all_its_attempts(self, ledger: Ledger) -> None:
        run = await put_running(ledger)
        assert await ledger.reserve_version(run.run_id, 1) == 1
        assert await ledger.reserve_version(run.run_id, 1) == 1
        back = await ledger.change_run(run.run_id, only(RUNNING), status=QUEUED, lease=None)
        assert back is not None
        assert back.reserved_version == 1
        await claim(ledger, back)
        assert await ledger.reserve_version(run.run_id, 2) == 1

    async def test_versions_count_for_each_dataset(self, ledger: Ledger) -> None:
        for dataset_id, version in (("a", 1), ("a", 2), ("b", 1), ("a", 3)):
            run = await put_running(ledger, partition_key=dataset_id)
            assert await ledger.reserve_version(run.run_id, 1) == version

    @pytest.mark.parametrize("status", [s for s in RunStatus if s is not RUNNING])
    async def test_only_a_running_run_reserves_and_commits(self, ledger: Ledger, status: RunStatus) -> None:
        run = await put_running(ledger)
        for new in (CANCELING, CANCELED) if status is CANCELED else (status,):
            run = await ledger.change_run(run.run_id, only(run.status), status=new) or run
        assert run.status is status
        assert await ledger.reserve_version(run.run_id, 1) is None
        assert await ledger.commit_asset(an_asset(run), 1) is None
        assert await ledger.get_asset(run.partition_key) is None

    async def test_commit_is_idempotent(self, ledger: Ledger) -> None:
        await put_asset(ledger, "roads")
        run = await put_running(ledger)
        asset = an_asset(run, inputs=(ParentInput(dataset_id="roads", version=1, role="tabular"),))
        assert await ledger.commit_asset(asset, 1) == asset
        other = asset.model_copy(update={"content_hash": "sha256:9", "s3_key": "elsewhere"})
        assert await ledger.commit_asset(other, 1) == asset
        assert await ledger.get_asset(asset.dataset_id, 1) == asset
        # The answer to the first commit was lost and a cancel came in between.
        await ledger.change_run(run.run_id, only(RUNNING), status=CANCELING)
        assert await ledger.commit_asset(asset, 1) == asset
        assert await ledger.commit_asset(asset, 2) is None
        assert await ledger.list_children((("roads", 1),)) == (asset,)

    async def test_a_version_or_key_of_another_run_is_taken(self, ledger: Ledger) -> None:
        first, second = [await put_running(ledger, partition_key="parcels") for _ in range(2)]
        asset = await ledger.commit_asset(an_asset(first), 1)
        parent = ParentInput(dataset_id="parcels", version=1, role="tabular")
        with pytest.raises(VersionTaken, match=first.run_id):
            await ledger.commit_asset(an_asset(second, s3_key="elsewhere", inputs=(parent,)), 1)
        with pytest.raises(VersionTaken, match=r"parcels/v1/data\.parquet"):
            await ledger.commit_asset(an_asset(second, 2, s3_key="parcels/v1/data.parquet", inputs=(parent,)), 1)
        assert (await ledger.list_assets(AssetFilter(), Page())).items == (asset,)
        assert await ledger.list_children((("parcels", 1),)) == ()

    async def test_one_of_many_tasks_registers_a_version(self, ledger: Ledger) -> None:
        runs = [await put_running(ledger, partition_key="parcels") for _ in range(8)]
        made = await asyncio.gather(*(ledger.commit_asset(an_asset(run), 1) for run in runs), return_exceptions=True)
        assert Counter(type(each).__name__ for each in made) == {"Asset": 1, "VersionTaken": 7}

    async def test_assets_by_version_and_key(self, ledger: Ledger) -> None:
        first, second = await put_asset(ledger, "a"), await put_asset(ledger, "a")
        await put_asset(ledger, "b")
        assert await ledger.get_asset("a", 1) == first
        assert await ledger.get_asset("a") == second
        assert await ledger.get_asset_by_key(first.s3_key) == first
        for version in (0, -1, 3, 2**63, 10**40):
            assert await ledger.get_asset("a", version) is None

    async def test_assets_by_filter(self, ledger: Ledger) -> None:
        # The newest version is the highest one, whenever it was made.
        a1 = await put_asset(ledger, "a", created_at=T0 + 2 * MINUTE)
        a2 = await put_asset(ledger, "a", created_at=T0, kind="tabular", format="parquet")
        b1 = await put_asset(ledger, "b", created_at=T0 + MINUTE)

        async def found(**where: Any) -> list[Any]:
            return list((await ledger.list_assets(AssetFilter(**where), Page())).items)

        assert await found() == [a1, b1, a2]
        assert await found(dataset_id="a") == [a1, a2]
        assert await found(run_id=b1.run_id) == [b1]
        assert await found(kind="tabular") == [a2]
        assert await found(latest_only=True) == [b1, a2]
        assert await found(latest_only=True, kind="spatial") == [b1]
        assert await found(latest_only=True, dataset_id="a") == [a2]

    async def test_children_of_any_parent_once_and_oldest_first(self, ledger: Ledger) -> None:
        def parent(dataset_id: str, version: int) -> ParentInput:
            return ParentInput(dataset_id=dataset_id, version=version, role="spatial")

        for dataset_id in ("a", "a", "b"):
            await put_asset(ledger, dataset_id)
        source = SourceInput(s3_key="a", size=2**40, etag="e", sha256="f" * 64)
        young = await put_asset(ledger, "young", source, parent("a", 1), parent("b", 1), created_at=T0 + MINUTE)
        old = await put_asset(ledger, "old", parent("a", 1), parent("a", 1))
        other = await put_asset(ledger, "other", parent("a", 2))
        assert young.inputs[0] == source
        assert await ledger.list_children((("a", 1), ("b", 1))) == (old, young)
        assert await ledger.list_children((("b", 1),)) == (young,)
        assert await ledger.list_children((("a", 2), ("b", 2), ("a", 10**40))) == (other,)
        assert await ledger.list_children(()) == ()
        many = tuple(("a", version) for version in range(2, 3002))
        assert await ledger.list_children(many) == (other,)

    async def test_events_count_from_one(self, ledger: Ledger) -> None:
        run = await put_run(ledger)
        first = await ledger.add_event(run.run_id, code="queued", message=ODD_TEXT)
        data = {"rows": 2**62, "nested": {"a": [1, None]}}
        second = await ledger.add_event(run.run_id, code="w", message="m", level="warning", step="load", data=data)
        assert (first.seq, first.level, first.step, first.data, first.message) == (1, "info", None, {}, ODD_TEXT)
        assert (second.seq, second.level, second.step, second.data) == (2, "warning", "load", data)
        assert await ledger.list_events(run.run_id) == (first, second)
        assert await ledger.list_events(run.run_id, after=1) == (second,)
        assert await ledger.list_events(run.run_id, after=-5, limit=1) == (first,)
        assert await ledger.list_events(run.run_id, after=10**40) == ()

    async def test_events_of_an_unknown_run_are_refused(self, ledger: Ledger) -> None:
        with pytest.raises(NotFound, match="nobody"):
            await ledger.add_event("nobody", code="c", message="m")

    async def test_an_event_changes_nothing_else_of_its_run(self, ledger: Ledger) -> None:
        run = await put_run(ledger)
        await ledger.add_event(run.run_id, code="c", message="m")
        assert await ledger.get_run(run.run_id) == run

    async def test_events_of_canceled_tasks_leave_no_gap(self, ledger: Ledger) -> None:
        """A client that goes away in the middle of a write breaks neither the count nor the next write."""
        run = await put_run(ledger)
        tasks = [asyncio.create_task(ledger.add_event(run.run_id, code="c", message=str(n))) for n in range(20)]
        for index, task in enumerate(tasks):
            await asyncio.sleep(0.001)
            if index % 2:
                task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        last = await ledger.add_event(run.run_id, code="c", message="last")
        # The write of a canceled task may still come after this one.
        seqs = [event.seq for event in await ledger.list_events(run.run_id)]
        assert seqs == list(range(1, len(seqs) + 1))
        assert 10 < last.seq <= len(seqs)

    async def test_activity_newest_first(self, ledger: Ledger) -> None:
        def entry(minute: int, name: str, **fields: Any) -> Activity:
            common = {"user": "ada", "action": "submit", "resource_type": "manifest", "resource_id": name}
            return Activity(timestamp=T0 + minute * MINUTE, **common | fields)

        entries = [
            entry(1, "b"),
            entry(1, ODD_TEXT, details={"a": [1, {"b": None}]}, ip="::1"),
            entry(0, "old"),
            entry(2, "new"),
        ]
        for each in entries:
            await ledger.add_activity(each)
        b, twin, old, new = entries
        assert await follow(ledger.list_activity, 1) == [new, twin, b, old]
        assert await follow(ledger.list_activity, 3) == [new, twin, b, old]

    @pytest.mark.parametrize("limit", [1, 2, 3, 6, 7])
    async def test_pages_lose_and_repeat_nothing_where_times_are_equal(self, ledger: Ledger, limit: int) -> None:
        names = ["A", "a", "B", "b", "_", "é"]
        for name in names:
            created_at = T0 if name != "B" else T0 + MINUTE
            run = a_run(name, run_id=name, partition_key=name, created_at=created_at)
            await ledger.accept(a_manifest(name, ingested_at=created_at), run)
            await claim(ledger, run)
            await ledger.commit_asset(an_asset(run, created_at=created_at), 1)
        expected = ["B", *sorted(set(names) - {"B"}, reverse=True)]
        manifests = await follow(lambda page: ledger.list_manifests(ManifestFilter(uploader="ada"), page), limit)
        assert [each.batch_id for each in manifests] == expected
        runs = await follow(lambda page: ledger.list_runs(RunFilter(status=RUNNING), page), limit)
        assert [each.run_id for each in runs] == expected
        assets = await follow(lambda page: ledger.list_assets(AssetFilter(latest_only=True), page), limit)
        assert [each.dataset_id for each in assets] == expected

    async def test_pages_of_versions_that_share_a_time(self, ledger: Ledger) -> None:
        made = [await put_asset(ledger, "a") for _ in range(11)]
        found = await follow(lambda page: ledger.list_assets(AssetFilter(dataset_id="a"), page), 3)
        assert found == list(reversed(made))

    async def test_a_page_goes_on_where_it_stood_when_rows_are_added(self, ledger: Ledger) -> None:
        old = [await put_run(ledger, created_at=T0 + index * MINUTE) for index in range(4)]
        first = await ledger.list_runs(RunFilter(), Page(2))
        await put_run(ledger, created_at=T0 + 10 * MINUTE)
        second = await ledger.list_runs(RunFilter(), Page(2, first.next_cursor))
        assert [run.run_id for run in first.items + second.items] == [run.run_id for run in reversed(old)]
        assert second.next_cursor is None

    @pytest.mark.parametrize("cursor", BAD_CURSORS)
    async def test_a_cursor_that_was_never_given_out_is_refused(self, ledger: Ledger, cursor: str) -> None:
        await put_run(ledger)
        with pytest.raises(InvalidRequest) as caught:
            await ledger.list_runs(RunFilter(), Page(10, cursor))
        (fault,) = caught.value.faults
        assert fault.code == "cursor_invalid"
        assert caught.value.fix

    async def test_a_cursor_of_another_listing_is_refused(self, ledger: Ledger) -> None:
        for _ in range(2):
            await put_run(ledger)
        cursor = (await ledger.list_runs(RunFilter(), Page(1))).next_cursor
        assert cursor is not None
        assert cursor.replace("-", "").replace("_", "").isalnum()
        with pytest.raises(InvalidRequest):
            await ledger.list_manifests(ManifestFilter(), Page(1, cursor))

    async def test_processes_that_migrate_at_once(self, crowd: Crowd) -> None:
        applied = await crowd("migrate")
        assert sum(bool(names) for names in applied) == 1

    async def test_processes_that_accept_the_same_batches(self, ledger: Ledger, crowd: Crowd) -> None:
        names = [f"batch-{index}" for index in range(15)]
        answers = [answer for part in await crowd("accept", *names) for answer in part]
        assert Counter(batch for batch, _, created in answers if created) == dict.fromkeys(names, 1)
        assert len({(batch, run_id) for batch, run_id, _ in answers}) == len(names)
        assert len((await ledger.list_runs(RunFilter(), Page(100))).items) == len(names)

    async def test_processes_that_claim_the_same_runs(self, ledger: Ledger, crowd: Crowd) -> None:
        runs = [await put_run(ledger) for _ in range(15)]
        claimed = [run_id for part in await crowd("claim", *(run.run_id for run in runs)) for run_id in part]
        assert sorted(claimed) == sorted(run.run_id for run in runs)
        for run in (await ledger.list_runs(RunFilter(), Page(100))).items:
            assert (run.attempt, run.revision) == (1, 2)

    async def test_processes_that_reserve_and_commit_versions(self, ledger: Ledger, crowd: Crowd) -> None:
        names = tuple([(await put_running(ledger, partition_key="parcels")).run_id for _ in range(15)])
        reserved = {answer for part in await crowd("reserve", *names) for answer in part}
        assert sorted(version for _, version in reserved) == list(range(1, 16))
        registered = {answer for part in await crowd("commit", *names) for answer in part}
        assert len(registered) == len(names)
        found = (await ledger.list_assets(AssetFilter(dataset_id="parcels"), Page(100))).items
        assert {(asset.run_id, asset.version) for asset in found} == reserved
        assert {(asset.run_id, asset.content_hash) for asset in found} == registered

    async def test_processes_that_log_to_the_same_runs(self, ledger: Ledger, crowd: Crowd) -> None:
        runs = [await put_run(ledger) for _ in range(2)]
        numbers = [seq for part in await crowd("log", *(run.run_id for run in runs)) for seq in part]
        each = range(1, CROWD * 10 + 1)
        assert sorted(numbers) == sorted([*each, *each])
        for run in runs:
            assert [event.seq for event in await ledger.list_events(run.run_id)] == list(each)
