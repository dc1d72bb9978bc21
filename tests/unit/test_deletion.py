"""Deleting versions with their objects, step by step, on real ledgers and stores; and what nobody owns in the lake."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from app.clients import Clients, open_clients
from app.errors import StoreUnavailable, VersionInUse
from app.ledger import AssetFilter, Guard, Ledger
from app.models.asset import Asset, AssetMetadata, Companion, Deletion, ParentInput
from app.models.base import utcnow
from app.models.manifests.manifest import LAKE_BUCKET
from app.models.page import Page
from app.models.runs.run import Run, RunStatus
from app.services.retention import delete_version as deletion
from app.services.retention import orphan_objects as lake_orphans
from app.services.retention.orphan_objects import LakeOrphans
from app.services.retention.schedule import Retention
from app.settings import LedgerSettings, RetentionSettings, Settings
from tests.api.test_metrics_api import api
from tests.contract.ledgers import BACKENDS, a_manifest, a_run, claim, put_asset, put_running
from tests.servers import s3

pytestmark = pytest.mark.anyio

WRITES = ("delete_version", "version_removed", "add_activity", "count", "delete")
SOON = RetentionSettings(orphan_grace_seconds=0)


@pytest.fixture(params=["sqlite-local", "mongodb-local", "sqlite-s3"])
async def clients(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Clients]:
    ledger, store = request.param.split("-")
    async with BACKENDS[ledger].fresh(tmp_path, True) as url:
        settings = Settings(data_dir=tmp_path, ledger=LedgerSettings(url=SecretStr(url)))
        async with open_clients(settings) as opened:
            if store == "local":
                yield opened
                return
            server = s3.server("moto").settings()
            async with s3.fresh_store(server) as objects:
                yield replace(opened, objects=objects)


async def text(value: str) -> AsyncIterator[bytes]:
    yield value.encode()


async def put(clients: Clients, key: str) -> None:
    await clients.objects.put(LAKE_BUCKET, key, text(key))


async def lake(clients: Clients) -> list[str]:
    return [info.key for info in (await clients.objects.list_objects(LAKE_BUCKET)).objects]


async def ended(clients: Clients, run_id: str) -> Run:
    running = Guard(frozenset({RunStatus.RUNNING}))
    over = await clients.ledger.change_run(run_id, running, status=RunStatus.SUCCESS, completed_at=utcnow())
    assert over is not None
    return over


async def a_version(clients: Clients, dataset_id: str, *inputs: ParentInput) -> Asset:
    """With its objects, of a run that is over."""
    number = len((await clients.ledger.list_assets(AssetFilter(dataset_id=dataset_id, deleted=True), Page())).items) + 1
    folder = f"{dataset_id}/v{number}"
    extra = Companion(name="preview.png", s3_key=f"{folder}/preview-1.png", size=1, content_hash="sha256:1")
    about = AssetMetadata(manifest={}, column_schema={}, companions=(extra,))
    asset = await put_asset(clients.ledger, dataset_id, *inputs, s3_key=f"{folder}/data-1.parquet", metadata=about)
    for key in asset.object_keys:
        await put(clients, key)
    await ended(clients, asset.run_id)
    return asset


class Died(BaseException):
    """The process ended here. No handler of errors sees it."""


class Mortal:
    """A ledger or a store of a process that ends before, or just after, its write number `turn`."""

    def __init__(self, real: Any, fate: dict[str, Any]) -> None:
        self._real, self._fate = real, fate

    def __getattr__(self, name: str) -> Any:
        if name not in WRITES:
            return getattr(self._real, name)

        async def write(*args: Any, **kwargs: Any) -> Any:
            last = self._fate["written"] == self._fate["turn"]
            self._fate["written"] += 1
            if last and not self._fate["after"]:
                raise Died
            done = await getattr(self._real, name)(*args, **kwargs)
            if last:
                raise Died
            return done

        return write


@pytest.mark.parametrize("after", [False, True])
async def test_wherever_a_deletion_dies_the_next_look_ends_it(clients: Clients, after: bool) -> None:
    for turn in count():
        dataset_id = f"d{turn}"
        first, second = await a_version(clients, dataset_id), await a_version(clients, dataset_id)
        fate = {"turn": turn, "written": 0, "after": after}
        mortal = replace(clients, ledger=Mortal(clients.ledger, fate), objects=Mortal(clients.objects, fate))
        died = False
        try:
            await deletion.delete_version(dataset_id, 1, mortal)
        except Died:
            died = True
        there = await clients.ledger.get_asset(dataset_id, 1)
        assert there is not None
        if there.deletion is None:
            # Nothing has happened, and nothing is missing.
            assert turn == 0
            assert first.object_keys <= set(await lake(clients))
            await deletion.delete_version(dataset_id, 1, clients)
        await Retention(clients, SOON).once()
        there = await clients.ledger.get_asset(dataset_id, 1)
        assert there is not None
        assert there.deletion is not None
        assert there.deletion.removed_at is not None
        assert sorted(key for key in await lake(clients) if key.startswith(f"{dataset_id}/")) == sorted(
            second.object_keys
        )
        told = (await clients.ledger.list_activity(Page(limit=1000))).items
        assert sum(entry.resource_id == f"{dataset_id}/v1" for entry in told) == 1
        assert await clients.ledger.list_deleted(10) == ()
        if not died:
            assert turn == 5, "the ledger, two objects, the ledger, the count"
            return


async def test_a_store_that_is_away_keeps_the_objects_until_it_is_back(
    clients: Clients, monkeypatch: pytest.MonkeyPatch
) -> None:
    await a_version(clients, "a")
    await a_version(clients, "a")

    async def away(*_args: Any, **_kwargs: Any) -> bool:
        raise StoreUnavailable("away")

    with monkeypatch.context() as patch:
        patch.setattr(clients.objects, "delete", away)
        gone = await deletion.delete_version("a", 1, clients)
        assert gone.deletion is not None
        with pytest.raises(StoreUnavailable):
            await Retention(clients, SOON).once()
    assert len(await lake(clients)) == 4
    await Retention(clients, SOON).once()
    assert len(await lake(clients)) == 2


async def test_what_a_run_that_is_not_over_made_or_reads_stays(clients: Clients) -> None:
    ledger = clients.ledger
    made = await put_asset(ledger, "a")
    await a_version(clients, "a")
    with pytest.raises(VersionInUse, match=made.run_id):
        await deletion.delete_version("a", 1, clients)
    await ended(clients, made.run_id)
    await a_version(clients, "b")

    async def join(batch_id: str, **config: Any) -> Run:
        sides = {"spatial_dataset_id": "a", "tabular_dataset_id": "b", "left_key": "id"}
        described = dict.fromkeys(("description", "source", "license", "attribution"), "") | {"title": "T"}
        document = {"intent": "join_datasets", "metadata": {**described, "join_config": sides | config}}
        run = a_run(batch_id, lane="join", partition_key="joined")
        return (await ledger.accept(a_manifest(batch_id, document=document), run)).run

    named = await join("named", spatial_version=1)
    with pytest.raises(VersionInUse, match="named"):
        await deletion.delete_version("a", 1, clients)
    await ledger.change_run(named.run_id, Guard(frozenset({RunStatus.QUEUED})), status=RunStatus.CANCELED)
    # One that waits will take the newest; one that runs may have begun when this was the newest.
    unnamed = await join("unnamed")
    await deletion.check_unused(made, ledger)
    await claim(ledger, unnamed)
    with pytest.raises(VersionInUse, match="unnamed"):
        await deletion.delete_version("a", 1, clients)
    await ended(clients, unnamed.run_id)
    check = {"check": "within", "dataset": "a", "version": 1}
    compared = await _accepted(ledger, "compared", {"dataset": {"checks": [check]}})
    with pytest.raises(VersionInUse, match="compared"):
        await deletion.delete_version("a", 1, clients)
    await ledger.change_run(compared.run_id, Guard(frozenset({RunStatus.QUEUED})), status=RunStatus.CANCELED)
    await deletion.delete_version("a", 1, clients)


async def _accepted(ledger: Ledger, batch_id: str, more: dict[str, Any]) -> Run:
    """The queued run of a manifest over a vector file."""
    file = {"path": "s3://landing-zone/p.geojson", "type": "vector", "format": "GeoJSON"}
    described = dict.fromkeys(("description", "source", "license", "attribution"), "") | {"title": "T"}
    document = {"intent": "ingest_vector", "files": [file], "metadata": described, **more}
    return (await ledger.accept(a_manifest(batch_id, document=document), a_run(batch_id, partition_key=batch_id))).run


async def test_the_lake_loses_what_no_version_owns(clients: Clients) -> None:
    own = await a_version(clients, "a")
    await put(clients, "a/v1/data-zombie.parquet")
    over = await put_running(clients.ledger, partition_key="b")
    assert await clients.ledger.reserve_version(over.run_id, 1) == 1
    failed = Guard(frozenset({RunStatus.RUNNING}))
    await clients.ledger.change_run(over.run_id, failed, status=RunStatus.FAILURE, completed_at=utcnow())
    running = await put_running(clients.ledger, partition_key="c")
    await clients.ledger.reserve_version(running.run_id, 1)
    strangers = ["c/v1/data-1.parquet", "c/v2/data-1.parquet", "nobody/v1/data-1.parquet", "readme.txt", "a/b/c/d.txt"]
    for key in ["b/v1/data-1.parquet", *strangers]:
        await put(clients, key)
    await Retention(clients, RetentionSettings(orphan_grace_seconds=3600)).once()
    assert len(await lake(clients)) == 9, "all of it is young"
    await Retention(clients, SOON).once()
    assert sorted(await lake(clients)) == sorted([*own.object_keys, *strangers])
    (event,) = await clients.ledger.list_events(over.run_id)
    assert (event.code, event.level) == ("lake.orphan_removed", "warning")
    counts = await clients.ledger.get_counts()
    assert (counts["repairs|action=orphan_removed"], counts["removed|kind=orphan"]) == (2, 2)


async def test_what_is_older_than_the_run_is_not_the_runs(clients: Clients) -> None:
    """As after a ledger was restored from a backup: the number is given again, the object was another's."""
    later = utcnow() + timedelta(hours=1)
    run = await put_running(clients.ledger, partition_key="a", created_at=later)
    await clients.ledger.reserve_version(run.run_id, 1)
    await put(clients, "a/v1/data-1.parquet")
    await ended(clients, run.run_id)
    assert await LakeOrphans(clients, 0).remove() == ()
    assert await lake(clients) == ["a/v1/data-1.parquet"]


