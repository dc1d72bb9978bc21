"""Lanes: which of their runs may begin, and why a queued run waits."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from app.models.base import Frozen
from app.models.runs.run import Run, RunStatus

# In order of priority: the first reason that applies is shown.
WaitingFor = Literal["lane_paused", "dataset", "backoff", "lane_limit", "worker"]
# `default`: the limit of the settings.
LaneLimit = int | Literal["unlimited", "default"]


class LaneState(Frozen):
    """The settings of a lane in the ledger. limit: of runs under way, if `limit_is_set`; None: no limit."""

    lane: str
    paused: bool = False
    limit: int | None = None
    limit_is_set: bool = False

    def limit_or(self, default: int | None) -> int | None:
        """Return the limit of the lane, or the default, which is that of the settings."""
        return self.limit if self.limit_is_set else default


def held_back(run: Run, lane: LaneState, at: datetime) -> WaitingFor | None:
    """Return why a queued run cannot be claimed, apart from the limit of its lane, or None."""
    if lane.paused:
        return "lane_paused"
    if run.blocked:
        return "dataset"
    if run.not_before is not None and run.not_before > at:
        return "backoff"
    return None


def waiting_for(run: Run, lane: LaneState, *, limit: int | None, carried: int, at: datetime) -> WaitingFor | None:
    """Return why a queued run waits; None for other runs. carried: runs of the lane that are under way."""
    if run.status is not RunStatus.QUEUED:
        return None
    if reason := held_back(run, lane, at):
        return reason
    return "lane_limit" if limit is not None and carried >= limit else "worker"
