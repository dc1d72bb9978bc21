"""What every ledger promises about the webhook: deliveries, rejected manifests, and the object a manifest came in."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from app.errors import InvalidRequest
from app.ledger import Ledger, ManifestFilter
from app.models.manifests.delivery import Delivery, EventOutcome
from app.models.manifests.manifest import ManifestFault, ManifestRecord, ManifestStatus
from app.models.page import Page
from tests.contract.ledgers import MINUTE, T0, a_manifest, a_run
from tests.contract.test_ledger import MILLISECOND, ODD_TEXT, follow

pytestmark = pytest.mark.anyio

OUTCOMES = (
    EventOutcome(event="s3:ObjectCreated:Put", key=ODD_TEXT, result="accepted", batch_id="batch", detail=ODD_TEXT),
    EventOutcome(event="ObjectRemoved:Delete", key="a", result="ignored"),
    EventOutcome(event="", key="", result="unreadable", detail="Records[2] has no s3.object.key."),
)


def a_delivery(delivery_id: str = "d", **fields: Any) -> Delivery:
    return Delivery(**{"delivery_id": delivery_id, "received_at": T0, "body": '{"Records": []}'} | fields)


def rejected(batch_id: str = "rejected.0123456789abcdef", **fields: Any) -> ManifestRecord:
    common: dict[str, Any] = {
        "manifest": {"raw": ODD_TEXT},
        "status": ManifestStatus.REJECTED,
        "source": "sweep",
        "error_message": "The manifest has 2 faults.",
        "faults": (
            ManifestFault(pointer="/metadata/title", code="empty", detail=ODD_TEXT, fix="Give a title."),
            ManifestFault(pointer="", code="json_invalid", detail="d"),
        ),
        "object_key": "manifests/Straße +%.json",
        "object_etag": "0123-4",
        "completed_at": T0,
    }
    return a_manifest(batch_id, **common | fields)


class TestDeliveries:
    async def test_a_new_one_comes_back_as_it_was(self, ledger: Ledger) -> None:
        delivery = a_delivery(ip="::1", body=ODD_TEXT)
        assert await ledger.add_delivery(delivery) == delivery
        assert (await ledger.list_deliveries(None, Page())).items == (delivery,)

    async def test_a_repeat_is_counted_and_changes_nothing_else(self, ledger: Ledger) -> None:
        first = a_delivery(ip="::1")
        await ledger.add_delivery(first)
        again = await ledger.add_delivery(a_delivery(body="other", ip="::2", received_at=T0 + MINUTE))
        assert again == first.model_copy(update={"repeats": 1})
        await ledger.finish_delivery("d", OUTCOMES, T0)
        third = await ledger.add_delivery(first)
        assert (third.repeats, third.status, third.outcomes) == (2, "done", OUTCOMES)

    async def test_of_many_at_once_one_is_the_first(self, ledger: Ledger) -> None:
        added = await asyncio.gather(*(ledger.add_delivery(a_delivery(ip=str(n))) for n in range(20)))
        assert sorted(delivery.repeats for delivery in added) == list(range(20))
        assert len({delivery.ip for delivery in added}) == 1

    async def test_it_is_finished_once(self, ledger: Ledger) -> None:
        delivery = await ledger.add_delivery(a_delivery())
        assert await ledger.finish_delivery("nobody", OUTCOMES, T0) is None
        done = await ledger.finish_delivery("d", OUTCOMES, T0 + MINUTE)
        assert done == delivery.model_copy(update={"status": "done", "outcomes": OUTCOMES, "processed_at": T0 + MINUTE})
        assert await ledger.finish_delivery("d", (), T0) is None
        assert (await ledger.list_deliveries("done", Page())).items == (done,)

    async def test_one_of_many_finishes_it(self, ledger: Ledger) -> None:
        await ledger.add_delivery(a_delivery())
        made = [(EventOutcome(event="e", key=str(n), result="ignored"),) for n in range(10)]
        ends = await asyncio.gather(*(ledger.finish_delivery("d", outcomes, T0) for outcomes in made))
        (done,) = [end for end in ends if end is not None]
        assert (await ledger.list_deliveries(None, Page())).items == (done,)

    async def test_without_events_it_can_be_finished_too(self, ledger: Ledger) -> None:
        await ledger.add_delivery(a_delivery())
        done = await ledger.finish_delivery("d", (), T0)
        assert done is not None
        assert (done.status, done.outcomes) == ("done", ())

    @pytest.mark.parametrize("limit", [1, 2, 7])
    async def test_lists_are_newest_first_by_status_and_page(self, ledger: Ledger, limit: int) -> None:
        names = ["b", "A", "é", "a", "c"]
        for index, name in enumerate(names):
            await ledger.add_delivery(a_delivery(name, received_at=T0 + (index == 0) * MILLISECOND))
            if name in "Ac":
                await ledger.finish_delivery(name, (), T0)

        async def ids(status: Any) -> list[str]:
            found = await follow(lambda page: ledger.list_deliveries(status, page), limit)
            assert status is None or {delivery.status for delivery in found} == {status}
            return [delivery.delivery_id for delivery in found]

        assert await ids(None) == ["b", "é", "c", "a", "A"]
        assert await ids("received") == ["b", "é", "a"]
        assert await ids("done") == ["c", "A"]

    async def test_a_cursor_of_another_listing_is_refused(self, ledger: Ledger) -> None:
        for name in ("a", "b"):
            await ledger.add_delivery(a_delivery(name))
        cursor = (await ledger.list_deliveries(None, Page(1))).next_cursor
        assert cursor is not None
        with pytest.raises(InvalidRequest):
            await ledger.list_manifests(ManifestFilter(), Page(1, cursor))


class TestRejectedManifests:
    async def test_every_field_comes_back(self, ledger: Ledger) -> None:
        record = rejected()
        assert await ledger.reject_manifest(record) == record == await ledger.get_manifest(record.batch_id)

    async def test_again_it_is_the_one_that_is_there(self, ledger: Ledger) -> None:
        first = await ledger.reject_manifest(rejected())
        assert await ledger.reject_manifest(rejected(error_message="other", ingested_at=T0 + MINUTE)) == first
        assert (await ledger.list_manifests(ManifestFilter(), Page())).items == (first,)

    async def test_of_many_at_once_one_is_written(self, ledger: Ledger) -> None:
        records = [rejected(error_message=str(n)) for n in range(10)]
        kept = await asyncio.gather(*(ledger.reject_manifest(record) for record in records))
        assert len({record.error_message for record in kept}) == 1

    @pytest.mark.parametrize(
        "document", [{}, {"metadata": 1, "intent": []}, {"a.b": {"$c": [[], {}, None, 2**62, -0.5]}, "": ODD_TEXT}]
    )
    async def test_a_document_that_is_wrong_in_any_way_is_kept(self, ledger: Ledger, document: Any) -> None:
        record = await ledger.reject_manifest(rejected(manifest=document))
        assert record.manifest == document
        assert await ledger.get_manifest(record.batch_id) == record

    async def test_it_takes_nobodys_batch_id_and_no_run(self, ledger: Ledger) -> None:
        record = await ledger.reject_manifest(rejected(manifest=dict(a_manifest("batch").manifest)))
        accepted = await ledger.accept(a_manifest("batch"), a_run("batch"))
        assert accepted.created
        assert await ledger.get_manifest(record.batch_id) == record

    async def test_manifests_by_object_and_status(self, ledger: Ledger) -> None:
        bad = await ledger.reject_manifest(rejected())
        later = rejected("rejected.f", object_etag="9", ingested_at=T0 + MINUTE)
        worse = await ledger.reject_manifest(later)
        mine = a_manifest("batch", source="webhook", object_key="manifests/b.json", object_etag="e")
        good = (await ledger.accept(mine, a_run("batch"))).manifest
        assert good == mine
        await ledger.accept(a_manifest("posted"), a_run("posted"))

        async def found(**where: Any) -> list[ManifestRecord]:
            return await follow(lambda page: ledger.list_manifests(ManifestFilter(**where), page), 1)

        assert await found(object_key="manifests/Straße +%.json") == [worse, bad]
        assert await found(object_key="manifests/b.json") == [good]
        assert await found(object_key="manifests/B.json") == []
        assert await found(status="rejected") == [worse, bad]
        assert await found(status="rejected", object_key="manifests/b.json") == []
