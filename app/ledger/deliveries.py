"""Deliveries of webhooks: requests of bucket notifications, stored before they are processed."""

from __future__ import annotations

from datetime import datetime
from typing import Literal, Protocol

from app.models.manifests.delivery import Delivery, EventOutcome
from app.models.page import Page, Slice


class DeliveryLedger(Protocol):
    """Stores each delivery once, however often its sender repeats it."""

    async def add_delivery(self, delivery: Delivery) -> Delivery:
        """Store a delivery, or add one to `repeats` of the one that has its id.

        Returns:
            The delivery as it is stored now.
        """
        ...

    async def finish_delivery(
        self, delivery_id: str, outcomes: tuple[EventOutcome, ...], at: datetime
    ) -> Delivery | None:
        """Change a delivery from `received` to `done` with these outcomes. None: its status is not `received`."""
        ...

    async def list_deliveries(self, status: Literal["received", "done"] | None, page: Page) -> Slice[Delivery]:
        """List deliveries, newest first by (received_at, delivery_id). status None: all."""
        ...
