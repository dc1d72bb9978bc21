"""The totals of the metrics: they follow every change, and finished runs and versions are not counted to read them."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import Connection, event

from app.ledger import AssetTotal, Guard, Ledger, RunTotal
from app.models.asset import Deletion
from app.models.runs.run import Run, RunStatus
from app.storage.sql import tables
from app.storage.sql.ledger import SqlLedger, open_sql_ledger
from tests.contract.ledgers import BACKENDS, MINUTE, T0, a_run, claim, put_asset, put_run, put_running
from tests.contract.test_ledger_newest import without_marks

pytestmark = pytest.mark.anyio

RUNNING, SUCCESS, FAILURE = RunStatus.RUNNING, RunStatus.SUCCESS, RunStatus.FAILURE
DELETION = Deletion(at=T0, by="ada", reason="old")


async def end(ledger: Ledger, run: Run | None, status: RunStatus) -> Run:
    assert run is not None
    ended = await ledger.change_run(run.run_id, Guard(frozenset({RUNNING})), status=status, completed_at=T0 + MINUTE)
    assert ended is not None
    return ended


def finished(found: tuple[RunTotal, ...]) -> set[tuple[RunStatus, str, int, int]]:
    return {(each.status, each.lane, each.runs, each.attempts) for each in found if each.status.is_final}


async def test_finished_runs_stay_in_the_totals_until_they_are_removed(ledger: Ledger) -> None:
    first = await end(ledger, await put_running(ledger, batch_id="a"), FAILURE)
    again = a_run("a", retry_of=first.run_id, created_at=T0 + MINUTE, partition_key=first.partition_key)
    assert await ledger.add_run(again) == again
    assert finished((await ledger.totals()).runs) == {(FAILURE, "spatial", 1, 1)}
    await end(ledger, await claim(ledger, again), SUCCESS)
    await end(ledger, await put_running(ledger, batch_id="b", lane="tabular"), SUCCESS)
    # A second end changes nothing, and is not counted.
    assert await ledger.change_run(first.run_id, Guard(frozenset({RUNNING})), status=SUCCESS) is None
    assert finished((await ledger.totals()).runs) == {
        (FAILURE, "spatial", 1, 1),
        (SUCCESS, "spatial", 1, 1),
        (SUCCESS, "tabular", 1, 1),
    }
    assert await ledger.get_counts() == {}
    assert await ledger.remove_batch("a")
    assert finished((await ledger.totals()).runs) == {(SUCCESS, "tabular", 1, 1)}


async def test_deleted_versions_leave_the_totals_once(ledger: Ledger) -> None:
    await put_asset(ledger, "a", size=2**40)
    kept = await put_asset(ledger, "b", size=5)
    assert (await ledger.totals()).assets == (AssetTotal("spatial", 2, 2**40 + 5),)
    for _ in range(2):
        await ledger.delete_version("a", 1, DELETION, keep_newest=False)
    assert (await ledger.totals()).assets == (AssetTotal("spatial", 1, kept.size),)
    await ledger.delete_version("b", 1, DELETION, keep_newest=False)
    assert (await ledger.totals()).assets == ()


@pytest.mark.parametrize("backend", ["postgresql", "sqlite"])
async def test_the_migration_counts_what_is_there(backend: str, tmp_path: Path) -> None:
    async with BACKENDS[backend].fresh(tmp_path, False) as url, open_sql_ledger(url) as ledger:
        await ledger.migrate()
        await end(ledger, await put_running(ledger), SUCCESS)
        await put_asset(ledger, "a", size=7)
        before = await ledger.totals()

        def as_the_release_before(connection: Connection) -> None:
            without_marks(connection)
            connection.execute(tables.COUNTS.delete())
            connection.execute(tables.COUNTS.insert().values(name="rows", value=3))
            connection.exec_driver_sql("UPDATE alembic_version SET version_num = '0010_lanes'")
            connection.execute(tables.MIGRATIONS.delete().where(tables.MIGRATIONS.c.version == "0011_totals"))

        await ledger._db.write(as_the_release_before)
        newer = ("0012_newest", "0013_asked_by", "0014_checks", "0015_several_files")
        assert await ledger.migrate() == ("0011_totals", *newer)
        assert await ledger.totals() == before
        assert await ledger.get_counts() == {"rows": 3}


@pytest.mark.parametrize("backend", ["postgresql", "sqlite"])
async def test_totals_read_no_finished_run_and_no_version(backend: str, tmp_path: Path) -> None:
    """What is in the tables but not in the counters does not appear: it was not read."""
    async with BACKENDS[backend].fresh(tmp_path, True) as url, open_sql_ledger(url) as ledger:
        await end(ledger, await put_running(ledger), SUCCESS)
        waiting = await put_run(ledger)
        asset = await put_asset(ledger, "a", size=7)
        asked: list[str] = []
        event.listen(ledger._db.engine, "before_cursor_execute", lambda *found: asked.append(found[2]))
        before = await ledger.totals()
        assert [text.count("assets") for text in asked] == [0] * len(asked)
        assert all("runs.status IN" in text for text in asked if "FROM runs" in text)
        await ledger._db.write(lambda connection: connection.execute(tables.COUNTS.delete()) and None)
        found = await ledger.totals()
        assert (found.assets, finished(found.runs)) == ((), set())
        assert {each.status for each in found.runs} == {waiting.status, RUNNING}
        assert before.assets == (AssetTotal("spatial", 1, asset.size),)


async def test_unfinished_runs_are_found_by_an_index(tmp_path: Path) -> None:
    async with BACKENDS["sqlite"].fresh(tmp_path, True) as url, open_sql_ledger(url) as ledger:
        plan = await _plan(ledger)
        assert "SEARCH runs USING INDEX" in plan, plan


async def _plan(ledger: SqlLedger) -> str:
    asked: list[tuple[str, object]] = []
    event.listen(ledger._db.engine, "before_cursor_execute", lambda *found: asked.append((found[2], found[3])))
    await ledger.totals()
    (query,) = [each for each in asked if "FROM runs" in each[0]]

    def explain(connection: Connection) -> str:
        rows = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {query[0]}", query[1])
        return " ".join(str(row) for row in rows)

    return await ledger._db.read(explain)
