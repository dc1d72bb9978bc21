"""The mark of the newest version follows every commit, deletion and removal, on every ledger; listings read by it."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, select

from app.errors import VersionIsNewest
from app.ledger import AssetFilter, Guard, Ledger
from app.models.asset import Asset, AssetMetadata, Deletion
from app.models.page import Page
from app.models.runs.run import Run, RunStatus
from app.storage.mongo.ledger import MongoLedger
from app.storage.sql import tables
from app.storage.sql.ledger import SqlLedger, open_sql_ledger
from tests.contract.ledgers import BACKENDS, T0, an_asset, put_asset, put_running

pytestmark = pytest.mark.anyio

DELETION = Deletion(at=T0, by="ada", reason="request")
WORDS = AssetMetadata(manifest={"keywords": ["k"]}, column_schema={})
Versions = set[tuple[str, int]]


async def marked(ledger: Ledger) -> Versions:
    """What has the mark in the database, whether deleted or not."""
    if isinstance(ledger, MongoLedger):
        found = ledger._db.raw["assets"].find({"is_newest": True})
        return {(each["dataset_id"], each["version"]) async for each in found}
    assert isinstance(ledger, SqlLedger)

    def read(connection: Connection) -> list[Versions]:
        return [
            {(row.dataset_id, row.version) for row in connection.execute(select(table).where(table.c.is_newest))}
            for table in (tables.ASSETS, tables.TERMS)
        ]

    assets, terms = await ledger._db.read(read)
    assert terms == assets, "the terms of a version have its mark"
    return assets


async def listed(ledger: Ledger, **where: Any) -> Versions:
    found = await ledger.list_assets(AssetFilter(latest_only=True, **where), Page(limit=1000))
    versions = [(asset.dataset_id, asset.version) for asset in found.items]
    assert len(versions) == len(set(versions))
    return set(versions)


class Catalog:
    """What should be in the ledger: versions and whether they live, by dataset."""

    def __init__(self, ledger: Ledger, seed: int) -> None:
        self.ledger, self.random = ledger, random.Random(seed)  # noqa: S311 # of a test
        self.versions: dict[str, dict[int, bool]] = {"a": {}, "b": {}}
        self.made: dict[tuple[str, int], Asset] = {}

    async def commit(self, name: str) -> None:
        """Two runs of a dataset at once: the later number is often committed first."""
        runs = [await put_running(self.ledger, partition_key=name) for _ in range(2)]
        numbers = [await self.ledger.reserve_version(run.run_id, 1) for run in runs]
        ready = list(zip(runs, numbers, strict=True))
        self.random.shuffle(ready)
        for run, version in ready[: self.random.randint(1, 2)]:
            assert version is not None
            await self._commit(run, version)

    async def _commit(self, run: Run, version: int) -> None:
        asset = await self.ledger.commit_asset(an_asset(run, version, metadata=WORDS), 1)
        assert asset is not None
        self.made[asset.dataset_id, version] = asset
        self.versions[asset.dataset_id][version] = True
        await self.check()

    async def delete(self, name: str) -> None:
        if living := [version for version, lives in self.versions[name].items() if lives]:
            # The newest, most often.
            version = self.random.choice([max(living), max(living), *living])
            assert await self.ledger.delete_version(name, version, DELETION, keep_newest=False)
            self.versions[name][version] = False

    async def keep_newest(self, name: str) -> None:
        if living := [version for version, lives in self.versions[name].items() if lives]:
            with pytest.raises(VersionIsNewest):
                await self.ledger.delete_version(name, max(living), DELETION)

    async def remove(self, name: str) -> None:
        """The record of a deleted version, with its batch."""
        if deleted := [version for version, lives in self.versions[name].items() if not lives]:
            version = self.random.choice([max(deleted), *deleted])
            run = await self.ledger.get_run(self.made[name, version].run_id)
            assert run is not None
            await self.ledger.version_removed(name, version, T0)
            running = Guard(frozenset({RunStatus.RUNNING}))
            await self.ledger.change_run(run.run_id, running, status=RunStatus.FAILURE, completed_at=T0)
            assert await self.ledger.remove_batch(run.batch_id)
            del self.versions[name][version]

    async def check(self) -> None:
        living = {name: [v for v, lives in of_it.items() if lives] for name, of_it in self.versions.items()}
        newest = {(name, max(versions)) for name, versions in living.items() if versions}
        highest = {(name, max(of_it)) for name, of_it in self.versions.items() if of_it}
        assert await marked(self.ledger) == newest | highest
        for where in ({}, {"keywords": ("k",)}, {"kind": "spatial"}):
            assert await listed(self.ledger, **where) == newest
        assert await listed(self.ledger, deleted=True) == highest
        for name, versions in living.items():
            found = await self.ledger.get_asset(name)
            assert (found and found.version) == (max(versions) if versions else None)


@pytest.mark.parametrize("seed", range(3))
async def test_after_any_commits_and_deletions_the_newest_is_marked(ledger: Ledger, seed: int) -> None:
    catalog = Catalog(ledger, seed)
    acts = [catalog.commit, catalog.commit, catalog.delete, catalog.delete, catalog.keep_newest, catalog.remove]
    for _ in range(25):
        await catalog.random.choice(acts)(catalog.random.choice(["a", "b"]))
        await catalog.check()
    assert len(catalog.made) > 4


async def test_commits_and_deletions_of_a_dataset_at_once(ledger: Ledger) -> None:
    first = [await put_asset(ledger, "a", metadata=WORDS) for _ in range(6)]
    runs = [await put_running(ledger, partition_key="a") for _ in range(3)]
    numbers = [await ledger.reserve_version(run.run_id, 1) for run in runs]
    commits = [
        ledger.commit_asset(an_asset(run, number, metadata=WORDS), 1)
        for run, number in zip(runs, numbers, strict=True)
        if number is not None
    ]
    deletions = [ledger.delete_version("a", each.version, DELETION, keep_newest=False) for each in first[1:]]
    done = await asyncio.gather(*deletions, *commits)
    assert all(done)
    assert await listed(ledger) == {("a", 9)} == await marked(ledger)
    again = [ledger.delete_version("a", version, DELETION, keep_newest=False) for version in (9, 8, 7)]
    assert all(await asyncio.gather(*again))
    assert await listed(ledger) == {("a", 1)}
    assert await marked(ledger) == {("a", 1), ("a", 9)}


def without_marks(connection: Connection) -> None:
    """The schema of the release before."""
    for index in (
        "assets_newest_of",
        "assets_catalog",
        "assets_box",
        "assets_kind",
        "assets_testing",
        "asset_terms_term",
    ):
        connection.exec_driver_sql(f"DROP INDEX ix_{index}")
    connection.exec_driver_sql("ALTER TABLE runs DROP COLUMN asked_by")
    for table in ("runs", "assets"):
        connection.exec_driver_sql(f"ALTER TABLE {table} DROP COLUMN checks")
    for column in ("files_found", "earlier"):
        connection.exec_driver_sql(f"ALTER TABLE manifests DROP COLUMN {column}")
    for table in ("assets", "asset_terms"):
        connection.exec_driver_sql(f"ALTER TABLE {table} DROP COLUMN is_newest")
    for column in ("kind", "testing", "box_west"):
        connection.exec_driver_sql(f"CREATE INDEX ix_assets_{column.removesuffix('_west')} ON assets ({column})")
    connection.exec_driver_sql("CREATE INDEX ix_asset_terms_term ON asset_terms (term)")
    connection.exec_driver_sql("UPDATE alembic_version SET version_num = '0011_totals'")
    connection.execute(tables.MIGRATIONS.delete().where(tables.MIGRATIONS.c.version >= "0012_newest"))


@pytest.mark.parametrize("backend", ["postgresql", "sqlite"])
async def test_the_migration_marks_what_is_there(backend: str, tmp_path: Path) -> None:
    async with BACKENDS[backend].fresh(tmp_path, False) as url, open_sql_ledger(url) as ledger:
        await ledger.migrate()
        for name, number in (("a", 3), ("b", 2), ("c", 1)):
            for _ in range(number):
                await put_asset(ledger, name, metadata=WORDS)
        await ledger.delete_version("a", 3, DELETION, keep_newest=False)
        await ledger.delete_version("c", 1, DELETION, keep_newest=False)
        before = await marked(ledger)
        assert before == {("a", 3), ("a", 2), ("b", 2), ("c", 1)}

        await ledger._db.write(without_marks)
        assert await ledger.migrate() == ("0012_newest", "0013_asked_by", "0014_checks", "0015_several_files")
        assert await marked(ledger) == before
        assert await listed(ledger) == {("a", 2), ("b", 2)}
