"""Deliveries of webhooks, and their results."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from app.models.base import Frozen


class EventOutcome(Frozen):
    """What one event of a delivery led to.

    result: accepted (a new run), known (accepted before), rejected (stored as a rejected manifest), ignored (not an
    event of a manifest), gone (the object was removed), unreadable (not an event). batch_id: of the manifest.
    """

    event: str
    key: str
    result: Literal["accepted", "known", "rejected", "ignored", "gone", "unreadable"]
    batch_id: str | None = None
    detail: str = ""


class Delivery(Frozen):
    """One HTTP request of a bucket notification. delivery_id: derived from its events; a repeat has the same.

    status: `received` until all events are processed; the sweep finishes those that stay `received`.
    """

    delivery_id: str
    received_at: datetime
    ip: str | None = None
    body: str
    status: Literal["received", "done"] = "received"
    outcomes: tuple[EventOutcome, ...] = ()
    repeats: int = 0
    processed_at: datetime | None = None
