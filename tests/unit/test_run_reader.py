"""Runs asked for together come from one query; each answer is as new as the question."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from app.errors import LedgerUnavailable, NotFound
from app.ledger import Guard
from app.models.runs.run import Progress, Run, RunStatus
from app.services.runs.batch_reader import RunReader
from app.storage.sql.ledger import SqlLedger, open_sql_ledger
from tests.contract.ledgers import put_run

pytestmark = pytest.mark.anyio


class Watched:
    """A ledger whose reads can be counted, held up and failed."""

    def __init__(self, ledger: SqlLedger) -> None:
        self.ledger = ledger
        self.asked: list[set[str]] = []
        self.read = asyncio.Event()
        self.held: asyncio.Event | None = None
        self.error: Exception | None = None

    async def get_runs(self, run_ids: tuple[str, ...]) -> tuple[Run, ...]:
        self.asked.append(set(run_ids))
        found = await self.ledger.get_runs(run_ids)
        self.read.set()
        if self.held is not None:
            await self.held.wait()
        if self.error is not None:
            raise self.error
        return found


@pytest.fixture
async def watched(tmp_path: Path) -> AsyncIterator[Watched]:
    async with open_sql_ledger(f"sqlite:///{tmp_path / 'ledger.sqlite'}") as ledger:
        await ledger.migrate()
        yield Watched(ledger)


def reader_of(watched: Watched) -> RunReader:
    ledger: Any = watched
    return RunReader(ledger)


async def test_those_who_ask_together_share_a_query(watched: Watched) -> None:
    runs = [await put_run(watched.ledger) for _ in range(5)]
    reader = reader_of(watched)
    wanted = [run.run_id for run in runs] * 3
    answers = await asyncio.gather(*(reader.get(run_id) for run_id in wanted))
    assert [answer.run_id for answer in answers] == wanted
    assert watched.asked == [{run.run_id for run in runs}]


async def test_an_answer_is_never_older_than_the_question(watched: Watched) -> None:
    run = await put_run(watched.ledger)
    reader, watched.held = reader_of(watched), asyncio.Event()
    first = asyncio.create_task(reader.get(run.run_id))
    await watched.read.wait()  # the answer is there, and on its way
    changed = await watched.ledger.change_run(
        run.run_id, Guard(frozenset({RunStatus.QUEUED})), progress=Progress(rows_done=7)
    )
    second = asyncio.create_task(reader.get(run.run_id))
    await asyncio.sleep(0)
    watched.held.set()
    assert await first == run
    assert await second == changed
    assert len(watched.asked) == 2


async def test_each_reader_hears_of_its_own_run_or_of_the_failure(watched: Watched) -> None:
    run = await put_run(watched.ledger)
    reader = reader_of(watched)
    found, missing = await asyncio.gather(reader.get(run.run_id), reader.get("none"), return_exceptions=True)
    assert found == run
    assert isinstance(missing, NotFound)
    watched.error = LedgerUnavailable("The ledger is away.")
    answers = await asyncio.gather(reader.get(run.run_id), reader.get("none"), return_exceptions=True)
    assert answers == [watched.error] * 2
    watched.error = None
    assert await reader.get(run.run_id) == run


async def test_a_reader_that_gives_up_takes_nothing_from_the_others(watched: Watched) -> None:
    run = await put_run(watched.ledger)
    reader, watched.held = reader_of(watched), asyncio.Event()
    tasks = [asyncio.create_task(reader.get(run.run_id)) for _ in range(2)]
    await asyncio.sleep(0)
    tasks[0].cancel()
    watched.held.set()
    assert await tasks[1] == run
    assert (await asyncio.gather(tasks[0], return_exceptions=True))[0].__class__ is asyncio.CancelledError
