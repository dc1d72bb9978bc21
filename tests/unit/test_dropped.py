"""Dropped manifests: on a real ledger and a real store, without a queue."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import time
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from app.clients import Clients, open_clients
from app.errors import LedgerUnavailable, StoreUnavailable
from app.ledger import ManifestFilter, RunFilter
from app.models.base import utcnow
from app.models.intents import LANES
from app.models.manifests.delivery import Delivery
from app.models.manifests.manifest import LANDING_BUCKET, ManifestRecord
from app.models.page import Page
from app.services.intake import dropped_manifests as dropped
from app.services.intake import webhook_deliveries as deliveries
from app.services.intake.dropped_manifests import IntakeConfig, archive_key, intake_object, is_manifest_key
from app.services.intake.landing_scan import LandingScanner
from app.settings import Settings
from tests.service import manifest

pytestmark = pytest.mark.anyio

KEY = "manifests/2026/a.json"


@pytest.fixture
async def clients(tmp_path: Path) -> AsyncIterator[Clients]:
    async with open_clients(Settings(data_dir=tmp_path)) as opened:
        await opened.ledger.migrate()
        yield opened


@pytest.fixture
def config(clients: Clients) -> IntakeConfig:
    return IntakeConfig(clients, frozenset(LANES), 64 * 1024)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def raw(batch_id: str = "batch", **changes: Any) -> bytes:
    return json.dumps(manifest(batch_id, ("x.gpkg", "GPKG"), **changes)).encode()


async def put(clients: Clients, key: str, content: bytes) -> str:
    async def body() -> AsyncIterator[bytes]:
        yield content

    return (await clients.objects.put(LANDING_BUCKET, key, body())).etag


async def keys(clients: Clients, prefix: str = "") -> list[str]:
    return [info.key for info in (await clients.objects.list_objects(LANDING_BUCKET, prefix)).objects]


async def content(clients: Clients, key: str) -> bytes:
    return b"".join([part async for part in clients.objects.read(LANDING_BUCKET, key)])


async def records(clients: Clients, **where: Any) -> tuple[ManifestRecord, ...]:
    return (await clients.ledger.list_manifests(ManifestFilter(**where), Page())).items


async def count_runs(clients: Clients) -> int:
    return len((await clients.ledger.list_runs(RunFilter(), Page())).items)


def notification(key: str, etag: str | None, **changes: Any) -> bytes:
    thing = {"key": key, "eTag": etag, "sequencer": "1"} | changes.pop("object", {})
    event = {"eventName": "ObjectCreated:Put", "s3": {"bucket": {"name": "landing-zone"}, "object": thing}, **changes}
    return json.dumps({"Records": [event]}).encode()


async def deliver(config: IntakeConfig, body: bytes) -> Delivery:
    async def chunks() -> AsyncIterator[bytes]:
        yield body

    return await deliveries.receive(await deliveries.read_body(chunks(), 1024 * 1024), config, ip="::1")


async def test_a_good_one_becomes_a_run_and_is_archived(clients: Clients, config: IntakeConfig) -> None:
    etag = await put(clients, KEY, raw())
    taken = await intake_object(KEY, config, source="webhook", ip="::1")
    assert taken is not None
    assert (taken.result, taken.batch_id) == ("accepted", "batch")
    (record,) = await records(clients)
    assert (record.source, record.object_key, record.object_etag) == ("webhook", KEY, etag)
    assert await count_runs(clients) == 1
    assert await keys(clients) == [archive_key(KEY, etag)]
    assert await content(clients, archive_key(KEY, etag)) == raw()
    (entry,) = (await clients.ledger.list_activity(Page())).items
    assert entry.details["uploader"] == "tests"
    assert (entry.action, entry.user, entry.ip, entry.details["source"]) == (
        "manifest.accepted",
        "webhook",
        "::1",
        "webhook",
    )
    assert (await intake_object(KEY, config, source="sweep")) == dropped.IntakeResult(
        "gone", detail="The object does not exist any more."
    )


BAD = {
    "faults": (raw("not good", uploader="", tags={}), {"string_pattern_mismatch", "empty"}),
    "no json": (b'{"batch_id": ', {"json_invalid"}),
    "no utf-8": (b'{"batch_id": "\xff"}', {"json_invalid"}),
    "empty": (b"", {"json_invalid"}),
    "repeated": (b'{"batch_id": "a", "batch_id": "b"}', {"name_repeated"}),
    "bomb": (b"[" * 60_000, {"json_invalid"}),
    "surrogate": (raw().replace(b'"T"', b'"\\ud800"'), {"text_invalid"}),
    "reserved": (raw("rejected.0123456789abcdef"), {"batch_id_reserved"}),
}


@pytest.mark.parametrize("name", BAD)
async def test_a_bad_one_is_kept_with_faults_and_archived(clients: Clients, config: IntakeConfig, name: str) -> None:
    document, codes = BAD[name]
    etag = await put(clients, KEY, document)
    taken = await intake_object(KEY, config, source="sweep")
    assert taken is not None
    assert taken.result == "rejected"
    (record,) = await records(clients, status="rejected")
    assert (record.batch_id, record.source) == (taken.batch_id, "sweep")
    assert record.batch_id.startswith("rejected.")
    assert len(record.batch_id) == len("rejected.") + 16
    assert (record.object_key, record.object_etag) == (KEY, etag)
    assert {fault.code for fault in record.faults} == codes
    assert all(fault.detail and fault.fix for fault in record.faults)
    assert record.error_message
    assert record.completed_at == record.ingested_at
    assert await content(clients, archive_key(KEY, etag)) == document
    assert await keys(clients, "manifests/") == []
    (entry,) = (await clients.ledger.list_activity(Page())).items
    assert (entry.action, entry.resource_id) == ("manifest.rejected", record.batch_id)
    record.model_dump_json().encode()
    assert await count_runs(clients) == 0
    # Dropped again as it is: nothing new to say.
    assert await put(clients, KEY, document) == etag
    again = await intake_object(KEY, config, source="sweep")
    assert again is not None
    assert (again.result, again.batch_id) == ("known", record.batch_id)
    assert await keys(clients) == [archive_key(KEY, etag)]
    assert len((await clients.ledger.list_activity(Page())).items) == 1


async def test_a_closed_lane_rejects_and_the_same_file_is_taken_in_once_it_is_open(
    clients: Clients, config: IntakeConfig
) -> None:
    await put(clients, KEY, raw())
    closed = IntakeConfig(clients, frozenset({"join"}), config.max_bytes)
    taken = await intake_object(KEY, closed, source="sweep")
    assert taken is not None
    assert taken.result == "rejected"
    (record,) = await records(clients)
    (fault,) = record.faults
    assert (fault.pointer, fault.code) == ("/intent", "lane_closed")
    assert "MANIFEST_ROUTER_ENABLED_LANES" in fault.fix
    await put(clients, KEY, raw())
    again = await intake_object(KEY, config, source="sweep")
    assert again is not None
    assert (again.result, again.batch_id) == ("accepted", "batch")


async def test_a_batch_with_other_content_is_a_rejected_one(clients: Clients, config: IntakeConfig) -> None:
    await put(clients, KEY, raw())
    await intake_object(KEY, config, source="sweep")
    await put(clients, KEY, raw(uploader="somebody else"))
    taken = await intake_object(KEY, config, source="sweep")
    assert taken is not None
    assert taken.result == "rejected"
    (record,) = await records(clients, status="rejected")
    assert [(fault.pointer, fault.code) for fault in record.faults] == [("/batch_id", "batch_conflict")]
    assert record.manifest["uploader"] == "somebody else"
    assert len(await keys(clients, "archive/")) == 2


async def test_the_same_batch_under_another_name_is_known(clients: Clients, config: IntakeConfig) -> None:
    for key in ("manifests/a.json", "manifests/b.json"):
        await put(clients, key, raw())
    results = [await intake_object(key, config, source="sweep") for key in ("manifests/a.json", "manifests/b.json")]
    assert [taken.result for taken in results if taken] == ["accepted", "known"]
    assert await count_runs(clients) == 1
    assert await keys(clients, "manifests/") == []


async def test_what_is_too_large_stays_where_it_is(clients: Clients, config: IntakeConfig) -> None:
    await put(clients, KEY, b'{"a": "' + b"x" * config.max_bytes + b'"}')
    watch = LandingScanner(config, clock := Clock())
    await watch.once()
    clock.now += 60
    (taken,) = await watch.once()
    assert (taken.result, taken.stays) == ("rejected", True)
    (record,) = await records(clients)
    assert [fault.code for fault in record.faults] == ["manifest_too_large"]
    assert len(record.manifest["raw"]) == 4096
    assert await keys(clients) == [KEY]
    clock.now += 60
    assert await watch.once() == ()


@pytest.mark.parametrize("died_before", ["reject_manifest", "put", "delete"])
@pytest.mark.parametrize("document", [raw(), b"no manifest"])
async def test_whoever_comes_after_a_crash_finishes(
    clients: Clients, config: IntakeConfig, monkeypatch: pytest.MonkeyPatch, died_before: str, document: bytes
) -> None:
    """A process that is killed between two steps is one whose next step never happens."""

    class Killed(BaseException):
        pass

    async def killed(*_: Any, **__: Any) -> None:
        raise Killed

    etag = await put(clients, KEY, document)
    target = clients.ledger if died_before == "reject_manifest" else clients.objects
    if died_before == "reject_manifest" and document == raw():
        died_before = "accept"
    with monkeypatch.context() as patch:
        patch.setattr(target, died_before, killed)
        with pytest.raises(Killed):
            await intake_object(KEY, config, source="webhook")
    before = await records(clients)
    assert await keys(clients, "manifests/") == [KEY]
    taken = await intake_object(KEY, config, source="sweep")
    assert taken is not None
    after = await records(clients)
    assert len(after) == 1
    if before:
        assert (after, taken.result) == (before, "known")
    assert await keys(clients) == [archive_key(KEY, etag)]
    assert await count_runs(clients) == (document == raw())


async def test_a_lane_that_closes_after_a_crash_does_not_reject_what_was_accepted(
    clients: Clients, config: IntakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    await put(clients, KEY, raw())

    async def away(*_: Any, **__: Any) -> None:
        raise StoreUnavailable("away")

    with monkeypatch.context() as patch:
        patch.setattr(clients.objects, "put", away)
        taken = await intake_object(KEY, config, source="webhook")
    assert taken is not None
    assert taken.result == "accepted", "what was taken in counts, the archive can wait"
    again = await intake_object(KEY, IntakeConfig(clients, frozenset(), config.max_bytes), source="sweep")
    assert again is not None
    assert (again.result, again.batch_id) == ("known", "batch")
    assert await keys(clients, "manifests/") == []
    assert len(await records(clients)) == 1


async def test_a_newer_manifest_under_the_same_key_is_not_lost(
    clients: Clients, config: IntakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is dropped between the reading and the deleting of the older one."""
    older = await put(clients, KEY, raw("older"))
    original = clients.objects.put

    async def put_and_drop(bucket: str, key: str, body: AsyncIterator[bytes], **options: Any) -> Any:
        made = await original(bucket, key, body, **options)
        if key.startswith("archive/"):
            monkeypatch.setattr(clients.objects, "put", original)
            await put(clients, KEY, raw("newer"))
        return made

    monkeypatch.setattr(clients.objects, "put", put_and_drop)
    first = await intake_object(KEY, config, source="webhook")
    assert first is not None
    assert first.batch_id == "older"
    assert await content(clients, archive_key(KEY, older)) == raw("older")
    assert await content(clients, KEY) == raw("newer")
    second = await intake_object(KEY, config, source="sweep")
    assert second is not None
    assert (second.result, second.batch_id) == ("accepted", "newer")
    assert len(await keys(clients, "archive/")) == 2


