"""The lanes as one process sees them: limits of its settings, and counts of the ledger that are read once a second."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from app.errors import QueueFull
from app.ledger import Ledger
from app.models.intents import LANES
from app.models.runs.lane import LaneState, WaitingFor, waiting_for
from app.models.runs.run import UNDER_WAY, Run, RunStatus

# Seconds for which a snapshot is used.
_FRESH = 1.0


@dataclass(frozen=True, slots=True)
class LaneRules:
    """The settings of lanes.

    Attributes:
        enabled: the lanes that take manifests.
        limits: for lanes without a limit in the ledger; a lane in neither has no limit.
        max_queued: how many runs may be queued or under way.
    """

    enabled: frozenset[str] = frozenset(LANES)
    limits: Mapping[str, int] = field(default_factory=dict)
    max_queued: int = 100_000


@dataclass(frozen=True, slots=True)
class LaneSnapshot:
    """The lanes at one moment. queued, under_way: numbers of runs by lane; canceling ones are under way."""

    rules: LaneRules
    states: Mapping[str, LaneState]
    queued: Mapping[str, int]
    under_way: Mapping[str, int]

    def state(self, lane: str) -> LaneState:
        return self.states.get(lane) or LaneState(lane=lane)

    def limit(self, lane: str) -> int | None:
        return self.state(lane).limit_or(self.rules.limits.get(lane))

    def waiting_for(self, run: Run, at: datetime) -> WaitingFor | None:
        under_way = self.under_way.get(run.lane, 0)
        return waiting_for(run, self.state(run.lane), limit=self.limit(run.lane), carried=under_way, at=at)


class Lanes:
    """Shared by all requests of a process."""

    def __init__(self, ledger: Ledger, rules: LaneRules) -> None:
        self.rules = rules
        self._ledger = ledger
        self._latest: LaneSnapshot | None = None
        self._read_at = 0.0
        self._accepted = 0
        self._reading = asyncio.Lock()

    async def now(self) -> LaneSnapshot:
        """At most a second old; concurrent callers share one read. Raises LedgerUnavailable."""
        async with self._reading:
            if self._latest is None or time.monotonic() - self._read_at >= _FRESH:
                before = self._accepted
                self._latest = await self._read()
                # Runs accepted during the read may be counted twice, until the next one.
                self._accepted -= before
                self._read_at = time.monotonic()
            return self._latest

    async def check_room(self) -> None:
        """Raises QueueFull, LedgerUnavailable. Between two reads it adds what was accepted in this process."""
        now = await self.now()
        runs = sum(now.queued.values()) + sum(now.under_way.values()) + self._accepted
        if runs >= self.rules.max_queued:
            raise QueueFull(
                f"{runs} runs wait or are under way; the queue takes {self.rules.max_queued}.",
                "Try again later, add workers, or raise SPATIAL_ETL_QUEUE__MAX_QUEUED.",
            )

    def accepted(self) -> None:
        """Count a run that the latest read did not include."""
        self._accepted += 1

    def forget(self) -> None:
        """Read again at the next call, after a change."""
        self._latest = None

    async def _read(self) -> LaneSnapshot:
        states = {state.lane: state for state in await self._ledger.list_lanes()}
        queued = await self._ledger.count_by_lane({RunStatus.QUEUED})
        return LaneSnapshot(self.rules, states, queued, await self._ledger.count_by_lane(UNDER_WAY))
