"""Webhook deliveries in MongoDB."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from app.models.manifests.delivery import Delivery, EventOutcome
from app.models.page import Page, Slice
from app.storage.mongo import documents
from app.storage.mongo.base import MongoBase, equal
from app.storage.mongo.documents import Document
from app.storage.mongo.listing import Listing
from app.storage.shared.ledger_rules import plain_text


class MongoDeliveries(MongoBase):
    """`app.ledger.deliveries.DeliveryLedger` in MongoDB; each method writes one document."""

    async def add_delivery(self, delivery: Delivery) -> Delivery:
        document = documents.delivery_document(delivery)
        while not await self._deliveries.add(document):
            again = await self._deliveries.change(document["_id"], lambda old: old | {"repeats": old["repeats"] + 1})
            if again is not None:
                return documents.delivery_from(again)
        return documents.delivery_from(document)

    async def finish_delivery(
        self, delivery_id: str, outcomes: tuple[EventOutcome, ...], at: datetime
    ) -> Delivery | None:
        def finished(document: Document) -> Document | None:
            if document["status"] != "received":
                return None
            return documents.finished_delivery_document(document, outcomes, at)

        done = await self._deliveries.change(plain_text(delivery_id), finished)
        return None if done is None else documents.delivery_from(done)

    async def list_deliveries(self, status: Literal["received", "done"] | None, page: Page) -> Slice[Delivery]:
        listing = Listing("webhook_deliveries", (("received_at", datetime), ("delivery_id", str)), page)
        found = await self._deliveries.many(listing.query(equal({"status": status})), listing.sort, listing.limit)
        return listing.slice(found, documents.delivery_from)
