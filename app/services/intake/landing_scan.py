"""The part of the sweep that scans the landing zone for manifests without an event, and for unfinished deliveries.

Uploads appear at once, but a file copied by hand into the directory of the local store is visible while it grows. So an
object is processed when it is a few seconds old or unchanged for as long. One that is not JSON is given more time,
because it may be incomplete: no part of a JSON document is valid JSON.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import partial

from app.errors import DomainError, QueueFull, RecordTooLarge
from app.models.base import utcnow
from app.models.manifests.delivery import Delivery
from app.models.manifests.manifest import LANDING_BUCKET, MANIFEST_PREFIX
from app.objects import ObjectInfo
from app.services.intake.dropped_manifests import (
    IntakeConfig,
    IntakeResult,
    give_up_object,
    intake_object,
    is_manifest_key,
)
from app.services.intake.webhook_deliveries import resume
from app.services.listing import all_items

logger = logging.getLogger(__name__)

# Seconds after which a file counts as complete, and after which one that is not JSON does.
_MIN_AGE_SECONDS = 2.0
_INCOMPLETE_SECONDS = 30.0
# The longest time, in seconds, between two attempts at an object that fails.
_LONGEST_WAIT_SECONDS = 300.0
# A scan takes at most this part of the time, however many objects there are.
_LARGEST_SHARE = 0.1
# Seconds that the request which recorded a delivery has to process it.
OWN_TIME_SECONDS = 5.0
# A delivery of this age that fails because of a defect of the service is closed.
_GIVE_UP_AGE = timedelta(days=1)
# Scans of one object that may fail because of a defect of the service. Outages do not count.
_MAX_FAILURES = 3


@dataclass(slots=True)
class _Seen:
    """One content of one key.

    since: when first seen; next_at: not read before; failures: in a row; defects: failures that were no outage;
    last_error: the failure that was logged; done: skip it.
    """

    etag: str
    size: int
    since: float
    next_at: float = 0.0
    failures: int = 0
    defects: int = 0
    last_error: str = ""
    done: bool = False


class LandingScanner:
    """Scans repeatedly, and remembers only the objects that still exist."""

    def __init__(self, config: IntakeConfig, clock: Callable[[], float] = time.monotonic) -> None:
        self._config = config
        self._clock = clock
        self._seen: dict[str, _Seen] = {}
        self._received: dict[str, float] = {}
        self._logged_full = False
        self._next_scan_at = 0.0

    async def once(self) -> tuple[IntakeResult, ...]:
        """One scan; the results of the objects that were processed. Raises LedgerUnavailable, StoreUnavailable.

        An object or a delivery that fails is logged and tried again by the next scan.
        """
        began = self._clock()
        listed = await self._list() if began >= self._next_scan_at else []
        if began >= self._next_scan_at:
            self._update_seen(listed)
            self._next_scan_at = self._clock() + (self._clock() - began) * (1 / _LARGEST_SHARE - 1)
        if await self._is_full():
            return ()
        for delivery in await self._unfinished_deliveries():
            old = delivery.received_at < utcnow() - _GIVE_UP_AGE
            await resume(delivery, self._config, give_up=old)
        taken = [await self._take_in(info) for info in listed if self._is_ready(info)]
        return tuple(each for each in taken if each is not None)

    async def _is_full(self) -> bool:
        """Whether the queue is full. Then all objects stay where they are, unread."""
        try:
            await self._config.clients.lanes.check_room()
        except QueueFull as err:
            if not self._logged_full:
                logger.warning("leaving manifests in the landing zone: %s", err)
            self._logged_full = True
        else:
            self._logged_full = False
        return self._logged_full

    async def _list(self) -> list[ObjectInfo]:
        found: list[ObjectInfo] = []
        after: str | None = ""
        while after is not None:
            page = await self._config.clients.objects.list_objects(
                LANDING_BUCKET, MANIFEST_PREFIX, after, only=is_manifest_key
            )
            found += page.objects
            after = page.next_after
        return found

    async def _unfinished_deliveries(self) -> list[Delivery]:
        """Oldest first."""
        found: list[Delivery] = []
        before = utcnow() - timedelta(seconds=OWN_TIME_SECONDS)
        now, seen = self._clock(), self._received
        self._received = {}
        async for each in all_items(partial(self._config.clients.ledger.list_deliveries, "received"), 100):
            since = self._received.setdefault(each.delivery_id, seen.get(each.delivery_id, now))
            # The second condition is for a delivery from a host whose clock is ahead.
            if each.received_at < before or now - since >= OWN_TIME_SECONDS:
                found.append(each)
        return found[::-1]

    def _update_seen(self, listed: list[ObjectInfo]) -> None:
        now, before = self._clock(), self._seen
        self._seen = {}
        for info in listed:
            old = before.get(info.key)
            same = old is not None and (old.etag, old.size) == (info.etag, info.size)
            self._seen[info.key] = old if same and old is not None else _Seen(info.etag, info.size, now)

    def _is_ready(self, info: ObjectInfo) -> bool:
        seen = self._seen[info.key]
        if seen.done or self._clock() < seen.next_at:
            return False
        # The second condition is for a store whose clock is ahead.
        age = (utcnow() - info.modified_at).total_seconds()
        return age >= _MIN_AGE_SECONDS or self._clock() - seen.since >= _MIN_AGE_SECONDS

    async def _take_in(self, info: ObjectInfo) -> IntakeResult | None:
        seen = self._seen[info.key]
        settled = self._clock() - seen.since >= _INCOMPLETE_SECONDS
        try:
            taken = await intake_object(info.key, self._config, source="sweep", settled=settled)
        except Exception as err:
            seen.failures += 1
            seen.next_at = self._clock() + min(2.0**seen.failures - 1, _LONGEST_WAIT_SECONDS)
            # Log a failure once, not with every scan; unexpected ones with a traceback.
            if seen.last_error != repr(err):
                seen.last_error = repr(err)
                unexpected = None if isinstance(err, DomainError) else err
                logger.warning("failed to process %s, will try again: %s", info.key, err, exc_info=unexpected)
            if isinstance(err, DomainError) and not isinstance(err, RecordTooLarge):
                return None
            seen.defects += 1
            taken = await self._give_up(info.key, seen) if seen.defects >= _MAX_FAILURES else None
            if taken is None:
                return None
        seen.failures = 0
        if taken is None:
            # The same content is still no JSON until then.
            seen.next_at = seen.since + _INCOMPLETE_SECONDS
            return None
        seen.done = taken.stays
        logger.info("%s: %s %s %s", info.key, taken.result, taken.batch_id or "", taken.detail)
        return taken

    async def _give_up(self, key: str, seen: _Seen) -> IntakeResult | None:
        """Record and archive a manifest without its content, so that it is not read with every scan for ever."""
        try:
            return await give_up_object(key, self._config, source="sweep")
        except DomainError as err:
            logger.warning("failed to record %s as rejected, will try again: %s", key, err)
        except Exception:
            seen.done = True
            logger.exception("failed to record %s as rejected, it is skipped until it changes", key)
        return None
