"""Versions that an earlier release registered are found like new ones; the indexes answer what they are made for."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import Connection, event, insert

from app.ledger import AssetFilter
from app.models.asset import Asset, AssetMetadata, Bounds
from app.models.base import new_id
from app.models.page import Page
from app.models.runs.run import Lease, Run, RunStatus
from app.storage.mongo import migrate as mongo_migrate
from app.storage.mongo.documents import asset_document, manifest_document, run_document
from app.storage.mongo.ledger import open_mongo_ledger
from app.storage.sql import conversion, tables
from app.storage.sql import migrate as sql_migrate
from app.storage.sql.ledger import SqlLedger, open_sql_ledger
from tests.contract.ledgers import BACKENDS, T0, a_manifest, a_run, an_asset, put_asset, put_running
from tests.contract.mongo_validation import EnforcingDatabase

pytestmark = pytest.mark.anyio

NEWEST = "0004_catalog"
# Of MongoDB: the first release.
OLDEST = "0001_ledger"
UTM = Bounds(minx=500_000, miny=5_500_000, maxx=600_000, maxy=5_600_000)
DEGREES = {"minx": 9.0, "miny": 49.0, "maxx": 10.0, "maxy": 50.0}


def old_versions(run: Run) -> list[Asset]:
    """More than a migration takes at once, and among them what is hard to search."""
    odd = {"keywords": "none", "tags": [], "title": 3}
    said = {
        "title": "Straßen",
        "keywords": ["Roads"],
        "project": "p",
        "tags": {"level": 3, "testing": True, "a.b": "\0"},
    }
    place = {"bounds_4326": DEGREES}
    made = [
        an_asset(
            run,
            1,
            dataset_id="told",
            bounds=Bounds(minx=1, miny=1, maxx=2, maxy=2),
            crs="EPSG:4326",
            metadata=_said(said),
        ),
        an_asset(run, 2**40, dataset_id="odd", metadata=_said(odd)),
        an_asset(
            run, 1, dataset_id="image", kind="raster", format="cog", bounds=UTM, crs="EPSG:25832", statistics=place
        ),
    ]
    made += [
        an_asset(run, version, dataset_id="many", metadata=_said({"keywords": ["m"]})) for version in range(1, 1101)
    ]
    return [
        asset.model_copy(update={"s3_key": new_id(), "created_at": T0 + timedelta(seconds=number)})
        for number, asset in enumerate(made)
    ]


def _said(manifest: dict[str, Any]) -> AssetMetadata:
    return AssetMetadata(manifest=manifest, column_schema={})


FOUND: list[tuple[AssetFilter, list[str]]] = [
    (AssetFilter(keywords=("roads",)), ["told"]),
    (AssetFilter(text="strassen"), ["told"]),
    (AssetFilter(tags=("level:3", "a.b:\0")), ["told"]),
    (AssetFilter(project="p", testing=True), ["told"]),
    (AssetFilter(testing=False, latest_only=True), ["many", "image", "odd"]),
    (AssetFilter(bbox=Bounds(minx=1.5, miny=1.5, maxx=1.6, maxy=1.6)), ["told"]),
    (AssetFilter(bbox=Bounds(minx=-180, miny=-90, maxx=180, maxy=90)), ["image", "told"]),
    (AssetFilter(text="odd"), ["odd"]),
    (AssetFilter(keywords=("m",), latest_only=True), ["many"]),
]


@pytest.mark.parametrize("backend", ["sqlite", "postgresql"])
async def test_versions_in_a_sql_ledger_of_an_earlier_release(
    backend: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scripts = tmp_path / "sql"
    shutil.copytree(sql_migrate.scripts_dir(), scripts)
    for script in (scripts / "versions").glob("[0-9]*.py"):
        if script.stem >= NEWEST:
            script.unlink()
    async with BACKENDS[backend].fresh(tmp_path, False) as url, open_sql_ledger(url) as ledger:
        with monkeypatch.context() as patch:
            patch.setattr(sql_migrate, "scripts_dir", lambda: scripts)
            await ledger.migrate()
        run = a_run()
        versions = old_versions(run)

        def insert_old(connection: Connection) -> None:
            _insert(connection, tables.MANIFESTS, [conversion.manifest_values(a_manifest())])
            _insert(connection, tables.RUNS, [conversion.run_values(run) | {"last_seq": 0}])
            _insert(connection, tables.ASSETS, [conversion.asset_values(asset) for asset in versions])

        await ledger._db.write(insert_old)
        assert NEWEST in await ledger.migrate()
        for where, wanted in FOUND:
            found = await ledger.list_assets(where, Page())
            assert [asset.dataset_id for asset in found.items] == wanted, where
        many = await ledger.list_assets(AssetFilter(keywords=("m",)), Page(2000))
        assert len(many.items) == 1100
        assert [await ledger.get_asset(asset.dataset_id, asset.version) for asset in versions[:3]] == versions[:3]


def _insert(connection: Connection, table: sa.Table, rows: list[dict[str, Any]]) -> None:
    """Into the columns that there are at that time."""
    there = {str(column["name"]) for column in sa.inspect(connection).get_columns(table.name)}
    old = sa.table(table.name, *(sa.column(c.name, c.type) for c in table.c if c.name in there))
    connection.execute(insert(old), [{k: v for k, v in row.items() if k in there} for row in rows])


async def test_versions_in_a_mongodb_of_an_earlier_release(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scripts = tmp_path / "mongo"
    scripts.mkdir()
    shutil.copy(mongo_migrate.scripts_dir() / f"{OLDEST}.py", scripts)
    async with BACKENDS["mongodb"].fresh(tmp_path, False) as url:
        with monkeypatch.context() as patch:
            patch.setattr(mongo_migrate, "scripts_dir", lambda: scripts)
            run, waiting, versions = await _fill_as_the_earlier_release(url)
        await _of_an_earlier_release(url, run, waiting, versions)


async def _fill_as_the_earlier_release(url: str) -> tuple[Run, Run, list[Asset]]:
    """Under its validators, with the fields that it had: a run under way, one that is half accepted, versions.

    The first version is the one that the run under way has decided to commit.
    """
    first = mongo_migrate.load_script(OLDEST)
    lease = Lease(owner="host:1:1", expires_at=T0)
    run = a_run(status=RunStatus.RUNNING, attempt=1, lease=lease, started_at=T0)
    waiting = a_run("waiting")
    versions = old_versions(run)

    def as_it_was(document: dict[str, Any], schema: Any) -> dict[str, Any]:
        return {name: value for name, value in document.items() if name in schema["properties"]}

    async with open_mongo_ledger(url) as ledger:
        raw = ledger._db._database = EnforcingDatabase(ledger._db.raw)
        assert await mongo_migrate.upgrade(ledger._db) == (OLDEST,)
        half, *rest = [as_it_was(asset_document(asset), first.ASSET) for asset in versions]
        mark = {"commit_id": new_id(), "s3_key": half["s3_key"], "asset": half}
        for manifest, of in ((a_manifest(), run), (a_manifest("waiting"), waiting)):
            pending = {} if of is run else {"pending_run": as_it_was(run_document(of), first.RUN)}
            document = as_it_was(manifest_document(manifest, of), first.MANIFEST) | pending
            await raw["manifests"].insert_one(document)
        await raw["runs"].insert_one(as_it_was(run_document(run), first.RUN) | {"pending_commit": mark})
        await raw["assets"].insert_many(rest)
        assert raw.validated >= 3 + len(rest)
    return run, waiting, versions


async def _of_an_earlier_release(url: str, run: Run, waiting: Run, versions: list[Asset]) -> None:
    async with open_mongo_ledger(url) as ledger:
        raw = ledger._db._database = EnforcingDatabase(ledger._db.raw)
        assert await mongo_migrate.upgrade(ledger._db) == mongo_migrate.known_versions()[1:]
        assert raw.validated > len(versions)
        for name in ("manifests", "runs", "assets"):
            await raw.validate(name, [each["_id"] async for each in raw[name].find({}, {"_id": 1})])
        assert await ledger.get_asset_by_key(versions[0].s3_key) == versions[0]
        accepted = await ledger.get_run(waiting.run_id)
        assert accepted is not None
        assert (accepted.status, accepted.blocked) == (RunStatus.QUEUED, False)
        for where, wanted in FOUND:
            found = await ledger.list_assets(where, Page())
            assert [asset.dataset_id for asset in found.items] == wanted, where
        many = await ledger.list_assets(AssetFilter(keywords=("m",)), Page(2000))
        assert len(many.items) == 1100
        # Only the newest script of a collection agrees with what is there now.
        raw = ledger._db.raw
        for script in mongo_migrate.known_versions():
            await mongo_migrate.load_script(script).upgrade(raw)
        assert await ledger.get_asset("odd") == versions[1]


@pytest.fixture(params=["sqlite", "postgresql"])
async def filled(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[SqlLedger]:
    """Some thousand versions, so that it pays to use an index."""
    async with BACKENDS[request.param].fresh(tmp_path, False) as url, open_sql_ledger(url) as ledger:
        await ledger.migrate()
        run = await put_running(ledger)
        await put_asset(ledger, "one")
        made = []
        for number in range(4000):
            box = Bounds(minx=number % 170, miny=number % 80, maxx=number % 170 + 1, maxy=number % 80 + 1)
            said = {"keywords": ["all", f"k{number % 1000}"], "tags": {"n": number}, "project": f"p{number % 500}"}
            said |= {"description": "some words " * 20, "title": f"w{number}"}
            said["tags"] |= {"testing": number % 1000 == 0}
            at = T0 + timedelta(seconds=number)
            fields = {"dataset_id": f"d{number}", "s3_key": new_id(), "created_at": at, "bounds": box}
            made.append(an_asset(run, 1, **fields, metadata=_said(said)))

        def fill(connection: Connection) -> None:
            mark = {"is_newest": True}
            terms = [row | mark for asset in made for row in conversion.term_values(asset)]
            connection.execute(insert(tables.ASSETS), [conversion.asset_values(asset) | mark for asset in made])
            connection.execute(insert(tables.TERMS), terms)
            # Not VACUUM, which takes no transaction: the plans need the statistics.
            connection.exec_driver_sql("ANALYZE")

        await ledger._db.write(fill)
        yield ledger


@pytest.mark.parametrize(
    ("where", "index"),
    [
        ({"keywords": ("k7",)}, "ix_asset_terms_term"),
        ({"keywords": ("all", "k7")}, "ix_asset_terms_term"),
        ({"tags": ("n:1234",)}, "ix_asset_terms_term"),
        ({"text": "some words w77"}, "ix_asset_terms_term"),
        ({"project": "p3"}, "ix_asset_terms_term"),
        ({"testing": True}, "ix_assets_testing"),
        ({"bbox": Bounds(minx=100, miny=10, maxx=101, maxy=11)}, "ix_assets_box"),
        ({"since": T0 + timedelta(seconds=3990)}, "ix_assets_"),
    ],
)
async def test_a_selective_filter_reads_its_index_and_no_table(
    filled: SqlLedger, where: dict[str, Any], index: str
) -> None:
    statements: list[tuple[str, Any]] = []
    engine = filled._db.engine
    event.listen(engine, "before_cursor_execute", lambda _c, _k, sql, values, *_: statements.append((sql, values)))
    found = await filled.list_assets(AssetFilter(latest_only=True, **where), Page(20))
    assert 0 < len(found.items) <= 20
    explain = "EXPLAIN QUERY PLAN" if filled._db.dialect == "sqlite" else "EXPLAIN"
    sql, values = statements[-1]
    rows = await filled._db.read(lambda connection: connection.exec_driver_sql(f"{explain} {sql}", values).all())
    plan = [str(row[-1]) for row in rows]
    assert any(index in step for step in plan), plan
    for step in plan:
        assert "Seq Scan" not in step, plan
        assert "SCAN" not in step or "INDEX" in step, plan
