"""What only the MongoDB ledger has: its migrations, its indexes, its errors and its start."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pymongo
import pytest
from pymongo import AsyncMongoClient
from pymongo.errors import OperationFailure, WriteError, WTimeoutError

from app.errors import LedgerUnavailable, VersionHasChildren
from app.ledger import AssetFilter, Guard, ManifestFilter, RunFilter
from app.ledger.outbox import Outbox
from app.models.asset import Deletion, ParentInput
from app.models.base import utcnow
from app.models.manifests.delivery import Delivery, EventOutcome
from app.models.manifests.manifest import ManifestStatus
from app.models.page import Page
from app.models.runs.activity import Activity
from app.models.runs.run import Lease, RunError, RunStatus
from app.storage.mongo import database as mongo_database
from app.storage.mongo import migrate as mongo_migrate
from app.storage.mongo.ledger import MongoLedger, open_mongo_ledger
from tests.contract.ledgers import MINUTE, T0, a_manifest, a_run, an_asset, claim, put_asset, put_run, put_running
from tests.servers import mongo
from tests.servers.ports import free_port
from tests.unit.test_ledger_mongo_documents import validator

pytestmark = pytest.mark.anyio

SECRET = "s3cret-word"  # noqa: S105 # of nobody


@pytest.fixture
def url() -> Iterator[str]:
    with mongo.fresh_database() as made:
        yield made


@pytest.fixture
async def ledger(url: str) -> AsyncIterator[MongoLedger]:
    async with open_mongo_ledger(url) as opened:
        await opened.migrate()
        yield opened


async def test_migrations_are_recorded(ledger: MongoLedger) -> None:
    records = [each async for each in ledger._db.raw["schema_migrations"].find({})]
    assert tuple(each["version"] for each in records) == mongo_migrate.known_versions()
    assert all(each["applied_at"].tzinfo and each["duration_ms"] >= 0 for each in records)
    assert await ledger._db.raw["locks"].find_one({}) is None


@pytest.mark.parametrize("version", mongo_migrate.known_versions())
async def test_a_script_that_runs_again_changes_nothing(ledger: MongoLedger, version: str) -> None:
    async def schema() -> dict[str, Any]:
        names = sorted(await ledger._db.raw.list_collection_names())
        return {name: await ledger._db.raw[name].index_information() for name in names}

    before = await schema()
    script = mongo_migrate.load_script(version)
    await script.upgrade(ledger._db.raw)
    assert await schema() == before
    unique_ones = getattr(script, "UNIQUE", {})
    for table in (getattr(script, "INDEXES", {}), unique_ones, getattr(script, "SPARSE", {})):
        for name, indexes in table.items():
            keys = [tuple(field for field, _ in index["key"]) for index in before[name].values()]
            assert set(indexes) <= set(keys)
    for name, indexes in unique_ones.items():
        unique = {tuple(field for field, _ in index["key"]) for index in before[name].values() if index.get("unique")}
        assert set(indexes) <= unique


async def test_a_migration_that_was_broken_off_is_finished(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    script = mongo_migrate.load_script("0001_ledger")
    validators = dict(script.VALIDATORS)

    async def half(database: Any) -> None:
        script.VALIDATORS = dict(list(validators.items())[:3])
        await script.upgrade(database)
        raise OperationFailure("the server went away")

    async with open_mongo_ledger(url) as ledger:
        with monkeypatch.context() as patch:
            patch.setattr(mongo_migrate, "load_script", lambda _: type("Script", (), {"upgrade": staticmethod(half)}))
            with pytest.raises(LedgerUnavailable, match="went away"):
                await ledger.migrate()
        with pytest.raises(LedgerUnavailable, match="0001_ledger"):
            await ledger.ping()
        assert await ledger.migrate() == mongo_migrate.known_versions()
        await ledger.ping()
        assert set(validators) <= set(await ledger._db.raw.list_collection_names())


async def test_the_lock_of_a_process_that_died_expires(url: str, caplog: pytest.LogCaptureFixture) -> None:
    async with open_mongo_ledger(url) as ledger:
        locks = ledger._db.raw["locks"]
        await locks.insert_one({"_id": "migrations", "owner": "dead", "expires_at": utcnow() + MINUTE})
        waiting = asyncio.create_task(ledger.migrate())
        await asyncio.sleep(1.5)
        assert not waiting.done()
        assert "another process migrates" in caplog.text
        await locks.replace_one({"_id": "migrations"}, {"owner": "dead", "expires_at": utcnow() - MINUTE})
        assert await waiting == mongo_migrate.known_versions()
        assert await locks.find_one({}) is None


async def test_a_lock_that_is_held_is_renewed(ledger: MongoLedger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mongo_migrate, "LOCK_SECONDS", 0.3)
    locks = ledger._db.raw["locks"]
    async with mongo_migrate._lock(ledger._db):
        first = await locks.find_one({})
        await asyncio.sleep(0.5)
        later = await locks.find_one({})
        assert later["owner"] == first["owner"]
        assert later["expires_at"] > first["expires_at"] + timedelta(milliseconds=90)
        assert not await mongo_migrate._take(ledger._db, "another")
    assert await locks.find_one({}) is None


async def test_a_ledger_behind_this_release_is_not_ready(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_mongo_ledger(url) as ledger:
        await ledger.migrate()
        await ledger.ping()
        monkeypatch.setattr(ledger._db, "_required", lambda: ("0001_ledger", "0002_next"))
        with pytest.raises(LedgerUnavailable, match="0002_next") as caught:
            await ledger.ping()
    assert "spatial-etl migrate" in caught.value.fix


async def test_nothing_is_written_into_a_database_that_is_not_migrated(url: str) -> None:
    """The server would make the collections, without their unique indexes."""
    async with open_mongo_ledger(url) as ledger:
        with pytest.raises(LedgerUnavailable, match="0001_ledger"):
            await ledger.accept(a_manifest(), a_run())
        with pytest.raises(LedgerUnavailable, match="0001_ledger"):
            await ledger._db.next_number("activity_logs")
        assert await ledger._db.raw.list_collection_names() == []


def test_scripts_of_an_installed_package_come_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "app"
    package.mkdir()
    monkeypatch.setattr("app.__file__", str(package / "__init__.py"))
    assert mongo_migrate.scripts_dir() == tmp_path / "migrations" / "mongo"
    (package / "_migrations" / "mongo").mkdir(parents=True)
    assert mongo_migrate.scripts_dir() == package / "_migrations" / "mongo"


async def test_every_document_that_is_written_fits_its_validator(
    ledger: MongoLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half done ones as well: each write is caught on its way."""
    written: dict[str, list[Any]] = {}

    def spied(name: str, driver: Any) -> Any:
        class Spy:
            def __getattr__(self, method: str) -> Any:
                async def insert_one(document: Any) -> Any:
                    written.setdefault(name, []).append(document)
                    return await driver.insert_one(document)

                async def replace_one(query: Any, document: Any) -> Any:
                    written.setdefault(name, []).append(query | document)
                    return await driver.replace_one(query, document)

                return {"insert_one": insert_one, "replace_one": replace_one}.get(method) or getattr(driver, method)

        return Spy()

    for part in (ledger._run_writes, ledger._asset_writes, ledger._dataset_queue, ledger):
        for collection in vars(part).values():
            if isinstance(collection, mongo_database.Collection):
                collection._driver = spied(collection._driver.name, collection._driver)
    await every_write(ledger)
    names = set(mongo_migrate.load_script("0001_ledger").VALIDATORS)
    assert written.keys() == names | {"dataset_writers", "lanes"}
    for name, made in written.items():
        for document in made:
            validator(name).validate(document)
    marks = {field for made in written.values() for document in made for field in document}
    expected = {"pending_run", "pending_commit", "mirror_due", "turn_due", "pending_told", "pending_deletion", "untold"}
    assert expected <= marks


