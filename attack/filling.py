"""A ledger as it is after many runs, made by the database itself: copies of one run and of all that belongs to it."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from sqlalchemy import Connection, Table, delete, insert

from app.models.asset import Asset, AssetMetadata
from app.models.base import utcnow
from app.models.manifests.delivery import Delivery
from app.models.runs.activity import Activity
from app.models.runs.counts import BYTES_TOTAL, VERSIONS_TOTAL, counter
from app.models.runs.run import Run, RunEvent, RunStatus
from app.storage.shared.totals import of_run
from app.storage.sql import conversion, tables
from app.storage.sql.ledger import SqlLedger, open_sql_ledger
from app.storage.sql.totals import add_amounts
from tests.contract.ledgers import a_manifest, a_run, an_asset
from tests.service import manifest as valid_manifest

# The dataset that half of the runs made, the newer half: its versions come before those of all others.
BUSY = "busy"
# Runs of one transaction: the ledger waits only some seconds for a statement.
_AT_ONCE = 4000


@dataclass(frozen=True, slots=True)
class Size:
    """Runs over some datasets; half of the runs over one more."""

    runs: int
    datasets: int

    @property
    def half(self) -> int:
        return self.runs // 2

    @property
    def versions(self) -> int:
        """Of each dataset but the busy one."""
        return (self.runs - self.half) // self.datasets

    def run_id(self, number: int) -> str:
        """The run of that number; 0 is the newest."""
        return f"{number:032x}"


def run_ids(dialect: str) -> str:
    """`Size.run_id` in SQL."""
    return "lpad(to_hex(n), 32, '0')" if dialect == "postgresql" else "printf('%032x', n)"


def _earlier(dialect: str, column: str) -> str:
    """SQL of a time that is n seconds before that of a column."""
    if dialect == "postgresql":
        return f"{column} - n * interval '1 second'"
    return f"strftime('%Y-%m-%d %H:%M:%f', {column}, '-' || n || ' seconds') || '000'"


async def fill(ledger: SqlLedger, size: Size) -> None:
    """Finished runs, each with a manifest, a version, two log lines, an audit entry and a delivery."""
    now = utcnow()
    run = a_run(
        "b0", run_id=size.run_id(0), lane="tabular", partition_key=BUSY, status=RunStatus.SUCCESS, attempt=1,
        created_at=now, started_at=now, completed_at=now,
    )  # fmt: skip
    manifest = {"title": "Growth", "keywords": ["grown"], "project": "growth", "tags": {"level": 3}}
    fields = {"created_at": now, "metadata": AssetMetadata(manifest=manifest, column_schema={})}
    asset = an_asset(run, size.half, **fields)

    def write(connection: Connection) -> None:
        _write_first(connection, run, asset)
        datasets = [{"dataset_id": BUSY, "last_version": size.half}]
        datasets += [{"dataset_id": f"d{n}", "last_version": size.versions} for n in range(size.datasets)]
        connection.execute(insert(tables.COUNTERS), datasets)
        totals = {VERSIONS_TOTAL: size.runs, BYTES_TOTAL: size.runs * asset.size}
        amounts = Counter({counter(name, kind=asset.kind): value for name, value in totals.items()})
        add_amounts(connection, of_run(run.lane, run.status.value, size.runs, size.runs) + amounts)

    await ledger._db.write(write)
    for first in range(1, size.runs, _AT_ONCE):
        numbers = range(first, min(first + _AT_ONCE, size.runs))
        await ledger._db.write(partial(_copy_all, size=size, numbers=numbers))
    await ledger._db.write(_analyze)


def _write_first(connection: Connection, run: Run, asset: Asset) -> None:
    now = run.created_at
    document = valid_manifest("b0", ("a.gpkg", "GPKG"))
    record = a_manifest("b0", status="success", ingested_at=now, completed_at=now, document=document)
    lines = [RunEvent(run_id=run.run_id, seq=seq, at=now, code="beat", message="m" * 80) for seq in (1, 2)]
    entry = Activity(timestamp=now, user="ada", action="run.success", resource_type="run", resource_id=run.run_id)
    delivery = Delivery(delivery_id="w0", received_at=now, body="{}", status="done", processed_at=now)
    connection.execute(insert(tables.MANIFESTS), conversion.manifest_values(record))
    connection.execute(insert(tables.RUNS), conversion.run_values(run) | {"last_seq": len(lines)})
    connection.execute(insert(tables.EVENTS), [conversion.event_values(line) for line in lines])
    connection.execute(insert(tables.ASSETS), conversion.asset_values(asset) | {"is_newest": True})
    terms = conversion.term_values(asset)
    connection.execute(insert(tables.TERMS), [term | {"is_newest": True} for term in terms])
    connection.execute(delete(tables.ACTIVITY))  # that of the migration
    connection.execute(insert(tables.ACTIVITY), conversion.activity_values(entry))
    connection.execute(insert(tables.DELIVERIES), conversion.delivery_values(delivery))


def _copy_all(connection: Connection, size: Size, numbers: range) -> None:
    dialect = connection.dialect.name
    run_id = run_ids(dialect)
    others = f"(n - {size.half})"
    dataset = f"CASE WHEN n < {size.half} THEN '{BUSY}' ELSE 'd' || ({others} % {size.datasets}) END"
    version = f"CASE WHEN n < {size.half} THEN {size.half} - n ELSE {size.versions} - {others} / {size.datasets} END"
    # The first run made the newest version of the busy dataset.
    newest = f"({others} >= 0 AND {others} < {size.datasets})"
    place = {"dataset_id": dataset, "version": version, "is_newest": newest}
    place["created_at"] = _earlier(dialect, "created_at")
    times = {name: _earlier(dialect, name) for name in ("created_at", "started_at", "completed_at")}
    ingested = {name: _earlier(dialect, name) for name in ("ingested_at", "completed_at")}
    received = {name: _earlier(dialect, name) for name in ("received_at", "processed_at")}
    document = """replace(CAST(manifest AS text), '"b0"', '"b' || n || '"')"""
    if dialect == "postgresql":
        document = f"CAST({document} AS json)"
    run = f"run_id = '{size.run_id(0)}'"
    # Of each table, its rows of the first run, and the columns that a copy has otherwise.
    copies: tuple[tuple[Table, str, dict[str, str]], ...] = (
        (tables.MANIFESTS, "batch_id = 'b0'", {"batch_id": "'b' || n", "manifest": document, **ingested}),
        (tables.RUNS, run, {"run_id": run_id, "batch_id": "'b' || n", "partition_key": dataset, **times}),
        (tables.EVENTS, run, {"run_id": run_id}),
        (tables.ASSETS, run, {"s3_key": "'k' || n", "run_id": run_id, **place}),
        (
            tables.TERMS,
            f"dataset_id = '{BUSY}' AND version = {size.half}",
            place,
        ),
        (
            tables.ACTIVITY,
            "id = (SELECT min(id) FROM activity_logs)",
            {"resource_id": run_id, "timestamp": _earlier(dialect, "timestamp")},
        ),
        (tables.DELIVERIES, "delivery_id = 'w0'", {"delivery_id": "'w' || n", **received}),
    )
    for table, first, changed in copies:
        _copy(connection, table, first, changed, numbers)


def _copy(connection: Connection, table: Table, first: str, changed: Mapping[str, str], numbers: range) -> None:
    # The database itself numbers the audit trail.
    names = [column.name for column in table.columns if table is not tables.ACTIVITY or column.name != "id"]
    values = ", ".join(changed.get(name, f'"{name}"') for name in names)
    series = (
        f"WITH RECURSIVE s(n) AS (SELECT {numbers[0]} UNION ALL SELECT n + 1 FROM s WHERE n < {numbers[-1]}), "
        f"f AS (SELECT * FROM {table.name} WHERE {first})"
    )
    into = ", ".join(f'"{name}"' for name in names)
    # Sorted: else SQLite may read its own copies.
    connection.exec_driver_sql(f"INSERT INTO {table.name} ({into}) {series} SELECT {values} FROM f, s ORDER BY n")


def _analyze(connection: Connection) -> None:
    # PostgreSQL does so by itself; on SQLite the service never does.
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql("ANALYZE")


@asynccontextmanager
async def filled(url: str, size: Size) -> AsyncIterator[SqlLedger]:
    """A migrated and filled ledger."""
    async with open_sql_ledger(url) as ledger:
        await ledger.migrate()
        await fill(ledger, size)
        yield ledger


def sqlite_url(data: Path) -> str:
    """Where the embedded profile keeps its ledger."""
    return f"sqlite:///{data / 'ledger.sqlite'}"
