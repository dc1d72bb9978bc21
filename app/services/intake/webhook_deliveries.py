"""Deliveries of the webhook: recorded, then processed event by event, then finished.

A recorded delivery is always answered 200, because MinIO repeats failed deliveries for ever and holds back later
events. Deliveries that a crash or an outage leaves `received` are finished by `app.services.intake.landing_scan`.
"""

from __future__ import annotations

import hashlib
import logging
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass

from app.errors import DomainError, InvalidKey
from app.models.base import utcnow
from app.models.manifests.delivery import Delivery, EventOutcome
from app.models.manifests.manifest import LANDING_BUCKET, MANIFEST_PREFIX
from app.models.runs.counts import DELIVERED, counter
from app.objects import check_key
from app.runs.ending import count
from app.services.intake.bucket_events import ObjectEvent, UnreadableEvent, delivery_id_of, read_notification
from app.services.intake.dropped_manifests import IntakeConfig, find_record, intake_object, is_manifest_key

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
    """Read to the end but keep only `max_bytes`, because a sender that is cut off would repeat the delivery."""
    head, size, digest = bytearray(), 0, hashlib.sha256()
    async for chunk in chunks:
        head += chunk[: max(0, max_bytes - size)]
        size += len(chunk)
        digest.update(chunk)
    return Body(bytes(head), size, digest.hexdigest())


async def receive(body: Body, config: IntakeConfig, *, ip: str | None) -> Delivery:
    """Record the delivery and process its events. Raises LedgerUnavailable when it could not be recorded.

    A repeated delivery is not processed again: the first request does that, or after a crash the sweep.
    """
    text = body.head.decode("utf-8", "replace").replace("\0", "\ufffd")
    events = read_notification(text) if body.is_whole else _too_large(body)
    arrived = Delivery(delivery_id=delivery_id_of(events, body.digest), received_at=utcnow(), ip=ip, body=text)
    delivery = await config.clients.ledger.add_delivery(arrived)
    if delivery.repeats:
        return delivery
    return await _finish(delivery, events, config) or delivery


async def resume(delivery: Delivery, config: IntakeConfig, *, give_up: bool = False) -> Delivery | None:
    """Process the events of an unfinished delivery; None when it stays unfinished.

    give_up: close a delivery that fails because of a defect of the service. Outages never close one.
    """
    return await _finish(delivery, read_notification(delivery.body), config, give_up=give_up)


async def _finish(
    delivery: Delivery,
    events: tuple[ObjectEvent | UnreadableEvent, ...],
    config: IntakeConfig,
    *,
    give_up: bool = False,
) -> Delivery | None:
    try:
        outcomes = tuple([await _process_event(event, config, delivery.ip) for event in events])
        finished = await config.clients.ledger.finish_delivery(delivery.delivery_id, outcomes, utcnow())
        if finished is not None:
            results = Counter(counter(DELIVERED, result=outcome.result) for outcome in outcomes)
            await count(config.clients.ledger, results)
        return finished
    except DomainError as err:
        logger.warning("delivery %s is postponed: %s", delivery.delivery_id, err)
    except Exception:
        # A defect of the service must not hold back later events of MinIO.
        logger.exception(
            "delivery %s %s", delivery.delivery_id, "failed and is closed" if give_up else "failed and is postponed"
        )
        if give_up:
            return await _give_up(
                delivery, "It could not be processed. This is a defect of the service: see its log.", config
            )
    return None


async def _give_up(delivery: Delivery, detail: str, config: IntakeConfig) -> Delivery | None:
    outcome = EventOutcome(event="", key="", result="unreadable", detail=detail)
    return await config.clients.ledger.finish_delivery(delivery.delivery_id, (outcome,), utcnow())


async def _process_event(event: ObjectEvent | UnreadableEvent, config: IntakeConfig, ip: str | None) -> EventOutcome:
    if isinstance(event, UnreadableEvent):
        return EventOutcome(event="", key="", result="unreadable", detail=event.detail)
    keys = tuple(key for key in event.keys if is_manifest_key(key))
    if reason := _ignore_reason(event, keys, config.bucket):
        return EventOutcome(event=event.name, key=(event.keys or ("",))[0], result="ignored", detail=reason)
    try:
        key = await _existing_key(keys, event.etag, config)
    except InvalidKey as err:
        return EventOutcome(event=event.name, key=keys[0], result="unreadable", detail=str(err))
    taken = None if key is None else await intake_object(key, config, source="webhook", ip=ip)
    if key is None or taken is None or taken.result == "gone":
        return await _missing_object(event, keys, config)
    detail = taken.detail
    if event.etag and taken.etag != event.etag:
        changed = f"The object changed since the event ({event.etag}): its newer content ({taken.etag}) was processed."
        detail = f"{changed} {detail}".strip()
    return EventOutcome(event=event.name, key=key, result=taken.result, batch_id=taken.batch_id, detail=detail)


def _ignore_reason(event: ObjectEvent, keys: tuple[str, ...], bucket: str) -> str:
    if event.is_test:
        return "A test event names no object."
    if not event.creates:
        return f"{event.name} does not create an object."
    if event.bucket != bucket:
        return f"The bucket {event.bucket!r} is not the landing zone ({bucket!r})."
    return (
        ""
        if keys
        else f"Not a manifest: those are {MANIFEST_PREFIX}….json, with a name that does not start with a dot."
    )


async def _existing_key(keys: tuple[str, ...], etag: str, config: IntakeConfig) -> str | None:
    """The key that exists, preferably with the etag of the event. Raises InvalidKey when no key is valid."""
    found: dict[str, str] = {}
    refused: InvalidKey | None = None
    for key in keys:
        try:
            info = await config.clients.objects.stat(LANDING_BUCKET, check_key(key))
        except InvalidKey as err:
            refused = err
            continue
        if info is not None:
            found[key] = info.etag
    if refused is not None and len(keys) == 1:
        raise refused
    return next((key for key in found if found[key] == etag), next(iter(found), None))


async def _missing_object(event: ObjectEvent, keys: tuple[str, ...], config: IntakeConfig) -> EventOutcome:
    """The outcome for a missing object: `known` if it was processed before, else `gone`."""
    for key in keys if event.etag else ():
        record = await find_record(key, event.etag, config)
        if record is not None:
            detail = record.error_message or "" if record.faults else ""
            return EventOutcome(event=event.name, key=key, result="known", batch_id=record.batch_id, detail=detail)
    return EventOutcome(event=event.name, key=keys[0], result="gone", detail="The object does not exist any more.")


def _too_large(body: Body) -> tuple[UnreadableEvent, ...]:
    detail = f"The body has {body.size} bytes; {len(body.head)} were kept."
    return (UnreadableEvent(f"{detail} The limit is SPATIAL_ETL_WEBHOOK__MAX_BYTES."),)