async def test_a_walk_goes_over_pages_and_later_only_over_what_is_new(
    clients: Clients, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lake_orphans, "_PAGE", 2)
    versions = [await a_version(clients, name) for name in ("a", "b", "c")]
    for asset in versions:
        await put(clients, f"{asset.dataset_id}/v1/zombie.parquet")
    # The millisecond in which the last one was written may not be over.
    walk = LakeOrphans(clients, -1)
    assert len(await walk.remove()) == 3
    looks: list[str] = []
    get_asset = clients.ledger.get_asset

    async def seen(dataset_id: str, version: int | None = None) -> Asset | None:
        looks.append(dataset_id)
        return await get_asset(dataset_id, version)

    monkeypatch.setattr(clients.ledger, "get_asset", seen)
    monkeypatch.setattr(walk, "_seen", utcnow() + timedelta(minutes=1))
    assert await walk.remove() == ()
    assert looks == []


async def test_deleting_over_http(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path)
    async with open_clients(settings) as opened:
        await opened.ledger.migrate()
    async with api(settings) as (http, clients):
        first, second = await a_version(clients, "a"), await a_version(clients, "a")
        child = await a_version(clients, "b", ParentInput(dataset_id="a", version=1, role="left"))
        for path, status, code in (
            ("a/v2", 409, "version_is_newest"),
            ("a/v1", 409, "version_has_children"),
            ("a/v3", 404, "not_found"),
            ("z/v1", 404, "not_found"),
            ("a/v0", 422, "request_invalid"),
        ):
            answer = await http.delete(f"/assets/{path}")
            assert (answer.status_code, answer.json()["code"]) == (status, code), path
        assert "b v1" in (await http.delete("/assets/a/v1")).json()["detail"]
        await clients.ledger.delete_version("b", 1, Deletion(at=utcnow(), by="x", reason="y"), keep_newest=False)
        assert (await http.get("/assets/b")).json()["code"] == "version_deleted"
        answer = await http.delete("/assets/a/v1")
        assert (answer.status_code, answer.content) == (204, b"")
        for path in ("a/v1", "a/v1/download", "a/v1/files", "a/v1/files/data.parquet"):
            gone = await http.get(f"/assets/{path}")
            assert (gone.status_code, gone.json()["code"]) == (410, "version_deleted"), path
            assert "anonymous (request)" in gone.json()["detail"]
        assert (await http.delete("/assets/a/v1")).status_code == 410
        assert [item["version"] for item in (await http.get("/assets/a")).json()["items"]] == [2]
        both = (await http.get("/assets/a", params={"deleted": True})).json()["items"]
        assert [item["version"] for item in both] == [2, 1]
        assert both[1]["deletion"]["by"] == "anonymous"
        assert both[1]["deletion"]["removed_at"] is not None
        assert "download" not in both[1]["links"]
        assert [item["dataset_id"] for item in (await http.get("/assets")).json()["items"]] == ["a"]
        found = (await http.get("/assets", params={"deleted": True})).json()["items"]
        assert sorted(item["dataset_id"] for item in found) == ["a", "b"]
        graph = (await http.get("/assets/a/v1/lineage")).json()
        deleted = {node["id"]: node["deleted"] for node in graph["nodes"] if node["type"] == "asset"}
        assert deleted == {"asset:a/v1": True, "asset:b/v1": True}
        newest = (await http.get("/activity")).json()["items"][0]
        assert (newest["action"], newest["resource_id"], newest["details"]["reason"]) == (
            "asset.deleted",
            "a/v1",
            "request",
        )
        assert set(await lake(clients)) == {*second.object_keys, *child.object_keys}
        assert first.object_keys.isdisjoint(await lake(clients))
