"""A webhook delivery as it came in, and what became of it."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from app.models.base import Frozen


class EventOutcome(Frozen):
    """What one event of a delivery led to.

    result: accepted (a new run), known (taken in before), rejected (readable as a rejected manifest), ignored (an event
    of no interest here), gone (no such object any more), unreadable (no event at all). batch_id: of the manifest.
    """

    event: str
    key: str
    result: Literal["accepted", "known", "rejected", "ignored", "gone", "unreadable"]
    batch_id: str | None = None
    detail: str = ""


class Delivery(Frozen):
    """One HTTP request of a bucket notification. delivery_id: derived from what it announces: a repeat meets it.

    status: `received` until every event was looked at; the sweep takes up what stayed there.
    """

    delivery_id: str
    received_at: datetime
    ip: str | None = None
    body: str
    status: Literal["received", "done"] = "received"
    outcomes: tuple[EventOutcome, ...] = ()
    repeats: int = 0
    processed_at: datetime | None = None
