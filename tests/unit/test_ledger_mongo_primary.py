"""Elections of a replica set: the ledger waits a few seconds for the new primary, and does everything once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from app.errors import LedgerUnavailable
from app.ledger import Guard, ManifestFilter
from app.models.page import Page
from app.models.runs.run import RunStatus
from app.settings import LedgerSettings
from app.storage.mongo import patience
from app.storage.mongo.ledger import MongoLedger, open_mongo_ledger
from tests.api.local_api import local_api
from tests.contract.ledgers import a_manifest, a_run, claim, put_run
from tests.servers import mongo
from tests.servers.mongo_relay import MongoRelay, Refusal, error

pytestmark = pytest.mark.anyio

READS = ("find", "aggregate", "buildInfo")
WRITES = ("insert", "update", "findAndModify", "delete")
NO_PRIMARY = error(10107, "NotWritablePrimary", "not primary")
STEPPED_DOWN = error(189, "PrimarySteppedDown", "primary stepped down while waiting for replication", done=True)
UNCONFIRMED = Refusal(
    {
        "ok": 1.0,
        "n": 1,
        "nModified": 1,
        "writeConcernError": {"code": 189, "codeName": "PrimarySteppedDown", "errmsg": "stepped down"},
    },
    done=True,
)


class Election:
    """Refuses commands until it is over. first: what the commands get that are under way when it begins."""

    def __init__(self, *names: str, first: Refusal = NO_PRIMARY, seconds: float = 0.7) -> None:
        self._names, self._first = names, first
        self._over_at = time.monotonic() + seconds
        self.refused: list[str] = []

    def __call__(self, command: dict[str, Any]) -> Refusal | None:
        name = next(iter(command))
        if name not in self._names or time.monotonic() > self._over_at:
            return None
        self.refused.append(name)
        return self._first if len(self.refused) == 1 else NO_PRIMARY


@pytest.fixture
def relay() -> Iterator[MongoRelay]:
    with MongoRelay(mongo.mongo_url(), lambda _: None) as made:
        yield made


@pytest.fixture
async def ledger(relay: MongoRelay) -> AsyncIterator[MongoLedger]:
    with mongo.fresh_database() as url:
        async with open_mongo_ledger(relay.url(url.rpartition("/")[2].partition("?")[0])) as opened:
            await opened.migrate()
            yield opened


async def test_reads_wait_for_the_new_primary(ledger: MongoLedger, relay: MongoRelay) -> None:
    run = await put_run(ledger)
    for read in (
        ledger.get_run(run.run_id),
        ledger.list_manifest_summaries(ManifestFilter(), Page()),
        ledger.list_ready_runs(run.lane, run.created_at, 10),
        ledger.count_by_lane({RunStatus.QUEUED}),
        ledger.ping(),
    ):
        relay.refuse = election = Election(*READS)
        assert await read
        assert election.refused


@pytest.mark.parametrize(
    "first", [NO_PRIMARY, STEPPED_DOWN, UNCONFIRMED], ids=["refused", "stepped-down", "unconfirmed"]
)
async def test_a_write_is_made_once_whatever_became_of_its_answer(
    ledger: MongoLedger, relay: MongoRelay, first: Refusal
) -> None:
    relay.refuse = election = Election(*WRITES, first=first)
    accepted = await ledger.accept(a_manifest(), a_run())
    assert accepted.created
    assert election.refused
    relay.refuse = election = Election(*WRITES, first=first)
    claimed = await claim(ledger, accepted.run)
    assert claimed is not None, "this process has the run, and knows it"
    assert (claimed.attempt, claimed.revision) == (1, 2)
    assert election.refused
    relay.refuse = election = Election("insert", first=first)
    await ledger.add_event(claimed.run_id, code="c", message="m")
    assert election.refused
    assert [event.message for event in await ledger.list_events(claimed.run_id)] == ["m"]
    assert await ledger.list_unfinished(10) == ()


async def test_a_compare_and_set_that_another_process_won_meanwhile_is_lost(
    ledger: MongoLedger, relay: MongoRelay
) -> None:
    run = await put_run(ledger)
    relay.refuse = Election("update")
    losing = asyncio.create_task(claim(ledger, run, "late:1:1"))
    await asyncio.sleep(0.2)
    async with open_mongo_ledger(mongo.mongo_url().rstrip("/") + "/" + ledger._db.raw.name) as other:
        assert await claim(other, run, "early:1:1") is not None
    assert await losing is None


async def test_a_sum_is_not_counted_twice(ledger: MongoLedger, relay: MongoRelay) -> None:
    """Whether it was added cannot be read from the sum: it is repeated only if it surely was not."""
    relay.refuse = Election("update")
    await ledger.count({"a": 1})
    relay.refuse = Election("update", first=STEPPED_DOWN)
    with pytest.raises(LedgerUnavailable):
        await ledger.count({"a": 1})
    relay.refuse = lambda _: None
    assert (await ledger._db.raw["metrics"].find_one({"_id": "a"}))["value"] == 2


@pytest.mark.parametrize("names", [READS, WRITES], ids=["reads", "writes"])
async def test_an_election_that_takes_too_long_is_told_in_time(
    ledger: MongoLedger, relay: MongoRelay, names: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patience, "ELECTION_SECONDS", 1.0)
    relay.refuse = Election(*names, seconds=60)
    began = time.monotonic()
    with pytest.raises(LedgerUnavailable, match="not primary"):
        await ledger.accept(a_manifest(), a_run())
    assert 0.7 < time.monotonic() - began < 5
    relay.refuse = lambda _: None
    assert (await ledger.accept(a_manifest(), a_run())).created


async def test_the_api_waits_for_the_new_primary_and_then_asks_to_come_again(
    relay: MongoRelay, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with mongo.fresh_database() as url:
        settings = LedgerSettings(url=SecretStr(relay.url(url.rpartition("/")[2].partition("?")[0])))
        async with local_api(tmp_path, ledger=settings) as api:
            relay.refuse = Election(*READS, *WRITES)
            assert (await api.http.post("/lanes/spatial/pause")).status_code == 200
            relay.refuse = Election(*READS, *WRITES)
            assert (await api.http.get("/runs")).status_code == 200
            monkeypatch.setattr(patience, "ELECTION_SECONDS", 1.0)
            relay.refuse = Election(*READS, *WRITES, seconds=60)
            for answer in (await api.http.get("/runs"), await api.http.post("/lanes/spatial/resume")):
                assert (answer.status_code, answer.json()["code"]) == (503, "ledger_unavailable")
                assert int(answer.headers["retry-after"]) > 0


async def test_another_error_is_not_waited_for(ledger: MongoLedger, relay: MongoRelay) -> None:
    relay.refuse = lambda asked: error(13, "Unauthorized", "not authorized") if "find" in asked else None
    relay.seen.clear()
    with pytest.raises(LedgerUnavailable):
        await ledger.change_run("x", Guard(frozenset(RunStatus)), step="load")
    assert relay.seen.count("find") == 1
