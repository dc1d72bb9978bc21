"""Lanes, and the claim of a run, in MongoDB.

A lane with a limit has slots: the attempts under way (`RUN:ATTEMPT`), in the document of the lane, so that one
compare-and-set decides which attempt gets the last slot. An attempt takes its slot before it is claimed and releases
it when it is over. A process that was suspended and releases late cannot release the slot of the next attempt, because
that has another name. The next attempt takes over a slot of the same run that is not released yet.

`repair_all_slots` corrects the slots after a process died, or was suspended, between the two.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from app.ledger import Guard
from app.ledger.outbox import NOTHING, Outbox
from app.ledger.scheduling import Claim, changed_lane, claim_changes
from app.models.base import utcnow
from app.models.runs.lane import LaneLimit, LaneState, held_back
from app.models.runs.run import UNDER_WAY, Lease, Run, RunStatus
from app.storage.mongo.base import MongoBase
from app.storage.mongo.dataset_queue import OLDEST_RUN
from app.storage.mongo.documents import Document, milliseconds, run_from
from app.storage.mongo.outbox import PENDING
from app.storage.shared.ledger_rules import plain_text


class MongoScheduling(MongoBase):
    """`app.ledger.scheduling.SchedulingLedger` in MongoDB."""

    @abstractmethod
    async def get_run(self, run_id: str) -> Run | None: ...

    @abstractmethod
    async def change_run(self, run_id: str, guard: Guard, **changes: Any) -> Run | None: ...

    async def claim_run(self, run_id: str, attempt: int, lease: Lease, *, at: datetime, limit: int | None) -> Claim:
        run = await self.get_run(run_id)
        if run is None or run.status is not RunStatus.QUEUED or run.attempt != attempt:
            return Claim()
        lane = await self._lane(run.lane)
        # A run that is not blocked never becomes blocked, so this still holds when the run is written.
        if reason := held_back(run, lane, at):
            return Claim(waiting_for=reason)
        maximum = lane.limit_or(limit)
        if maximum is not None and not await self._take_slot(run, maximum):
            return Claim(waiting_for="lane_limit")
        guard = Guard(frozenset({RunStatus.QUEUED}), attempt=attempt)
        claimed = await self.change_run(run_id, guard, **claim_changes(attempt, lease, at))
        if claimed is None and maximum is not None:
            await self._repair_slots(run.lane)
        return Claim(claimed)

    async def list_ready_runs(self, lane: str, at: datetime, limit: int) -> tuple[Run, ...]:
        query: Document = {"status": RunStatus.QUEUED.value, "lane": plain_text(lane), "blocked": False}
        query["due_at"] = {"$lte": milliseconds(at)}
        return tuple(run_from(each) for each in await self._runs.many(query, OLDEST_RUN, limit))

    async def get_writer(self, dataset_id: str) -> Run | None:
        writer = await self._dataset_queue.writers.one({"_id": plain_text(dataset_id)})
        found = None if writer is None else await self._runs.one({"_id": writer["run_id"]})
        return None if found is None or RunStatus(found["status"]).is_final else run_from(found)

    async def count_by_lane(self, statuses: Iterable[RunStatus]) -> Mapping[str, int]:
        where = {"status": {"$in": [status.value for status in statuses]}}
        found = await self._runs.grouped("lane", {"runs": {"$sum": 1}}, where)
        return {each["_id"]: each["runs"] for each in found}

    async def list_lanes(self) -> tuple[LaneState, ...]:
        found = [_state(each) for each in await self._lanes.many({}, (("_id", 1),))]
        return tuple(each for each in found if each.paused or each.limit_is_set)

    async def change_lane(
        self, lane: str, outbox: Outbox = NOTHING, *, paused: bool | None = None, limit: LaneLimit | None = None
    ) -> LaneState:
        changed_lane(LaneState(lane=lane), paused, limit)
        key, mark = plain_text(lane), await self._outbox.mark(outbox)

        def changed(document: Document) -> Document | None:
            if mark and PENDING in document:
                return None
            return document | changed_lane(_state(document), paused, limit).model_dump() | mark

        await self._make_lane(lane)
        while (new := await self._lanes.change(key, changed)) is None:
            # Write the outbox of the change before first. Lanes are never removed.
            await self._outbox.finish(self._lanes, await self._lanes.one({"_id": key}) or {})
        if mark:
            await self._outbox.finish(self._lanes, new)
        # Runs that were claimed before there was a limit count too.
        await self._repair_slots(lane)
        return _state(new)

    async def release_slot(self, run: Run) -> None:
        """Release the slot of an attempt that is over, and those before it; of a run that is over, all."""
        last = None if run.status.is_final else run.attempt

        def without(document: Document) -> Document | None:
            slots = _without_attempts(document["slots"], plain_text(run.run_id), last)
            return document | {"slots": slots} if len(slots) < len(document["slots"]) else None

        await self._lanes.change(plain_text(run.lane), without)

    async def repair_all_slots(self) -> None:
        """Correct the slots of all lanes."""
        for lane in await self._lanes.many({}):
            await self._repair_slots(lane["_id"])

    async def _repair_slots(self, lane: str) -> None:
        """Give slots to the attempts under way only. A queued run keeps that of its next one: it may be claimed now."""
        key = plain_text(lane)
        found = await self._lanes.one({"_id": key})
        if found is None or not (found["slots"] or found["limit_is_set"]):
            return
        # Queued runs first: one that is claimed between the two reads is in both.
        others = sorted({_run_of(slot) for slot in found["slots"]})
        waiting = {"_id": {"$in": others}, "status": RunStatus.QUEUED.value, "due_at": {"$lte": milliseconds(utcnow())}}
        queued = await self._runs.many(waiting) if others else []
        claiming = {_slot(each["_id"], each["attempt"] + 1) for each in queued} & set(found["slots"])
        statuses = {"$in": [status.value for status in UNDER_WAY]}
        running = await self._runs.many({"lane": key, "status": statuses})
        slots = sorted(claiming | {_slot(each["_id"], each["attempt"]) for each in running})

        def settled(document: Document) -> Document | None:
            is_same = document["writes"] == found["writes"] and sorted(document["slots"]) != slots
            return document | {"slots": slots} if is_same else None

        await self._lanes.change(key, settled)

    async def _take_slot(self, run: Run, limit: int) -> bool:
        """Take a slot for the next attempt of the run; False when the lane is full."""
        key, slot = plain_text(run.run_id), _slot(plain_text(run.run_id), run.attempt + 1)
        await self._make_lane(run.lane)

        def taken(document: Document) -> Document | None:
            if slot in document["slots"]:
                return document
            # The attempts before are over, because the run is queued.
            others = _without_attempts(document["slots"], key, run.attempt)
            return document | {"slots": [*others, slot]} if len(others) < limit else None

        return await self._lanes.change(plain_text(run.lane), taken) is not None

    async def _lane(self, lane: str) -> LaneState:
        found = await self._lanes.one({"_id": plain_text(lane)})
        return LaneState(lane=lane) if found is None else _state(found)

    async def _make_lane(self, lane: str) -> None:
        key = plain_text(lane)
        if await self._lanes.one({"_id": key}) is None:
            await self._lanes.add({"_id": key, "writes": 1, "slots": []} | LaneState(lane=key).model_dump())


def _state(document: Document) -> LaneState:
    return LaneState.model_validate({name: document[name] for name in LaneState.model_fields})


def _slot(run_key: str, attempt: int) -> str:
    return f"{run_key}:{attempt}"


def _run_of(slot: str) -> str:
    return slot.rpartition(":")[0]


def _without_attempts(slots: list[str], run_key: str, last: int | None) -> list[str]:
    """The slots without those of this run up to the attempt `last`; None: without all of the run."""

    def stays(slot: str) -> bool:
        return _run_of(slot) != run_key or (last is not None and int(slot.rpartition(":")[2]) > last)

    return [slot for slot in slots if stays(slot)]