async def test_thirty_at_once_take_it_in_once(clients: Clients, config: IntakeConfig) -> None:
    etag = await put(clients, KEY, raw())
    bodies = [notification(KEY, etag, object={"sequencer": str(n % 5)}) for n in range(30)]
    answers = await asyncio.gather(*(deliver(config, body) for body in bodies))
    assert await count_runs(clients) == 1
    assert len(await records(clients)) == 1
    assert await keys(clients) == [archive_key(KEY, etag)]
    kept = (await clients.ledger.list_deliveries(None, Page())).items
    assert len(kept) == 5
    assert sum(delivery.repeats + 1 for delivery in kept) == 30
    assert {delivery.status for delivery in kept} == {"done"}
    results = sorted(delivery.outcomes[0].result for delivery in kept)
    assert results == ["accepted", "known", "known", "known", "known"]
    assert {delivery.delivery_id for delivery in answers} == {delivery.delivery_id for delivery in kept}


@pytest.mark.parametrize("name", ["a b.json", "a+b.json", "100%25.json", "Straße%.json", "a&b=c;d.json", "🗺.json"])
@pytest.mark.parametrize("style", ["escaped", "as it is", "envelope"])
async def test_keys_in_every_spelling(clients: Clients, config: IntakeConfig, name: str, style: str) -> None:
    from urllib.parse import quote_plus

    key = f"manifests/{name}"
    etag = await put(clients, key, raw())
    if style == "envelope":
        body = json.dumps({"EventName": "s3:ObjectCreated:Put", "Key": f"landing-zone/{key}"}).encode()
    else:
        body = notification(quote_plus(key) if style == "escaped" else key, etag)
    (outcome,) = (await deliver(config, body)).outcomes
    assert (outcome.result, outcome.key, outcome.batch_id) == ("accepted", key, "batch")
    assert await keys(clients, "manifests/") == []


