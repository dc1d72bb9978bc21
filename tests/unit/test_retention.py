"""Rules of retention and the clean-up of test runs, on a real ledger and a real store; dry runs change nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from app.clients import Clients, open_clients
from app.ledger import AssetFilter, Guard, ManifestFilter, RunFilter
from app.models.asset import Asset, AssetMetadata, Companion, ParentInput
from app.models.base import utcnow
from app.models.manifests.delivery import Delivery
from app.models.manifests.manifest import LAKE_BUCKET, LANDING_BUCKET, ManifestStatus
from app.models.page import Page
from app.models.runs.run import RunStatus
from app.services.intake.dropped_manifests import archive_key
from app.services.retention.cleanup_tests import clean_up_tests
from app.services.retention.removal import Outcome
from app.services.retention.rules import RULES, apply
from app.settings import RetentionSettings, Settings
from tests.api.test_metrics_api import api
from tests.contract.ledgers import a_manifest, an_asset, claim, put_run, put_running
from tests.contract.ledgers import a_run as new_run

pytestmark = pytest.mark.anyio

OLD = utcnow() - timedelta(days=10)
NOTHING = RetentionSettings(deliveries_days=None, rejected_products_days=None)
DESCRIBED: dict[str, Any] = dict.fromkeys(("description", "source", "license", "attribution"), "") | {"title": "T"}


@pytest.fixture
async def clients(tmp_path: Path) -> AsyncIterator[Clients]:
    async with open_clients(Settings(data_dir=tmp_path)) as opened:
        await opened.ledger.migrate()
        yield opened


async def text(value: str) -> AsyncIterator[bytes]:
    yield value.encode()


async def put(clients: Clients, key: str, bucket: str = LAKE_BUCKET) -> None:
    await clients.objects.put(bucket, key, text(key))


async def keys(clients: Clients, bucket: str = LAKE_BUCKET) -> list[str]:
    return [info.key for info in (await clients.objects.list_objects(bucket)).objects]


async def ingest(
    clients: Clients,
    batch_id: str,
    dataset_id: str,
    *inputs: ParentInput,
    testing: bool = False,
    status: RunStatus = RunStatus.SUCCESS,
    **record: Any,
) -> Asset | None:
    """A batch that is over since OLD, with its version and its objects when it is a success."""
    ledger = clients.ledger
    tags = {"dataset_id": dataset_id, "testing": testing}
    files = [{"path": f"s3://landing-zone/{batch_id}.csv", "type": "tabular", "format": "CSV"}]
    document = {"intent": "ingest_tabular", "files": files, "metadata": {**DESCRIBED, "tags": tags}}
    run = new_run(batch_id, partition_key=dataset_id, created_at=OLD)
    manifest = a_manifest(batch_id, document=document, ingested_at=OLD, **record)
    running = await claim(ledger, (await ledger.accept(manifest, run)).run)
    assert running is not None
    await ledger.add_event(run.run_id, code="c", message="m")
    asset = None
    if status is RunStatus.SUCCESS:
        version = await ledger.reserve_version(run.run_id, 1)
        assert version is not None
        folder = f"{dataset_id}/v{version}"
        file = Companion(
            name="quarantine.parquet", s3_key=f"{folder}/quarantine-1.parquet", size=1, content_hash="sha256:1"
        )
        about = AssetMetadata(manifest={"tags": tags}, column_schema={}, companions=(file,))
        made = an_asset(running, version, s3_key=f"{folder}/data-1.parquet", inputs=inputs, metadata=about)
        asset = await ledger.commit_asset(made.model_copy(update={"created_at": OLD}), 1)
        assert asset is not None
        for key in asset.object_keys:
            await put(clients, key)
    ended = await ledger.change_run(
        run.run_id, Guard(frozenset({RunStatus.RUNNING})), status=status, completed_at=OLD, lease=None
    )
    assert ended is not None
    return asset


def parent(asset: Asset | None) -> ParentInput:
    assert asset is not None
    return ParentInput(dataset_id=asset.dataset_id, version=asset.version, role="left")


async def everything(clients: Clients) -> list[Any]:
    ledger, page = clients.ledger, Page(limit=1000)
    runs = (await ledger.list_runs(RunFilter(), page)).items
    return [
        (await ledger.list_manifests(ManifestFilter(), page)).items,
        runs,
        [await ledger.list_events(run.run_id) for run in runs],
        (await ledger.list_assets(AssetFilter(deleted=True), page)).items,
        (await ledger.list_activity(page)).items,
        (await ledger.list_deliveries(None, page)).items,
        await ledger.get_counts(),
        await keys(clients),
        await keys(clients, LANDING_BUCKET),
    ]


async def versions(clients: Clients) -> list[str]:
    found = (await clients.ledger.list_assets(AssetFilter(), Page(limit=1000))).items
    return sorted(f"{asset.dataset_id}/v{asset.version}" for asset in found)


async def applied(clients: Clients, **rules: Any) -> dict[str, Outcome]:
    """What the rules remove, after a dry run that promises the same and changes nothing."""
    settings = NOTHING.model_copy(update=rules)
    before = await everything(clients)
    promised = await apply(clients, settings, dry_run=True)
    assert await everything(clients) == before
    done = await apply(clients, settings)
    assert {name: (each.removed, len(each.names)) for name, each in promised.items()} == {
        name: (each.removed, len(each.names)) for name, each in done.items()
    }
    again = await apply(clients, settings)
    assert not any(each.removed.total() for name, each in again.items() if name != "activity_days")
    return done


async def test_every_rule_is_a_setting_and_none_is_set_but_for_bookkeeping() -> None:
    rules = {name for name in RetentionSettings.model_fields if name.endswith("_days")}
    assert rules == set(RULES)
    assert {name for name in rules if getattr(RetentionSettings(), name) is not None} == {
        "deliveries_days",
        "rejected_products_days",
    }


async def test_nothing_goes_without_a_rule(clients: Clients) -> None:
    for number in range(3):
        await ingest(clients, f"b{number}", "a")
    before = await everything(clients)
    assert await apply(clients, NOTHING) == {}
    assert await everything(clients) == before


async def test_old_versions_go_but_never_the_newest_nor_what_others_were_made_from(clients: Clients) -> None:
    made = [await ingest(clients, f"a{number}", "a") for number in range(5)]
    await ingest(clients, "child", "child", parent(made[1]))
    await ingest(clients, "single", "single")
    done = (await applied(clients, versions_keep=2))["versions_days"]
    assert done.removed == {"version": 2}
    assert await versions(clients) == ["a/v2", "a/v4", "a/v5", "child/v1", "single/v1"]
    assert done.kept == ["a/v2: child v1 was made from it."]
    assert {key.rpartition("/")[0] for key in await keys(clients)} == set(await versions(clients))
    entries = [e for e in (await clients.ledger.list_activity(Page())).items if e.action == "asset.deleted"]
    assert {(e.user, e.details["reason"]) for e in entries} == {("retention", "retention.versions_days")}
    # By age: all that are old, but the newest.
    assert (await applied(clients, versions_days=11.0))["versions_days"].removed == {}
    await applied(clients, versions_days=9.0)
    assert await versions(clients) == ["a/v2", "a/v5", "child/v1", "single/v1"]


async def test_set_aside_rows_go_while_the_data_stays(clients: Clients) -> None:
    await ingest(clients, "b", "a")
    assert (await applied(clients, quarantine_days=9.0))["quarantine_days"].removed == {"quarantine": 1}
    assert await keys(clients) == ["a/v1/data-1.parquet"]
    asset = await clients.ledger.get_asset("a", 1)
    assert asset is not None
    assert asset.companions == ()


async def test_products_that_failed_their_checks(clients: Clients) -> None:
    await ingest(clients, "made", "a")
    kept = await keys(clients)
    await put(clients, "_rejected/r1/data-1.parquet")
    assert not (await applied(clients, rejected_products_days=9.0))["rejected_products_days"].removed
    done = await applied(clients, rejected_products_days=0.0)
    assert done["rejected_products_days"].removed == {"rejected_product": 1}
    assert await keys(clients) == kept


async def test_logs_and_runs_without_a_version(clients: Clients) -> None:
    await ingest(clients, "made", "a")
    await ingest(clients, "failed", "b", status=RunStatus.FAILURE)
    young = await put_running(clients.ledger, batch_id="going")
    await clients.ledger.add_event(young.run_id, code="c", message="m")
    done = await applied(clients, run_logs_days=9.0)
    assert done["run_logs_days"].removed == {"run_log": 2}
    assert len(await clients.ledger.list_events(young.run_id)) == 1
    done = await applied(clients, runs_days=9.0)
    assert done["runs_days"].names == ["batch failed"]
    left = (await clients.ledger.list_manifests(ManifestFilter(), Page())).items
    assert sorted(each.batch_id for each in left) == ["going", "made"]


async def test_rejected_archived_and_bookkeeping(clients: Clients) -> None:
    await clients.ledger.reject_manifest(
        a_manifest("rejected.1", status=ManifestStatus.REJECTED, ingested_at=OLD, completed_at=OLD)
    )
    await put(clients, "archive/manifests/a.json", LANDING_BUCKET)
    await put(clients, "files/a.csv", LANDING_BUCKET)
    for number in range(3):
        await clients.ledger.add_delivery(Delivery(delivery_id=f"d{number}", received_at=OLD, body="{}"))
        await clients.ledger.finish_delivery(f"d{number}", (), OLD)
    done = await applied(clients, rejected_days=9.0, archive_days=0.0, deliveries_days=9.0)
    assert {name: dict(each.removed) for name, each in done.items()} == {
        "rejected_days": {"rejected": 1},
        "archive_days": {"archived": 1},
        "deliveries_days": {"delivery": 3},
    }
    assert await keys(clients, LANDING_BUCKET) == ["files/a.csv"]
    entries = (await clients.ledger.list_activity(Page())).items
    assert {(e.action, e.details["reason"]) for e in entries} == {
        ("rejected.removed", "retention.rejected_days"),
        ("archived.removed", "retention.archive_days"),
        ("delivery.removed", "retention.deliveries_days"),
    }
    assert entries[0].details["number"] == 3
    counts = await clients.ledger.get_counts()
    assert counts["removed|kind=delivery"] == 3
    await apply(clients, NOTHING.model_copy(update={"activity_days": 0.0}))
    (entry,) = (await clients.ledger.list_activity(Page())).items
    assert (entry.action, entry.details["number"]) == ("activity.removed", 3)


async def cleaned(clients: Clients, **how: Any) -> Outcome:
    how = {"older_than": timedelta(0)} | how
    before = await everything(clients)
    promised = await clean_up_tests(clients, dry_run=True, **how)
    assert await everything(clients) == before
    done = await clean_up_tests(clients, dry_run=False, **how)
    assert (promised.removed.keys(), promised.kept) == (done.removed.keys(), done.kept)
    return done


async def test_clean_up_takes_test_runs_and_all_they_made(clients: Clients) -> None:
    test = await ingest(
        clients, "test", "t", testing=True, object_key="manifests/test.json", object_etag="e", source="sweep"
    )
    await ingest(clients, "test-join", "tj", parent(test), testing=True)
    await ingest(clients, "real", "r")
    used = await ingest(clients, "used", "u", testing=True)
    await ingest(clients, "real-join", "rj", parent(used))
    await ingest(clients, "failed", "f", testing=True, status=RunStatus.FAILURE)
    going = await put_run(clients.ledger, batch_id="unrelated")
    for key in ("test.csv", "real.csv", "used.csv", "failed.csv"):
        await put(clients, key, LANDING_BUCKET)
    young = await clean_up_tests(clients, older_than=timedelta(days=11), dry_run=False)
    assert (young.removed, len(young.kept)) == ({}, 4)
    done = await cleaned(clients)
    assert done.removed == {"version": 2, "batch": 3, "archived": 0}
    assert done.kept == ["used: u v1 is an input of rj v1."]
    assert await versions(clients) == ["r/v1", "rj/v1", "u/v1"]
    assert {key.rpartition("/")[0] for key in await keys(clients)} == {"r/v1", "rj/v1", "u/v1"}
    left = (await clients.ledger.list_manifests(ManifestFilter(), Page())).items
    assert sorted(each.batch_id for each in left) == ["real", "real-join", "unrelated", "used"]
    assert len((await clients.ledger.list_runs(RunFilter(), Page())).items) == 4
    assert (await clients.ledger.list_assets(AssetFilter(dataset_id="t", deleted=True), Page())).items == ()
    assert await clients.ledger.get_run(going.run_id) == going
    assert len(await keys(clients, LANDING_BUCKET)) == 4, "files are their owners'"
    assert (await clean_up_tests(clients, older_than=timedelta(0), dry_run=False)).removed == {}
    users = {(e.user, e.details["reason"]) for e in (await clients.ledger.list_activity(Page())).items}
    assert users == {("anonymous", "cleanup.testing")}


async def test_clean_up_takes_the_archived_manifests_of_a_correction(clients: Clients) -> None:
    dropped = {"object_key": "manifests/a.json", "source": "sweep"}
    await ingest(clients, "test", "t", testing=True, status=RunStatus.FAILURE, object_etag="one", **dropped)
    (failed,) = (await clients.ledger.list_runs(RunFilter(batch_id="test"), Page())).items
    stored = await clients.ledger.get_manifest("test")
    assert stored is not None
    corrected = stored.model_copy(update={"content_hash": "sha256:2", "object_etag": "two"})
    again = new_run("test", partition_key="t", created_at=OLD + timedelta(hours=1), retry_of=failed.run_id)
    accepted = await clients.ledger.supersede(corrected, again, stored.content_hash)
    assert accepted is not None
    assert accepted.manifest.earlier[0].object_etag == "one"
    queued = Guard(frozenset({RunStatus.QUEUED}))
    assert await clients.ledger.change_run(again.run_id, queued, status=RunStatus.CANCELED, completed_at=OLD)
    archived = [archive_key("manifests/a.json", etag) for etag in ("one", "two")]
    for key in (*archived, "archive/manifests/other.json"):
        await put(clients, key, LANDING_BUCKET)
    await cleaned(clients)
    assert await keys(clients, LANDING_BUCKET) == ["archive/manifests/other.json"]


async def test_clean_up_takes_files_only_when_asked(clients: Clients) -> None:
    await ingest(clients, "test", "t", testing=True)
    for key in ("test.csv", "other.csv"):
        await put(clients, key, LANDING_BUCKET)
    done = await cleaned(clients, landing_files=True)
    assert done.removed == {"version": 1, "landing": 1, "batch": 1}
    assert await keys(clients, LANDING_BUCKET) == ["other.csv"]


async def test_what_is_not_over_is_left_alone(clients: Clients) -> None:
    run = new_run("test", created_at=OLD)
    document = {"metadata": {"tags": {"testing": True}}}
    await clients.ledger.accept(a_manifest("test", document=document, ingested_at=OLD), run)
    done = await cleaned(clients)
    assert (done.removed, done.kept) == ({}, [f"test: its run {run.run_id} is queued."])


async def test_clean_up_over_http(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path)
    async with open_clients(settings) as opened:
        await opened.ledger.migrate()
    async with api(settings) as (http, clients):
        await ingest(clients, "test", "t", testing=True)
        for body in ({}, {"testing": False}, {"testing": True, "older_than": 3}):
            assert (await http.post("/maintenance/cleanup", json=body)).status_code == 422
        for dry_run in (True, False):
            answer = await http.post("/maintenance/cleanup", json={"testing": True, "dry_run": dry_run})
            assert answer.status_code == 200, answer.text
            assert answer.json() == {
                "dry_run": dry_run,
                "removed": {"version": 1, "batch": 1},
                "items": ["version t/v1", "batch test"],
                "kept": [],
            }
        for method, path in (
            ("GET", "/manifests/test"),
            ("POST", "/manifests/test/rerun"),
            ("DELETE", "/manifests/test"),
        ):
            gone = await http.request(method, path)
            assert (gone.status_code, gone.json()["code"]) == (410, "manifest_removed"), path
        assert (await http.get("/assets/t/v1")).status_code == 404
        assert (await http.get("/manifests")).json()["items"] == []
        removed = (await http.get("/manifests", params={"status": "removed"})).json()["items"]
        assert [item["batch_id"] for item in removed] == ["test"]
