"""Turns, lanes and the claim in MongoDB; see `app.ledger.lanes` for what each method promises.

A lane with a limit counts by slots: the ids of the runs that may be carried, in the lane's own document, so that one
compare-and-set decides who gets the last one. A run takes its slot before it is claimed and gives it back when it is no
longer carried; `settle_lanes` mends what a process left undone that died, or slept, between the two.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection as Several
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from app.ledger import Guard
from app.ledger.lanes import Claim, changed_lane, claim_changes
from app.ledger.told import NOTHING, Told
from app.models.base import utcnow
from app.models.lane import LaneLimit, LaneState, held_back
from app.models.run import Lease, Run, RunStatus
from app.storage.ledger_rules import plain_text
from app.storage.mongo_database import Collection
from app.storage.mongo_documents import Document, milliseconds, run_from
from app.storage.mongo_told import PENDING, Telling
from app.storage.mongo_turns import OLDEST_RUN, Turns

CARRIED = {"$in": [RunStatus.RUNNING.value, RunStatus.CANCELING.value]}


class MongoLanes(ABC):
    """The part of the MongoDB ledger that says which run may begin."""

    _runs: Collection
    _lanes: Collection
    _turns: Turns
    _telling: Telling

    @abstractmethod
    async def get_run(self, run_id: str) -> Run | None: ...

    @abstractmethod
    async def change_run(self, run_id: str, guard: Guard, **changes: Any) -> Run | None: ...

    async def claim_run(self, run_id: str, attempt: int, lease: Lease, *, at: datetime, limit: int | None) -> Claim:
        run = await self.get_run(run_id)
        if run is None or run.status is not RunStatus.QUEUED or run.attempt != attempt:
            return Claim()
        lane = await self._lane(run.lane)
        # The turn is never taken back, so what is read here still holds when the run is written.
        if reason := held_back(run, lane, at):
            return Claim(waiting_for=reason)
        most = lane.limit_or(limit)
        if most is not None and not await self._take_slot(run, most):
            return Claim(waiting_for="lane_limit")
        guard = Guard(frozenset({RunStatus.QUEUED}), attempt=attempt)
        claimed = await self.change_run(run_id, guard, **claim_changes(attempt, lease, at))
        if claimed is None and most is not None:
            await self._settle_lane(run.lane)
        return Claim(claimed)

    async def list_ready_runs(self, lane: str, at: datetime, limit: int) -> tuple[Run, ...]:
        query: Document = {"status": RunStatus.QUEUED.value, "lane": plain_text(lane), "blocked": False}
        query["due_at"] = {"$lte": milliseconds(at)}
        return tuple(run_from(each) for each in await self._runs.many(query, OLDEST_RUN, limit))

    async def get_writer(self, dataset_id: str) -> Run | None:
        turn = await self._turns.writers.one({"_id": plain_text(dataset_id)})
        found = None if turn is None else await self._runs.one({"_id": turn["run_id"]})
        return None if found is None or RunStatus(found["status"]).is_final else run_from(found)

    async def count_by_lane(self, statuses: Several[RunStatus]) -> Mapping[str, int]:
        where = {"status": {"$in": [status.value for status in statuses]}}
        found = await self._runs.grouped("lane", {"runs": {"$sum": 1}}, where)
        return {each["_id"]: each["runs"] for each in found}

    async def list_lanes(self) -> tuple[LaneState, ...]:
        found = [_state(each) for each in await self._lanes.many({}, (("_id", 1),))]
        return tuple(each for each in found if each.paused or each.limit_is_set)

    async def change_lane(
        self, lane: str, told: Told = NOTHING, *, paused: bool | None = None, limit: LaneLimit | None = None
    ) -> LaneState:
        changed_lane(LaneState(lane=lane), paused, limit)
        key, mark = plain_text(lane), await self._telling.mark(told)

        def changed(document: Document) -> Document | None:
            if mark and PENDING in document:
                return None
            return document | changed_lane(_state(document), paused, limit).model_dump() | mark

        await self._make_lane(lane)
        while (new := await self._lanes.change(key, changed)) is None:
            # What came before is told first; nobody removes a lane.
            await self._telling.finish(self._lanes, await self._lanes.one({"_id": key}) or {})
        if mark:
            await self._telling.finish(self._lanes, new)
        # Runs that were claimed before there was a limit count too.
        await self._settle_lane(lane)
        return _state(new)

    async def give_back_slot(self, run: Run) -> None:
        """Of a run that is no longer carried."""
        key = plain_text(run.run_id)

        def without(document: Document) -> Document | None:
            slots = [each for each in document["slots"] if each != key]
            return document | {"slots": slots} if len(slots) < len(document["slots"]) else None

        await self._lanes.change(plain_text(run.lane), without)

    async def settle_lanes(self) -> None:
        for lane in await self._lanes.many({}):
            await self._settle_lane(lane["_id"])

    async def _settle_lane(self, lane: str) -> None:
        """Who is carried has a slot; who is over, or in its back-off, has none. One that waits may be just claimed."""
        key = plain_text(lane)
        found = await self._lanes.one({"_id": key})
        if found is None or not (found["slots"] or found["limit_is_set"]):
            return
        carried = {each["_id"] for each in await self._runs.many({"lane": key, "status": CARRIED})}
        others = sorted(set(found["slots"]) - carried)
        waiting = {"_id": {"$in": others}, "status": RunStatus.QUEUED.value, "due_at": {"$lte": milliseconds(utcnow())}}
        claiming = {each["_id"] for each in await self._runs.many(waiting)} if others else set()
        slots = sorted(carried | claiming)

        def settled(document: Document) -> Document | None:
            is_same = document["writes"] == found["writes"] and sorted(document["slots"]) != slots
            return document | {"slots": slots} if is_same else None

        await self._lanes.change(key, settled)

    async def _take_slot(self, run: Run, limit: int) -> bool:
        """Whether the run has one now."""
        key = plain_text(run.run_id)
        await self._make_lane(run.lane)

        def taken(document: Document) -> Document | None:
            if key in document["slots"]:
                return document
            return document | {"slots": [*document["slots"], key]} if len(document["slots"]) < limit else None

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