async def every_write(ledger: MongoLedger) -> None:
    await ledger.reject_manifest(a_manifest("rejected", status=ManifestStatus.REJECTED))
    run = await put_running(ledger)
    await ledger.add_event(run.run_id, code="c", message="m")
    await ledger.reserve_version(run.run_id, 1)
    roads = await put_asset(ledger, "roads")
    parent = ParentInput(dataset_id="roads", version=1, role="spatial")
    await ledger.commit_asset(an_asset(run, inputs=(parent,)), 1)
    await put_asset(ledger, "roads", s3_key="elsewhere")
    with pytest.raises(VersionHasChildren):
        await ledger.delete_version("roads", 1, Deletion(at=T0, by="ada", reason="request"))
    assert await ledger.delete_version(
        run.partition_key, 1, Deletion(at=T0, by="ada", reason="rule"), keep_newest=False
    )
    await ledger.delete_version("roads", 1, Deletion(at=T0, by="ada", reason="request"), ip="::1")
    await ledger.version_removed("roads", roads.version, T0)
    error = RunError(code="c", detail="d")
    await ledger.change_run(
        run.run_id, Guard(frozenset({RunStatus.RUNNING})), status=RunStatus.FAILURE, error=error, completed_at=T0
    )
    back = await put_running(ledger)
    await ledger.change_run(
        back.run_id, Guard(frozenset({RunStatus.RUNNING})), status=RunStatus.QUEUED, lease=None, counts={"a.b": 1}
    )
    entry = Activity(timestamp=T0, user="u", action="a", resource_type="t", resource_id="i", details={"a": None})
    await ledger.add_activity(entry)
    await ledger.change_lane("spatial", Outbox(entries=(entry,)), limit=1)
    waiting = await put_run(ledger)
    lease = Lease(owner="host:1:1", expires_at=T0)
    assert (await ledger.claim_run(waiting.run_id, 0, lease, at=T0, limit=None)).waiting_for == "lane_limit"
    await ledger.add_delivery(Delivery(delivery_id="d", received_at=T0, body="b"))
    await ledger.add_delivery(Delivery(delivery_id="d", received_at=T0, body="b"))
    await ledger.finish_delivery("d", (EventOutcome(event="e", key="k", result="gone"),), T0)


