"""Lanes: what runs of a lane may begin, and why a queued run waits."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from app.models.base import Frozen
from app.models.run import Run, RunStatus

# In the order in which they are told: the first that holds is what a reader can do something about.
WaitingFor = Literal["lane_paused", "dataset", "backoff", "lane_limit", "worker"]
# What may be set; `default`: what the settings say.
LaneLimit = int | Literal["unlimited", "default"]


class LaneState(Frozen):
    """What somebody has set for a lane. limit: runs that may be carried at once, where `limit_is_set` (None: any)."""

    lane: str
    paused: bool = False
    limit: int | None = None
    limit_is_set: bool = False

    def limit_or(self, default: int | None) -> int | None:
        """The limit that counts; default: of the settings."""
        return self.limit if self.limit_is_set else default


def held_back(run: Run, lane: LaneState, at: datetime) -> WaitingFor | None:
    """What keeps a queued run from being claimed, the lane's limit aside."""
    if lane.paused:
        return "lane_paused"
    if run.blocked:
        return "dataset"
    if run.not_before is not None and run.not_before > at:
        return "backoff"
    return None


def waiting_for(run: Run, lane: LaneState, *, limit: int | None, carried: int, at: datetime) -> WaitingFor | None:
    """Of a queued run; None for any other. carried: runs of the lane that are running or canceling."""
    if run.status is not RunStatus.QUEUED:
        return None
    if reason := held_back(run, lane, at):
        return reason
    return "lane_limit" if limit is not None and carried >= limit else "worker"
