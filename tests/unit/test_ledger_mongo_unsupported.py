"""A server of MongoDB's protocol that lacks something, or refuses a record for its size: told as that, tried once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from app.cli import app
from app.cli.doctor import examine
from app.errors import LedgerUnavailable, LedgerUnsupported, RecordTooLarge
from app.ledger import Guard
from app.models.runs.attempt import AttemptOutcome
from app.models.runs.run import RunStatus
from app.pipelines.job.failure import FailureContext, end_of
from app.settings import LedgerSettings, Settings
from app.storage.mongo.ledger import open_mongo_ledger
from tests.contract.ledgers import a_manifest, put_running
from tests.servers import mongo
from tests.servers.mongo_relay import MongoRelay, Refusal, error

pytestmark = pytest.mark.anyio

NOT_FOUND = error(59, "CommandNotFound", "no such command: 'collMod'")
NOT_SUPPORTED = error(115, "CommandNotSupported", "this server has no validators")
NOT_IMPLEMENTED = error(238, "NotImplemented", "`collMod` is not implemented yet")
KEYWORD = error(9, "FailedToParse", "Unknown $jsonSchema keyword: required")
OPERATOR = error(2, "BadValue", "unknown top level operator: $jsonSchema")
OTHER = error(2, "BadValue", "the validator must be an object")


def refusing(command: str, refusal: Refusal) -> Callable[[dict[str, Any]], Refusal | None]:
    return lambda asked: refusal if next(iter(asked)) == command else None


@pytest.fixture
def relay() -> Iterator[MongoRelay]:
    with MongoRelay(mongo.mongo_url(), lambda _: None) as made:
        yield made


@pytest.fixture
def database() -> Iterator[str]:
    with mongo.fresh_database() as url:
        yield url.rpartition("/")[2].partition("?")[0]


@pytest.mark.parametrize("refusal", [NOT_FOUND, NOT_SUPPORTED, NOT_IMPLEMENTED, KEYWORD, OPERATOR])
async def test_what_the_server_lacks_is_told_with_command_and_server(
    relay: MongoRelay, database: str, refusal: Refusal
) -> None:
    relay.refuse = refusing("collMod", refusal)
    async with open_mongo_ledger(relay.url(database)) as ledger:
        with pytest.raises(LedgerUnsupported, match="does not support collMod: ") as caught:
            await ledger.migrate()
        version = await ledger._db.server_version()
    assert caught.value.code == "ledger_unsupported"
    assert f"127.0.0.1:{relay.port}/{database}, version {version})" in caught.value.detail
    assert refusal.answer["errmsg"] in caught.value.detail
    assert f"(code {refusal.answer['code']})" in caught.value.detail
    assert "MongoDB 5.0" in caught.value.fix


async def test_another_refusal_with_the_same_code_is_none_of_these(relay: MongoRelay, database: str) -> None:
    relay.refuse = refusing("collMod", OTHER)
    async with open_mongo_ledger(relay.url(database)) as ledger:
        with pytest.raises(LedgerUnavailable) as caught:
            await ledger.migrate()
    assert not isinstance(caught.value, LedgerUnsupported)


async def test_a_query_that_the_server_lacks_is_told_too(relay: MongoRelay, database: str) -> None:
    async with open_mongo_ledger(relay.url(database)) as ledger:
        await ledger.migrate()
        relay.refuse = refusing(
            "aggregate", error(40324, "Location40324", "Unrecognized pipeline stage name: '$group'")
        )
        with pytest.raises(LedgerUnsupported, match=r"does not support aggregate: .*\$group"):
            await ledger.count_by_lane(())


def test_migrate_ends_at_once(
    relay: MongoRelay, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    relay.refuse = refusing("collMod", NOT_FOUND)
    monkeypatch.setenv("SPATIAL_ETL_LEDGER__URL", relay.url(database))
    done = CliRunner().invoke(app, ["migrate", "--wait", "60", "--data-dir", str(tmp_path)])
    assert done.exit_code == 3, done.output
    assert "does not support collMod" in " ".join(done.stderr.split())
    assert relay.seen.count("collMod") == 1


def settings(relay: MongoRelay, database: str, folder: Path) -> Settings:
    return Settings(data_dir=folder, ledger=LedgerSettings(url=relay.url(database)))


@pytest.mark.parametrize("migrated", [False, True])
async def test_doctor_tries_out_what_is_needed_and_leaves_nothing(
    relay: MongoRelay, database: str, tmp_path: Path, migrated: bool
) -> None:
    async with open_mongo_ledger(relay.url(database)) as ledger:
        if migrated:
            await ledger.migrate()
        before = sorted(await ledger._db.raw.list_collection_names())
        (found,) = [each for each in await examine(settings(relay, database, tmp_path)) if each.name == "ledger_server"]
        assert found.ok, found
        assert found.details["findAndModify"] == "works"
        assert found.details["indexes"] == "unique and sparse"
        assert found.details["validators"] in ("enforced", "taken, but not enforced")
        assert {"collMod", "findAndModify", "createIndexes", "drop"} <= set(relay.seen)
        assert sorted(await ledger._db.raw.list_collection_names()) == before


@pytest.mark.parametrize(
    ("command", "refusal"),
    [
        ("collMod", KEYWORD),
        ("findAndModify", error(59, "CommandNotFound", "no such command: 'findAndModify'")),
        ("createIndexes", error(238, "NotImplemented", "sparse is not implemented yet")),
    ],
)
async def test_doctor_names_what_the_server_lacks(
    relay: MongoRelay, database: str, tmp_path: Path, command: str, refusal: Refusal
) -> None:
    relay.refuse = refusing(command, refusal)
    (found,) = [each for each in await examine(settings(relay, database, tmp_path)) if each.name == "ledger_server"]
    assert not found.ok
    assert found.required
    assert f"does not support {command}" in str(found.problem)
    assert relay.seen[-1] == "drop" or "drop" in relay.seen, "the scratch collection is removed"
    async with open_mongo_ledger(relay.url(database)) as ledger:
        assert await ledger._db.raw.list_collection_names() == []


async def test_doctor_finds_a_unique_index_that_is_taken_and_not_kept(relay: MongoRelay, database: str) -> None:
    def without_indexes(command: dict[str, Any]) -> Refusal | None:
        return Refusal({"ok": 1.0}) if next(iter(command)) == "createIndexes" else None

    relay.refuse = without_indexes
    async with open_mongo_ledger(relay.url(database)) as ledger:
        with pytest.raises(LedgerUnsupported, match="no working unique index"):
            await ledger.try_server()


async def test_a_user_who_may_not_migrate_is_no_fault_of_the_server(relay: MongoRelay, database: str) -> None:
    relay.refuse = refusing("collMod", error(13, "Unauthorized", "not authorized on ledger to execute command"))
    async with open_mongo_ledger(relay.url(database)) as ledger:
        assert "collMod" in (await ledger.try_server())["validators"]


async def test_other_ledgers_have_nothing_to_try(tmp_path: Path) -> None:
    assert not [each for each in await examine(Settings(data_dir=tmp_path)) if each.name == "ledger_server"]


INSERT_TOO_LARGE = {"index": 0, "code": 10334, "errmsg": "object to insert too large. size in bytes: 16777300"}


@pytest.mark.parametrize("text", ["x" * (2**24 - 1000), "x" * (2**24 + 2**15)], ids=["server", "driver"])
async def test_a_record_that_is_too_large_is_refused_and_not_tried_again(
    relay: MongoRelay, database: str, text: str
) -> None:
    """The driver sends documents that exceed 16 MiB by a little; a MongoDB refuses these."""
    async with open_mongo_ledger(relay.url(database)) as ledger:
        await ledger.migrate()
        relay.seen.clear()
        relay.refuse = refusing("insert", Refusal({"ok": 1.0, "n": 0, "writeErrors": [INSERT_TOO_LARGE]}))
        with pytest.raises(RecordTooLarge, match="cannot hold a record this large") as caught:
            await ledger.reject_manifest(a_manifest(document={"raw": text}))
        assert caught.value.code == "record_too_large"
        assert "16 MiB" in caught.value.fix
        assert relay.seen.count("insert") <= 1


async def test_a_run_that_grows_too_large_is_refused(relay: MongoRelay, database: str) -> None:
    async with open_mongo_ledger(relay.url(database)) as ledger:
        await ledger.migrate()
        run = await put_running(ledger)
        answer = {"index": 0, "code": 17419, "errmsg": "Resulting document after update is larger than 16777216"}
        relay.refuse = refusing("update", Refusal({"ok": 1.0, "n": 0, "nModified": 0, "writeErrors": [answer]}))
        with pytest.raises(RecordTooLarge):
            await ledger.change_run(run.run_id, Guard(frozenset({RunStatus.RUNNING})), step="load")
        end = end_of(RecordTooLarge("d", "f"), FailureContext("job", None, None, 2**30, {}))
        assert (end.outcome, end.code) == (AttemptOutcome.FAILED, "record_too_large")