async def test_a_real_server_enforces_the_validators(ledger: MongoLedger) -> None:
    if (await ledger._db.raw.command("buildInfo")).get("process") == "nx_27017":
        pytest.skip(f"nx-27017 takes validators and enforces none: set {mongo.VARIABLE} to the URL of a real MongoDB")
    with pytest.raises(WriteError, match="validation"):
        await ledger._db.raw["runs"].insert_one({"_id": "x", "run_id": "x"})
    await every_write(ledger)


async def test_nothing_is_used_that_pymongos_own_client_lacks(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Motor is past its end of life: the ledger works the same on its successor."""
    clients: list[AsyncMongoClient[Any]] = []

    class Successor(AsyncMongoClient[Any]):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            clients.append(self)

        def close(self) -> Any:
            """Awaited below: that it must be is the one difference."""

    monkeypatch.setattr(mongo_database, "AsyncIOMotorClient", Successor)
    async with open_mongo_ledger(url) as ledger:
        assert await ledger.migrate()
        await every_write(ledger)
        made = [await put_asset(ledger, "a") for _ in range(3)]
        assert list((await ledger.list_assets(AssetFilter(dataset_id="a"), Page())).items) == list(reversed(made))
        assert (await ledger.list_assets(AssetFilter(dataset_id="a", latest_only=True), Page())).items == (made[-1],)
        assert (await ledger.list_manifests(ManifestFilter(status="rejected"), Page())).items
        assert await ledger.list_due_runs(10)
        assert (await ledger.ping()).name == "MongoDB"
    for client in clients:
        await AsyncMongoClient.close(client)


async def test_the_newest_versions_are_found_behind_many_older_ones(ledger: MongoLedger) -> None:
    made = {name: [await put_asset(ledger, name, created_at=T0) for _ in range(7)] for name in ("b", "a")}
    old = await put_asset(ledger, "c", created_at=T0 - MINUTE)
    first = await ledger.list_assets(AssetFilter(latest_only=True), Page(2))
    assert first.items == (made["b"][-1], made["a"][-1])
    second = await ledger.list_assets(AssetFilter(latest_only=True), Page(2, first.next_cursor))
    assert (second.items, second.next_cursor) == ((old,), None)
    assert (await ledger.list_assets(AssetFilter(latest_only=True, kind="raster"), Page(1))).items == ()


async def test_runs_come_in_the_order_of_their_milliseconds(ledger: MongoLedger) -> None:
    times = [T0 + timedelta(milliseconds=step) for step in (-123, -1, 0, 1, 876, 877)]
    runs = [await put_run(ledger, created_at=at) for at in times]
    found: list[Any] = []
    page = Page(1)
    while True:
        part = await ledger.list_runs(RunFilter(), page)
        found += part.items
        if part.next_cursor is None:
            break
        page = Page(1, part.next_cursor)
    assert found == list(reversed(runs))


@pytest.mark.parametrize(
    ("url", "found", "fix"),
    [
        (f"mongodb://ada:{SECRET}@localhost:27017", "no database", "/DATABASE"),
        (f"mongodb://ada:{SECRET}@localhost:27017/", "no database", "/DATABASE"),
        (f"mongodb://ada:{SECRET}@localhost/?tls=true", "no database", "/DATABASE"),
        (f"mongodb://ada:x/{SECRET}@localhost/ledger", "not a MongoDB URL", "percent-encoded"),
        (f"mongodb://ada:{SECRET}@localhost:{SECRET}/ledger", "not a MongoDB URL", "percent-encoded"),
        (f"mongodb://ada:{SECRET}@/ledger", "not a MongoDB URL", "percent-encoded"),
        (
            f"mongodb://ada:{SECRET}@localhost/ledger?w=-{SECRET}&readPreference={SECRET}",
            "not a MongoDB URL",
            "mongodb://",
        ),
        (f"mongodb://ada:{SECRET}@localhost/le dger", "not a MongoDB URL", "/DATABASE"),
    ],
)
async def test_a_url_that_cannot_be_used_is_told_without_its_password(url: str, found: str, fix: str) -> None:
    with pytest.raises(LedgerUnavailable, match=found) as caught:
        async with open_mongo_ledger(url):
            pass
    assert fix in caught.value.fix
    assert SECRET not in str(caught.value)
    assert caught.value.__cause__ is None


async def test_a_server_that_is_away_is_told_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    port = free_port()
    url = f"mongodb://ada:{SECRET}@127.0.0.1:{port}/ledger?authSource=admin"
    started = time.monotonic()
    async with open_mongo_ledger(url) as ledger:
        with pytest.raises(LedgerUnavailable, match=f"127.0.0.1:{port}") as caught:
            await ledger.get_manifest("x")
    assert time.monotonic() - started < 6
    assert "reached" in caught.value.fix
    assert SECRET not in str(caught.value)
    assert "Topology" not in str(caught.value)


async def test_an_unknown_host_is_told() -> None:
    async with open_mongo_ledger("mongodb://no-such-host.invalid/ledger?serverSelectionTimeoutMS=200") as ledger:
        with pytest.raises(LedgerUnavailable, match=r"no-such-host\.invalid") as caught:
            await ledger.ping()
    assert "host" in caught.value.fix


async def test_a_port_that_speaks_no_mongodb_is_told() -> None:
    async def hello(_reader: Any, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(hello, "127.0.0.1", 0, family=socket.AF_INET)
    port = server.sockets[0].getsockname()[1]
    async with server, open_mongo_ledger(f"mongodb://127.0.0.1:{port}/x?serverSelectionTimeoutMS=300") as ledger:
        with pytest.raises(LedgerUnavailable, match=str(port)):
            await ledger.ping()


@pytest.mark.parametrize(
    ("error", "fix"),
    [
        (OperationFailure("Authentication failed.", 18), "password"),
        (OperationFailure("command find requires authentication", 13), "user and a password"),
        (OperationFailure("not authorized on ledger to execute command", 13), "readWrite"),
        (WTimeoutError("waiting for replication timed out", 64), "replica set"),
        (WriteError("Document failed validation", 121), "migrate"),
    ],
)
async def test_answers_that_this_server_does_not_give(ledger: MongoLedger, error: Exception, fix: str) -> None:
    """nx-27017 knows neither users nor replicas: the driver's own errors, as it raises them."""
    with pytest.raises(LedgerUnavailable) as caught, ledger._db.errors():
        raise error
    assert fix in caught.value.fix


async def test_a_server_that_comes_back_is_used_again(tmp_path: Path) -> None:
    server = mongo.start_server()
    try:
        async with open_mongo_ledger(f"{server.url}/ledger?serverSelectionTimeoutMS=300") as ledger:
            await ledger.migrate()
            run = await put_run(ledger)
            server.stop()
            with pytest.raises(LedgerUnavailable):
                await claim(ledger, run)
            server.start()
            claimed = await claim(ledger, run)
            assert claimed is not None
            assert claimed.attempt == 1
    finally:
        server.remove()


def test_what_the_urls_options_say_about_safety_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mongo_database, "AsyncIOMotorClient", pymongo.MongoClient)
    url = "mongodb://localhost/ledger?w=1&journal=false&readConcernLevel=local&readPreference=secondary"
    database = mongo_database.MongoDatabase(url, tuple)
    assert database.raw.write_concern.document == {"w": "majority", "j": True, "wtimeout": 30_000}
    assert database.raw.read_concern.level == "majority"
    assert database.raw.read_preference == pymongo.ReadPreference.PRIMARY
    database.close()


async def test_a_backup_that_caught_the_counters_first_costs_no_entry_and_no_version(ledger: MongoLedger) -> None:
    """mongodump of a server in use reads one collection after the other."""
    await put_asset(ledger, "roads")
    entry = Activity(timestamp=T0, user="u", action="a", resource_type="t", resource_id="1")
    await ledger.add_activity(entry)
    raw = ledger._db.raw
    await raw["counters"].delete_many({})
    counter = await raw["dataset_versions"].find_one({"_id": "roads"})
    await raw["dataset_versions"].replace_one({"_id": "roads"}, counter | {"last_version": 0, "run_id": None})
    await ledger.add_activity(entry.model_copy(update={"resource_id": "2"}))
    listed = await ledger.list_activity(Page())
    assert {each.resource_id for each in listed.items} == {"1", "2"}
    run = await put_running(ledger, partition_key="roads")
    assert await ledger.reserve_version(run.run_id, 1) == 2
