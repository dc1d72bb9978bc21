"""Webhook deliveries in SQL."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from sqlalchemy import Connection, update

from app.models.manifests.delivery import Delivery, EventOutcome
from app.models.page import Page, Slice
from app.storage.sql import conversion
from app.storage.sql.base import SqlBase, equal
from app.storage.sql.engine import insert_into, writes
from app.storage.sql.tables import DELIVERIES


class SqlDeliveries(SqlBase):
    """`app.ledger.deliveries.DeliveryLedger` in SQL; each method is one statement."""

    @writes
    def add_delivery(self, connection: Connection, delivery: Delivery) -> Delivery:
        c = DELIVERIES.c
        statement = insert_into(DELIVERIES, self._db.dialect).values(conversion.delivery_values(delivery))
        statement = statement.on_conflict_do_update(index_elements=[c.delivery_id], set_={"repeats": c.repeats + 1})
        return conversion.delivery_from(connection.execute(statement.returning(*c)).mappings().one())

    @writes
    def finish_delivery(
        self, connection: Connection, delivery_id: str, outcomes: tuple[EventOutcome, ...], at: datetime
    ) -> Delivery | None:
        c = DELIVERIES.c
        statement = update(DELIVERIES).where(c.delivery_id == delivery_id, c.status == "received").returning(*c)
        made = [outcome.model_dump(mode="json") for outcome in outcomes]
        done = connection.execute(statement.values(status="done", outcomes=made, processed_at=at))
        row = done.mappings().one_or_none()
        return None if row is None else conversion.delivery_from(row)

    async def list_deliveries(self, status: Literal["received", "done"] | None, page: Page) -> Slice[Delivery]:
        key = (DELIVERIES.c.received_at, DELIVERIES.c.delivery_id)
        return await self._page(DELIVERIES, equal(DELIVERIES, {"status": status}), key, conversion.delivery_from, page)
