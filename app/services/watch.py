"""The part of the sweep that looks into the landing zone: manifests that no event announced, deliveries left over.

Uploads appear whole, but a file copied by hand into the local store's directory is seen while it grows. So an object is
taken in when it is a few seconds old or unchanged since the last look, and one that is no JSON is given longer, because
half of a JSON document never is one.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from app.errors import DomainError, QueueFull
from app.models.base import utcnow
from app.models.delivery import Delivery
from app.models.manifest import LANDING_BUCKET
from app.models.page import Page
from app.objects import ObjectInfo
from app.services.deliveries import resume
from app.services.dropped import Door, Taken, is_manifest_key, take_in
from app.services.notifications import MANIFESTS

logger = logging.getLogger(__name__)

# Seconds after which a file is taken for complete, and after which what is no JSON is taken for finished too.
_YOUNG = 2.0
_UNFINISHED = 30.0
# Seconds that the request which recorded a delivery has for it.
OWN_TIME_SECONDS = 5.0
# From this age a delivery that cannot be looked at for a defect of ours is closed.
_HOPELESS = timedelta(days=1)


@dataclass(slots=True)
class _Seen:
    """One content of one key. since: when it was first seen. said: the failure that was logged. done: leave it."""

    etag: str
    size: int
    since: float
    said: str = ""
    done: bool = False


class LandingWatch:
    """Looks again and again; keeps in memory only what it saw of the objects that are still there."""

    def __init__(self, door: Door, clock: Callable[[], float] = time.monotonic) -> None:
        self._door = door
        self._clock = clock
        self._seen: dict[str, _Seen] = {}
        self._received: dict[str, float] = {}
        self._said_full = False

    async def once(self) -> tuple[Taken, ...]:
        """One look; what was taken in without a delivery. Raises LedgerUnavailable, StoreUnavailable.

        An object or a delivery that fails by itself is logged and tried again the next time.
        """
        listed = await self._list()
        self._remember(listed)
        if await self._is_full():
            return ()
        for delivery in await self._left_over():
            old = delivery.received_at < utcnow() - _HOPELESS
            await resume(delivery, self._door, give_up=old)
        taken = [await self._take_in(info) for info in listed if self._is_ready(info)]
        return tuple(each for each in taken if each is not None)

    async def _is_full(self) -> bool:
        """Everything stays where it is then, unread."""
        try:
            await self._door.clients.lanes.check_room()
        except QueueFull as err:
            if not self._said_full:
                logger.warning("manifests stay in the landing zone: %s", err)
            self._said_full = True
        else:
            self._said_full = False
        return self._said_full

    async def _list(self) -> list[ObjectInfo]:
        found: list[ObjectInfo] = []
        after: str | None = ""
        while after is not None:
            page = await self._door.clients.objects.list_objects(LANDING_BUCKET, MANIFESTS, after)
            found += [info for info in page.objects if is_manifest_key(info.key)]
            after = page.next_after
        return found

    async def _left_over(self) -> list[Delivery]:
        """Oldest first."""
        found: list[Delivery] = []
        page: Page | None = Page(limit=100)
        before = utcnow() - timedelta(seconds=OWN_TIME_SECONDS)
        now, seen = self._clock(), self._received
        self._received = {}
        while page is not None:
            part = await self._door.clients.ledger.list_deliveries("received", page)
            for each in part.items:
                since = self._received.setdefault(each.delivery_id, seen.get(each.delivery_id, now))
                # How long it was seen here is for one that came in through a host whose clock is ahead of ours.
                if each.received_at < before or now - since >= OWN_TIME_SECONDS:
                    found.append(each)
            page = Page(page.limit, part.next_cursor) if part.next_cursor else None
        return found[::-1]

    def _remember(self, listed: list[ObjectInfo]) -> None:
        now, before = self._clock(), self._seen
        self._seen = {}
        for info in listed:
            old = before.get(info.key)
            same = old is not None and (old.etag, old.size) == (info.etag, info.size)
            self._seen[info.key] = old if same and old is not None else _Seen(info.etag, info.size, now)

    def _is_ready(self, info: ObjectInfo) -> bool:
        seen = self._seen[info.key]
        if seen.done:
            return False
        # The second look is for a store whose clock is ahead of ours.
        age = (utcnow() - info.modified_at).total_seconds()
        return age >= _YOUNG or self._clock() - seen.since >= _YOUNG

    async def _take_in(self, info: ObjectInfo) -> Taken | None:
        seen = self._seen[info.key]
        settled = self._clock() - seen.since >= _UNFINISHED
        try:
            taken = await take_in(info.key, self._door, source="sweep", settled=settled)
        except Exception as err:
            # Once, not with every look; what we did not foresee with its traceback.
            if seen.said != repr(err):
                seen.said = repr(err)
                unforeseen = None if isinstance(err, DomainError) else err
                logger.warning("%s could not be taken in and is tried again: %s", info.key, err, exc_info=unforeseen)
            return None
        if taken is None:
            return None
        seen.done = taken.stays
        logger.info("%s: %s %s %s", info.key, taken.result, taken.batch_id or "", taken.detail)
        return taken
