"""Finds attempts whose worker is dead, or does not keep to its time limits.

A worker on another host counts as dead when its lease was seen unchanged for too long on the clock of this process.
The time in the lease is not used: clocks of hosts differ, and a clock that jumps would make healthy workers look dead.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from app.models.runs.attempt import AttemptEnd, AttemptOutcome
from app.models.runs.run import UNDER_WAY, Run, RunStatus
from app.services.sweep.idle_timer import IdleTimer
from app.system.processes import is_gone

# Seconds that a worker has after the deadline of a cancel to kill the job's process and write its end.
_KILL_SECONDS = 5.0
# The same after the time limit, which the worker enforces up to a minute late.
_OVERTIME_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class LeaseTimeouts:
    """Deadlines of a run.

    Attributes:
        lease_seconds: without a renewal of its lease.
        cancel_seconds: from the request of a cancel to its end.
        time_limit_seconds: of an attempt.
        queued_seconds: until a worker takes it.
    """

    lease_seconds: float = 30
    cancel_seconds: float = 10
    time_limit_seconds: float = 3600
    queued_seconds: float = 2_592_000

    @property
    def silence_seconds(self) -> float:
        """How long leases must be watched to find every worker that is dead or does not cancel in time."""
        return max(self.lease_seconds, self.cancel_seconds + _KILL_SECONDS)


@dataclass(frozen=True, slots=True)
class DeadAttempt:
    """Why an attempt is over. stop_first: its worker may be alive, and is asked to stop through the queue before."""

    reason: str
    outcome: AttemptOutcome
    stop_first: bool = False

    @property
    def end(self) -> AttemptEnd:
        return AttemptEnd(outcome=self.outcome, detail=self.reason)


class DeadAttemptDetector:
    """Call `look` with all runs under way, then `find` for each. Remembers how long each lease was unchanged."""

    def __init__(self, timeouts: LeaseTimeouts, clock: Callable[[], float] = time.monotonic) -> None:
        self._timeouts = timeouts
        # At least three looks in a row before a lease counts as expired.
        step = timeouts.lease_seconds / 3
        self._leases = IdleTimer(step, clock)
        self._attempts = IdleTimer(step, clock)

    def look(self, runs: Iterable[Run]) -> None:
        leased = [run for run in runs if run.lease is not None]
        self._leases.look({run.run_id: (run.status, run.attempt, run.lease) for run in leased})
        self._attempts.look({run.run_id: run.attempt for run in leased})

    def find(self, run: Run) -> DeadAttempt | None:
        """Why the attempt of the run is over; None: it is alive."""
        if run.lease is None or run.status not in UNDER_WAY:
            return None
        if is_gone(run.lease.owner):
            return DeadAttempt("its worker is gone", AttemptOutcome.WORKER_LOST)
        if run.status is RunStatus.CANCELING:
            return self._late_cancel(run)
        if self._leases.seconds(run.run_id) >= self._timeouts.lease_seconds:
            return DeadAttempt("its worker fell silent", AttemptOutcome.LEASE_LOST)
        return self._overtime(run)

    def _late_cancel(self, run: Run) -> DeadAttempt | None:
        if self._leases.seconds(run.run_id) < self._timeouts.cancel_seconds + _KILL_SECONDS:
            return None
        return DeadAttempt(
            "it did not end in time although it was being canceled", AttemptOutcome.LEASE_LOST, stop_first=True
        )

    def _overtime(self, run: Run) -> DeadAttempt | None:
        limit = self._timeouts.time_limit_seconds
        if self._attempts.seconds(run.run_id) < limit + _OVERTIME_SECONDS:
            return None
        reason = f"it ran past its time limit of {limit:g} s and was not stopped"
        return DeadAttempt(reason, AttemptOutcome.TIME_LIMIT, stop_first=True)
