"""Deliveries of the webhook: recorded first, then looked at event by event, then finished.

What was recorded is answered well whatever it holds, because MinIO repeats anything else for ever and holds back all
later events. What a crash or an outage leaves `received` is taken up by `app.services.watch`.
"""

from __future__ import annotations

import hashlib
import logging
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass

from app.errors import DomainError, InvalidKey
from app.lifecycle import count
from app.models.base import utcnow
from app.models.counts import DELIVERED, counter
from app.models.delivery import Delivery, EventOutcome
from app.models.manifest import LANDING_BUCKET
from app.objects import check_key
from app.services.dropped import Door, find_record, is_manifest_key, take_in
from app.services.notifications import MANIFESTS, Announced, Unreadable, delivery_id_of, read_notification

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Body:
    """At most `max_bytes` of a request's body. size and digest: of all of it."""

    head: bytes
    size: int
    digest: str

    @property
    def is_whole(self) -> bool:
        return self.size == len(self.head)


async def read_body(chunks: AsyncIterator[bytes], max_bytes: int) -> Body:
    """Read to the end, but keep `max_bytes` only: a sender that is cut off would take it for a failure and repeat."""
    head, size, digest = bytearray(), 0, hashlib.sha256()
    async for chunk in chunks:
        head += chunk[: max(0, max_bytes - size)]
        size += len(chunk)
        digest.update(chunk)
    return Body(bytes(head), size, digest.hexdigest())


async def receive(body: Body, door: Door, *, ip: str | None) -> Delivery:
    """Record the delivery and look at its events. Raises LedgerUnavailable when it could not be recorded.

    A repeat changes nothing: whoever received the first one looks at the events, and after a crash the sweep.
    """
    text = body.head.decode("utf-8", "replace").replace("\0", "\ufffd")
    events = read_notification(text) if body.is_whole else _too_large(body)
    arrived = Delivery(delivery_id=delivery_id_of(events, body.digest), received_at=utcnow(), ip=ip, body=text)
    delivery = await door.clients.ledger.add_delivery(arrived)
    if delivery.repeats:
        return delivery
    return await _finish(delivery, events, door) or delivery


async def resume(delivery: Delivery, door: Door, *, give_up: bool = False) -> Delivery | None:
    """Look at the events of a delivery that nobody finished; None when it stays as it is.

    give_up: what fails for a defect of ours ends as unreadable. What only has to wait for a server goes on waiting.
    """
    return await _finish(delivery, read_notification(delivery.body), door, give_up=give_up)


async def _finish(
    delivery: Delivery, events: tuple[Announced | Unreadable, ...], door: Door, *, give_up: bool = False
) -> Delivery | None:
    try:
        outcomes = tuple([await _look_at(event, door, delivery.ip) for event in events])
        finished = await door.clients.ledger.finish_delivery(delivery.delivery_id, outcomes, utcnow())
        if finished is not None:
            results = Counter(counter(DELIVERED, result=outcome.result) for outcome in outcomes)
            await count(door.clients.ledger, results)
        return finished
    except DomainError as err:
        logger.warning("delivery %s waits: %s", delivery.delivery_id, err)
    except Exception as err:
        # A defect of ours must not hold back MinIO's later events.
        logger.exception("delivery %s %s", delivery.delivery_id, "is given up" if give_up else "waits")
        if give_up:
            return await _close(delivery, f"It could not be looked at ({type(err).__name__}).", door)
    return None


async def _close(delivery: Delivery, detail: str, door: Door) -> Delivery | None:
    outcome = EventOutcome(event="", key="", result="unreadable", detail=detail)
    return await door.clients.ledger.finish_delivery(delivery.delivery_id, (outcome,), utcnow())


async def _look_at(event: Announced | Unreadable, door: Door, ip: str | None) -> EventOutcome:
    if isinstance(event, Unreadable):
        return EventOutcome(event="", key="", result="unreadable", detail=event.detail)
    keys = tuple(key for key in event.keys if is_manifest_key(key))
    if reason := _no_interest(event, keys, door.bucket):
        return EventOutcome(event=event.name, key=(event.keys or ("",))[0], result="ignored", detail=reason)
    try:
        key = await _existing(keys, event.etag, door)
    except InvalidKey as err:
        return EventOutcome(event=event.name, key=keys[0], result="unreadable", detail=str(err))
    taken = None if key is None else await take_in(key, door, source="webhook", ip=ip)
    if key is None or taken is None or taken.result == "gone":
        return await _gone(event, keys, door)
    detail = taken.detail
    if event.etag and taken.etag != event.etag:
        changed = f"The object changed since the event ({event.etag}): its newer content ({taken.etag}) was looked at."
        detail = f"{changed} {detail}".strip()
    return EventOutcome(event=event.name, key=key, result=taken.result, batch_id=taken.batch_id, detail=detail)


def _no_interest(event: Announced, keys: tuple[str, ...], bucket: str) -> str:
    if event.is_test:
        return "A test event announces nothing."
    if not event.creates:
        return f"{event.name} does not create an object."
    if event.bucket != bucket:
        return f"The bucket {event.bucket!r} is not the landing zone ({bucket!r})."
    return "" if keys else f"Not a manifest: those are {MANIFESTS}….json, with a name that does not begin with a dot."


async def _existing(keys: tuple[str, ...], etag: str, door: Door) -> str | None:
    """The key that has an object: with the event's content, if one has. Raises InvalidKey when none can have one."""
    found: dict[str, str] = {}
    refused: InvalidKey | None = None
    for key in keys:
        try:
            info = await door.clients.objects.stat(LANDING_BUCKET, check_key(key))
        except InvalidKey as err:
            refused = err
            continue
        if info is not None:
            found[key] = info.etag
    if refused is not None and len(keys) == 1:
        raise refused
    return next((key for key in found if found[key] == etag), next(iter(found), None))


async def _gone(event: Announced, keys: tuple[str, ...], door: Door) -> EventOutcome:
    """Nothing is there: because what was there has been taken in, or because somebody removed it."""
    for key in keys if event.etag else ():
        record = await find_record(key, event.etag, door)
        if record is not None:
            detail = record.error_message or "" if record.faults else ""
            return EventOutcome(event=event.name, key=key, result="known", batch_id=record.batch_id, detail=detail)
    return EventOutcome(event=event.name, key=keys[0], result="gone", detail="There is no such object any more.")


def _too_large(body: Body) -> tuple[Unreadable, ...]:
    detail = f"The body has {body.size} bytes; {len(body.head)} were kept."
    return (Unreadable(f"{detail} The limit is SPATIAL_ETL_WEBHOOK__MAX_BYTES."),)
