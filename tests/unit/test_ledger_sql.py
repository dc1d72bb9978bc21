"""What only the SQL ledger has: its migrations, its indexes, its errors and its start."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from itertools import product
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from sqlalchemy import Connection, create_engine, event, text

from app.errors import LedgerUnavailable
from app.ledger import AssetFilter, ManifestFilter, RunFilter
from app.models.asset import Bounds
from app.models.base import utcnow
from app.models.manifests.manifest import ManifestRecord
from app.models.page import Page
from app.models.runs.run import Run, RunStatus
from app.storage.shared.ledger_rules import encode_cursor
from app.storage.shared.search_terms import asset_listing
from app.storage.sql import driver as sql_driver
from app.storage.sql import migrate as sql_migrate
from app.storage.sql.ledger import SqlLedger, open_sql_ledger
from app.storage.sql.tables import Base

pytestmark = pytest.mark.anyio

WORLD = Bounds(minx=-180, miny=-90, maxx=180, maxy=90)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    # Characters that mean something in a URL, in SQL or in Alembic's configuration.
    folder = tmp_path / "da ta%20 'ö"
    folder.mkdir()
    return folder / "ledger.sqlite"


@pytest.fixture
async def ledger(path: Path) -> AsyncIterator[SqlLedger]:
    async with open_sql_ledger(f"sqlite:///{quote(str(path))}") as opened:
        await opened.migrate()
        yield opened


async def test_the_migrations_make_the_schema_of_the_tables(ledger: SqlLedger, path: Path) -> None:
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    def compared(connection: Connection) -> Any:
        return compare_metadata(MigrationContext.configure(connection), Base.metadata)

    engine = create_engine(f"sqlite:///{quote(str(path))}")
    with engine.connect() as connection:
        assert compared(connection) == []
        # Not blind: it sees an index that is missing.
        connection.execute(text("DROP INDEX ix_runs_status"))
        assert compared(connection)


async def test_migrations_are_recorded(ledger: SqlLedger, path: Path) -> None:
    engine = create_engine(f"sqlite:///{quote(str(path))}")
    with engine.connect() as connection:
        rows = connection.execute(text("SELECT version, applied_at, duration_ms FROM schema_migrations")).all()
        assert tuple(row.version for row in rows) == sql_migrate.known_versions()
        assert all(row.applied_at and row.duration_ms >= 0 for row in rows)
        assert connection.execute(text("PRAGMA journal_mode")).scalar_one() == "wal"


async def test_a_migration_that_fails_leaves_nothing(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scripts = tmp_path / "sql"
    shutil.copytree(sql_migrate.scripts_dir(), scripts)
    last = sql_migrate.known_versions()[-1]
    broken = f'import sqlalchemy as sa\nfrom alembic import op\nrevision = "9999_broken"\ndown_revision = "{last}"\n'
    broken += (
        'def upgrade():\n    op.create_table("half", sa.Column("id", sa.Integer()))\n    op.drop_table("absent")\n'
    )
    (scripts / "versions" / "9999_broken.py").write_text(broken)
    with monkeypatch.context() as patch:
        patch.setattr(sql_migrate, "scripts_dir", lambda: scripts)
        async with open_sql_ledger(f"sqlite:///{quote(str(path))}") as ledger:
            with pytest.raises(LedgerUnavailable, match="absent"):
                await ledger.migrate()
    with create_engine(f"sqlite:///{quote(str(path))}").connect() as connection:
        assert connection.execute(text("SELECT name FROM sqlite_master")).all() == []
    async with open_sql_ledger(f"sqlite:///{quote(str(path))}") as ledger:
        assert await ledger.migrate() == sql_migrate.known_versions()


async def test_what_is_in_a_ledger_of_the_first_release_is_kept(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scripts = tmp_path / "sql"
    shutil.copytree(sql_migrate.scripts_dir(), scripts)
    for later in [*(scripts / "versions").glob("0*.py")]:
        if not later.name.startswith("0001_"):
            later.unlink()
    url = f"sqlite:///{quote(str(path))}"
    with monkeypatch.context() as patch:
        patch.setattr(sql_migrate, "scripts_dir", lambda: scripts)
        async with open_sql_ledger(url) as ledger:
            assert await ledger.migrate() == ("0001_ledger",)
    columns = "batch_id, manifest, content_hash, source, status, ingested_at, testing"
    with create_engine(f"sqlite:///{quote(str(path))}").begin() as connection:
        values = """'old', '{"a": 1}', 'sha256:1', 'api', 'success', '2026-11-22 12:00:00.123000', 0"""
        connection.exec_driver_sql(f"INSERT INTO manifests ({columns}) VALUES ({values})")  # noqa: S608 # both above
    async with open_sql_ledger(url) as ledger:
        assert await ledger.migrate() == sql_migrate.known_versions()[1:]
        old = await ledger.get_manifest("old")
    assert old is not None
    assert (old.manifest, old.status, old.faults, old.object_key) == ({"a": 1}, "success", (), None)


async def test_a_ledger_behind_this_release_is_not_ready(ledger: SqlLedger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.storage.sql.ledger.known_versions", lambda: (*sql_migrate.known_versions(), "9999_next"))
    with pytest.raises(LedgerUnavailable, match="9999_next") as caught:
        await ledger.ping()
    assert "spatial-etl migrate" in caught.value.fix


def test_scripts_of_an_installed_package_come_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "app"
    package.mkdir()
    monkeypatch.setattr("app.__file__", str(package / "__init__.py"))
    assert sql_migrate.scripts_dir() == tmp_path / "migrations" / "sql"
    (package / "_migrations" / "sql").mkdir(parents=True)
    assert sql_migrate.scripts_dir() == package / "_migrations" / "sql"


def test_the_name_of_a_migration_is_its_file_name() -> None:
    for name in sql_migrate.known_versions():
        assert f'revision = "{name}"' in (sql_migrate.scripts_dir() / "versions" / f"{name}.py").read_text()


def test_opening_the_ledger_does_not_load_alembic() -> None:
    code = (
        "import sys, app.storage.sql.ledger; sys.exit(any(m.split('.')[0] in ('alembic', 'mako') for m in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


async def test_a_start_without_pending_migrations_does_not_run_alembic(
    ledger: SqlLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sql_migrate, "_run_alembic", lambda _: pytest.fail("nothing is pending"))
    assert await ledger.migrate() == ()


# Indexes that have the newest versions only.
_OF_THE_NEWEST = ("ix_assets_catalog", "ix_assets_newest_of", "ix_assets_kind", "ix_assets_testing", "ix_assets_box")
_OF_THE_NEWEST += ("ix_asset_terms_term",)


async def test_every_listing_is_one_range_of_an_index(ledger: SqlLedger, path: Path) -> None:
    """Neither a whole table nor a sort, with each filter, on the first page and on the next."""
    statements: list[tuple[str, Any]] = []
    engine = ledger._db.engine
    event.listen(engine, "before_cursor_execute", lambda _c, _k, sql, values, *_: statements.append((sql, values)))
    now = utcnow()
    last = {"manifests": (now, "a"), "runs": (now, "a"), "activity_logs": (now, 1), "webhook_deliveries": (now, "a")}
    pages = {name: [Page(2), Page(2, encode_cursor(name, key))] for name, key in last.items()}
    of_manifests: list[dict[str, Any]] = [
        {},
        {"status": "queued"},
        {"intent": "a"},
        {"uploader": "a"},
        {"project": "a"},
        {"testing": True},
        {"object_key": "a"},
    ]
    of_runs: list[dict[str, Any]] = [
        {},
        {"status": RunStatus.QUEUED},
        {"batch_id": "a"},
        {"dataset_id": "a"},
        {"lane": "a"},
    ]
    of_assets: list[dict[str, Any]] = [{}, {"dataset_id": "a"}, {"run_id": "a"}]
    for where, page in product(of_manifests, pages["manifests"]):
        await ledger.list_manifests(ManifestFilter(**where), page)
    for where, page in product(of_runs, pages["runs"]):
        await ledger.list_runs(RunFilter(**where), page)
    of_catalog: list[dict[str, Any]] = [{}, {"kind": "a"}, {"deleted": True}]
    of_catalog += [{"keywords": ("a",)}, {"tags": ("a:b",)}, {"text": "a"}, {"project": "a"}, {"testing": True}]
    of_catalog += [{"since": now}, {"bbox": Bounds(minx=1, miny=2, maxx=3, maxy=4)}, {"bbox": WORLD}]
    of_assets += [each | {"latest_only": True} for each in of_catalog]
    for each, first in product(of_assets, (True, False)):
        asked = AssetFilter(**each)
        cursor = None if first else encode_cursor(asset_listing(asked), (now, "a", 1))
        await ledger.list_assets(asked, Page(2, cursor))
    for page in pages["activity_logs"]:
        await ledger.list_activity(page)
    for status, page in product((None, "received"), pages["webhook_deliveries"]):
        await ledger.list_deliveries(status, page)
    await ledger.list_events("a")
    await ledger.get_asset("a")
    await ledger.get_asset_by_key("a")
    assert len(statements) == 61
    with create_engine(f"sqlite:///{quote(str(path))}").connect() as connection:
        for sql, values in statements:
            plan = [row.detail for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {sql}", values)]
            assert all("INDEX" in step or "CORRELATED" in step for step in plan), (sql, plan)
            assert not any("TEMP B-TREE" in step for step in plan), (sql, plan)
            if "is_newest = 1" in sql:
                assert any(index in step for index in _OF_THE_NEWEST for step in plan), (sql, plan)


async def test_lookups_of_children_and_due_runs_use_an_index(ledger: SqlLedger, path: Path) -> None:
    statements: list[tuple[str, Any]] = []
    engine = ledger._db.engine
    event.listen(engine, "before_cursor_execute", lambda _c, _k, sql, values, *_: statements.append((sql, values)))
    await ledger.list_children((("a", 1), ("b", 2)))
    await ledger.list_due_runs(10)
    with create_engine(f"sqlite:///{quote(str(path))}").connect() as connection:
        plans = [
            [r.detail for r in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {sql}", v)] for sql, v in statements
        ]
    children, due = plans
    assert any("ix_asset_inputs_parent" in step for step in children), children
    assert any("ix_runs_status" in step or "ix_runs_ready" in step for step in due), due
    assert not any(step.startswith(("SCAN assets", "SCAN asset_inputs", "SCAN runs")) for step in children + due), plans


SECRET = "s3cr3t-pass"  # noqa: S105 # looked for in messages


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://etl:{SECRET}@127.0.0.1:1/etl",
        f"postgresql+asyncpg://127.0.0.1:1/etl?user=etl&password={SECRET}",
        f"mysql://etl:{SECRET}@127.0.0.1/etl",
        f"{SECRET}",
        "sqlite://",
        "sqlite+aiosqlite://",
        "sqlite:///:memory:",
        "sqlite:////no/such/directory/ledger.sqlite",
        "sqlite:////",
    ],
)
async def test_a_ledger_that_is_away_says_what_to_do_and_no_password(url: str) -> None:
    with pytest.raises(LedgerUnavailable) as caught:
        async with open_sql_ledger(url) as ledger:
            await ledger.ping()
    assert caught.value.fix
    assert SECRET not in str(caught.value)
    with pytest.raises(LedgerUnavailable):
        async with open_sql_ledger(url) as ledger:
            await ledger.migrate()


async def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    file = tmp_path / "notes.txt"
    file.write_text("hello " * 1000)
    async with open_sql_ledger(f"sqlite:///{file}") as ledger:
        for call in (ledger.ping, ledger.migrate):
            with pytest.raises(LedgerUnavailable, match="not a database") as caught:
                await call()
            assert "backup" in caught.value.fix
    assert file.read_text() == "hello " * 1000


async def test_a_lock_that_never_ends_is_told(ledger: SqlLedger, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sql_driver, "LOCK_WAIT_SECONDS", 0.05)
    with create_engine(f"sqlite:///{quote(str(path))}").connect() as other:
        other.exec_driver_sql("BEGIN IMMEDIATE")
        now = utcnow()
        record = ManifestRecord(batch_id="b", manifest={}, content_hash="h", ingested_at=now)
        run = Run(run_id="r", batch_id="b", job_name="j", lane="l", partition_key="d", created_at=now)
        async with open_sql_ledger(f"sqlite:///{quote(str(path))}") as waiting:
            with pytest.raises(LedgerUnavailable, match="locked") as caught:
                await waiting.accept(record, run)
            assert "transaction" in caught.value.fix
            assert await waiting.get_manifest("b") is None
            other.rollback()
            assert (await waiting.accept(record, run)).created