async def test_where_both_spellings_exist_the_content_decides(clients: Clients, config: IntakeConfig) -> None:
    await put(clients, "manifests/a b.json", raw("spaced"))
    etag = await put(clients, "manifests/a+b.json", raw("plus"))
    (outcome,) = (await deliver(config, notification("manifests/a+b.json", etag))).outcomes
    assert (outcome.result, outcome.batch_id) == ("accepted", "plus")
    assert await keys(clients, "manifests/") == ["manifests/a b.json"]


@pytest.mark.parametrize(
    ("changes", "result", "reason"),
    [
        ({"eventName": "s3:ObjectCreated:PutTagging"}, "ignored", "does not create"),
        ({"eventName": "s3:ObjectRemoved:Delete"}, "ignored", "does not create"),
        ({"s3": {"bucket": {"name": "data-lake"}, "object": {"key": KEY}}}, "ignored", "'data-lake'"),
        ({"object": {"key": "parcels/x.gpkg"}}, "ignored", "Not a manifest"),
        ({"object": {"key": "archive/manifests/a.json"}}, "ignored", "Not a manifest"),
        ({"object": {"key": "manifests/.a.json"}}, "ignored", "start with a dot"),
        ({"object": {"key": "manifests/"}}, "ignored", "Not a manifest"),
        ({"object": {"key": "manifests/none.json"}}, "gone", "does not exist"),
        ({"object": {"key": "manifests/../x.json"}}, "unreadable", "'..'"),
        ({"object": {"key": "manifests/a//x.json"}}, "unreadable", "empty"),
        ({"object": {"key": "manifests/%00.json"}}, "gone", ""),
        ({"object": {"key": "manifests/" + "x" * 9000 + ".json"}}, "ignored", "Not a manifest"),
    ],
)
async def test_what_is_not_taken_in_says_why(
    clients: Clients, config: IntakeConfig, changes: dict[str, Any], result: str, reason: str
) -> None:
    etag = await put(clients, KEY, raw())
    delivery = await deliver(config, notification(KEY, etag, **changes))
    (outcome,) = delivery.outcomes
    assert (delivery.status, outcome.result) == ("done", result)
    assert reason in outcome.detail
    assert await keys(clients) == [KEY]


