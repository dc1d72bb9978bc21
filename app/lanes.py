"""Lanes as one process sees them: the limits of its settings, and what the ledger says, looked at once a second."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from app.errors import QueueFull
from app.ledger import Ledger
from app.models.intents import LANES
from app.models.lane import LaneState, WaitingFor, waiting_for
from app.models.run import Run, RunStatus

# Seconds that a look may be old for those who only want to tell about it.
_FRESH = 1.0
CARRIED = frozenset({RunStatus.RUNNING, RunStatus.CANCELING})


@dataclass(frozen=True, slots=True)
class LaneRules:
    """What the settings say. limits: for lanes that nobody has given a limit in the ledger; none: no limit.

    max_queued: runs that are not over.
    """

    enabled: frozenset[str] = frozenset(LANES)
    limits: Mapping[str, int] = field(default_factory=dict)
    max_queued: int = 100_000


@dataclass(frozen=True, slots=True)
class LanesNow:
    """One look. carried: runs that are running or canceling, by lane."""

    rules: LaneRules
    states: Mapping[str, LaneState]
    queued: Mapping[str, int]
    carried: Mapping[str, int]

    def state(self, lane: str) -> LaneState:
        return self.states.get(lane) or LaneState(lane=lane)

    def limit(self, lane: str) -> int | None:
        return self.state(lane).limit_or(self.rules.limits.get(lane))

    def waiting_for(self, run: Run, at: datetime) -> WaitingFor | None:
        carried = self.carried.get(run.lane, 0)
        return waiting_for(run, self.state(run.lane), limit=self.limit(run.lane), carried=carried, at=at)


class Lanes:
    """Shared by all requests of a process."""

    def __init__(self, ledger: Ledger, rules: LaneRules) -> None:
        self.rules = rules
        self._ledger = ledger
        self._latest: LanesNow | None = None
        self._looked_at = 0.0
        self._accepted = 0
        self._turn = asyncio.Lock()

    async def now(self) -> LanesNow:
        """At most a second old, and one look for all who ask at once. Raises LedgerUnavailable."""
        async with self._turn:
            if self._latest is None or time.monotonic() - self._looked_at >= _FRESH:
                before = self._accepted
                self._latest = await self._look()
                # What is accepted during the look may be counted twice, until the next one.
                self._accepted -= before
                self._looked_at = time.monotonic()
            return self._latest

    async def check_room(self) -> None:
        """Raises QueueFull, LedgerUnavailable. Counts at most once a second, and in between what was accepted here."""
        now = await self.now()
        runs = sum(now.queued.values()) + sum(now.carried.values()) + self._accepted
        if runs >= self.rules.max_queued:
            raise QueueFull(
                f"{runs} runs wait or are under way; the queue takes {self.rules.max_queued}.",
                "Try again when some are over, add workers, or raise SPATIAL_ETL_QUEUE__MAX_QUEUED.",
            )

    def accepted(self) -> None:
        """One more, which the latest look has not seen."""
        self._accepted += 1

    def forget(self) -> None:
        """Whoever changed something here sees it with the next look."""
        self._latest = None

    async def _look(self) -> LanesNow:
        states = {state.lane: state for state in await self._ledger.list_lanes()}
        queued = await self._ledger.count_by_lane({RunStatus.QUEUED})
        return LanesNow(self.rules, states, queued, await self._ledger.count_by_lane(CARRIED))