async def test_an_event_of_what_was_taken_in_is_known_and_of_what_was_removed_gone(
    clients: Clients, config: IntakeConfig
) -> None:
    good = await put(clients, "manifests/good.json", raw())
    bad = await put(clients, "manifests/bad.json", b"{")
    for name in ("good", "bad"):
        await intake_object(f"manifests/{name}.json", config, source="sweep")
    for key, etag, result in (
        ("manifests/good.json", good, "known"),
        ("manifests/bad.json", bad, "known"),
        ("manifests/good.json", "another", "gone"),
        ("manifests/good.json", None, "gone"),
    ):
        (outcome,) = (await deliver(config, notification(key, etag))).outcomes
        assert outcome.result == result
        assert bool(outcome.batch_id) is (result == "known")


async def test_what_changed_since_the_event_is_taken_in_as_it_is_now(clients: Clients, config: IntakeConfig) -> None:
    old = await put(clients, KEY, raw("old"))
    new = await put(clients, KEY, raw("new"))
    (outcome,) = (await deliver(config, notification(KEY, old))).outcomes
    assert (outcome.result, outcome.batch_id) == ("accepted", "new")
    assert old in outcome.detail
    assert new in outcome.detail


async def test_a_store_that_is_away_leaves_the_delivery_to_the_sweep(
    clients: Clients, config: IntakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    etag = await put(clients, KEY, raw())

    async def away(*_: Any, **__: Any) -> None:
        raise StoreUnavailable("The store is away.", "Start it.")

    with monkeypatch.context() as patch:
        for name in ("stat", "fetch", "list_objects"):
            patch.setattr(clients.objects, name, away)
        delivery = await deliver(config, notification(KEY, etag))
        assert (delivery.status, delivery.outcomes) == ("received", ())
        again = await deliver(config, notification(KEY, etag))
        assert (again.status, again.repeats) == ("received", 1)
        watch = LandingScanner(config)
        with pytest.raises(StoreUnavailable):
            await watch.once()
    monkeypatch.setattr("app.services.intake.landing_scan.OWN_TIME_SECONDS", 0.0)
    await asyncio.sleep(0.01)
    await watch.once()
    (done,) = (await clients.ledger.list_deliveries("done", Page())).items
    assert (done.outcomes[0].result, done.repeats) == ("accepted", 1)
    (record,) = await records(clients)
    assert record.source == "webhook"


async def test_a_delivery_that_is_under_way_is_left_to_its_request(clients: Clients, config: IntakeConfig) -> None:
    fresh = Delivery(delivery_id="fresh", received_at=utcnow(), body="{}")
    old = Delivery(delivery_id="old", received_at=utcnow() - timedelta(minutes=1), body="{}")
    for delivery in (fresh, old):
        await clients.ledger.add_delivery(delivery)
    await LandingScanner(config).once()
    (left,) = (await clients.ledger.list_deliveries("received", Page())).items
    assert left == fresh


async def test_a_file_that_is_still_being_copied_is_left_alone(
    clients: Clients, config: IntakeConfig, tmp_path: Path
) -> None:
    file = tmp_path / "objects" / "landing-zone" / "manifests" / "slow.json"
    file.parent.mkdir(parents=True)
    watch = LandingScanner(config, clock := Clock())
    whole = raw("slow")

    async def look(after: float) -> tuple[dropped.IntakeResult, ...]:
        clock.now += after
        return await watch.once()

    file.write_bytes(whole[:50])
    assert await look(0) == (), "young"
    assert await look(5) == (), "old enough, but half of a document"
    os.utime(file, (time.time() - 60,) * 2)  # whatever its time says
    assert await look(29) == ()
    with file.open("ab") as half:
        half.write(whole[50:])
    assert await look(1) == (), "changed since the last look"
    (taken,) = await look(2)
    assert (taken.result, taken.batch_id) == ("accepted", "slow")
    assert await records(clients, status="rejected") == ()


async def test_a_file_that_stays_broken_is_rejected_in_the_end(
    clients: Clients, config: IntakeConfig, tmp_path: Path
) -> None:
    file = tmp_path / "objects" / "landing-zone" / "manifests" / "half.json"
    file.parent.mkdir(parents=True)
    watch = LandingScanner(config, clock := Clock())
    file.write_bytes(raw()[:-10])
    assert await watch.once() == ()
    clock.now += 29
    assert await watch.once() == ()
    clock.now += 2
    (taken,) = await watch.once()
    assert taken.result == "rejected"
    assert not file.exists()


async def test_an_old_file_is_taken_in_at_the_first_scan(
    clients: Clients, config: IntakeConfig, tmp_path: Path
) -> None:
    source = tmp_path / "a.json"
    source.write_bytes(raw())
    os.utime(source, (time.time() - 60,) * 2)
    target = tmp_path / "objects" / "landing-zone" / "manifests" / "deep" / "er" / "A.JSON"
    target.parent.mkdir(parents=True)
    shutil.copy2(source, target)
    (target.parent / ".b.json").write_bytes(raw("hidden"))
    (target.parent / "notes.txt").write_bytes(raw("notes"))
    (taken,) = await LandingScanner(config).once()
    assert (taken.result, taken.batch_id) == ("accepted", "batch")
    left = sorted(path.name for path in target.parent.iterdir())
    assert left == [".b.json", "notes.txt"]


async def test_one_that_fails_by_itself_does_not_hold_back_the_others(
    clients: Clients, config: IntakeConfig, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for name in "abc":
        await put(clients, f"manifests/{name}.json", raw(name))
    original = clients.objects.fetch

    async def fetch(bucket: str, key: str, *args: Any, **options: Any) -> Any:
        if key == "manifests/b.json":
            raise StoreUnavailable("No right to read it.", "Give it.")
        return await original(bucket, key, *args, **options)

    monkeypatch.setattr(clients.objects, "fetch", fetch)
    watch = LandingScanner(config, clock := Clock())
    await watch.once()
    clock.now += 3
    assert [taken.batch_id for taken in await watch.once()] == ["a", "c"]
    clock.now += 3
    assert await watch.once() == ()
    assert [r.getMessage().count("No right") for r in caplog.records if "b.json" in r.getMessage()] == [1]


async def test_a_name_that_was_dropped_often_costs_no_more(
    clients: Clients, config: IntakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = await put(clients, KEY, b"{}")
    rejected = await intake_object(KEY, config, source="webhook")
    assert rejected is not None
    for number in range(80):
        await put(clients, KEY, raw(f"batch-{number}"))
        taken = await intake_object(KEY, config, source="webhook")
        assert taken is not None
        assert taken.result == "accepted"
    read: list[int] = []
    summaries = clients.ledger.list_manifest_summaries

    async def counted(where: ManifestFilter, page: Page) -> Any:
        found = await summaries(where, page)
        read.append(len(found.items))
        return found

    monkeypatch.setattr(clients.ledger, "list_manifest_summaries", counted)
    # The oldest, long behind the newest fifty: a rejected one by its id, an accepted one by its batch_id.
    again = await put(clients, KEY, b"{}")
    assert again == first
    taken = await intake_object(KEY, config, source="webhook")
    assert taken is not None
    assert (taken.result, taken.batch_id) == ("known", rejected.batch_id)
    await put(clients, KEY, raw("batch-0"))
    taken = await intake_object(KEY, config, source="webhook")
    assert taken is not None
    assert (taken.result, taken.batch_id) == ("known", "batch-0")
    assert read == [50, 50]


def test_names_of_manifests_and_of_their_place_in_the_archive() -> None:
    assert is_manifest_key("manifests/a.json")
    assert is_manifest_key("manifests/2026/11/Ä b.JSON")
    for key in (
        "a.json",
        "manifests",
        "manifests/a.yaml",
        "manifests/.a.json",
        "x/manifests/a.json",
        "manifestsa.json",
    ):
        assert not is_manifest_key(key), key
    mark = archive_key("manifests/a.json", "e").split(".")[1]
    assert archive_key("manifests/2026/a.b.json", "e") == f"archive/manifests/2026/a.b.{mark}.json"
    assert archive_key("manifests/a.json", "e") != archive_key("manifests/a.json", "f")
    for long in ("manifests/" + "ä" * 124 + ".json", "manifests/" + "x/" * 502 + "a.json"):
        assert len(archive_key(long, "e")) < 80
        assert archive_key(long, "e") != archive_key(long[:-6] + "_.json", "e")


async def scans(watch: LandingScanner, clock: Clock, count: int) -> list[str]:
    found = []
    for _ in range(count):
        clock.now += 60
        found += [taken.result for taken in await watch.once()]
    return found


@pytest.mark.parametrize("document", [raw(), b'{"uploader": 1}'])
async def test_one_that_cannot_be_recorded_is_rejected_without_its_content(
    clients: Clients, config: IntakeConfig, monkeypatch: pytest.MonkeyPatch, document: bytes
) -> None:
    """As with values that a database refuses. A record without the content is small and plain."""
    original = clients.ledger.reject_manifest

    async def refused(record: ManifestRecord, *more: Any) -> Any:
        if record.manifest:
            raise ValueError("A value cannot be stored")
        return await original(record, *more)

    monkeypatch.setattr(clients.ledger, "accept", refused)
    monkeypatch.setattr(clients.ledger, "reject_manifest", refused)
    etag = await put(clients, KEY, document)
    watch = LandingScanner(config, clock := Clock())
    await watch.once()
    assert await scans(watch, clock, 3) == ["rejected"]
    (record,) = await records(clients, status="rejected")
    assert [fault.code for fault in record.faults] == ["manifest_not_processed"]
    assert record.manifest == {}
    assert await keys(clients) == [archive_key(KEY, etag)]
    assert await content(clients, archive_key(KEY, etag)) == document


async def test_one_that_cannot_be_rejected_either_is_left_alone(
    clients: Clients, config: IntakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries = 0

    async def refused(*_: Any) -> Any:
        nonlocal tries
        tries += 1
        raise ValueError("A value cannot be stored")

    monkeypatch.setattr(clients.ledger, "reject_manifest", refused)
    await put(clients, KEY, b"{}")
    watch = LandingScanner(config, clock := Clock())
    assert await scans(watch, clock, 9) == []
    assert tries == 4
    assert await keys(clients) == [KEY]


async def test_an_outage_rejects_nothing(
    clients: Clients, config: IntakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_: Any) -> Any:
        raise LedgerUnavailable("away")

    await put(clients, KEY, raw())
    watch = LandingScanner(config, clock := Clock())
    with monkeypatch.context() as patch:
        patch.setattr(clients.ledger, "accept", away)
        assert await scans(watch, clock, 9) == []
    # After an outage the pauses have grown to five minutes.
    assert await scans(watch, clock, 6) == ["accepted"]


async def test_what_is_kept_of_a_hostile_one_is_small(clients: Clients, config: IntakeConfig) -> None:
    """A listing carries the records of all manifests."""
    hostile = b'{"uploader": "' + b"u" * 9_000 + b'", "files": [' + b"{}," * 10_000 + b"{}]}"
    await put(clients, KEY, hostile)
    taken = await intake_object(KEY, config, source="sweep")
    assert taken is not None
    assert taken.result == "rejected"
    (record,) = await records(clients, status="rejected")
    assert len(record.faults) <= 101
    assert len(record.model_dump_json()) < 256 * 1024
