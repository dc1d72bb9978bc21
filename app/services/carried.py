"""Runs that somebody carries: whether that somebody is still there, and keeps to its time.

A worker on another host is judged by how long its lease has been seen unchanged on this process's own clock, never by
what the lease says: no two hosts need the same time, and a clock that jumps makes nobody look dead.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from app.models.attempt import AttemptEnd, Outcome
from app.models.run import Run, RunStatus
from app.processes import is_gone
from app.services.silence import Silence

# Seconds that a worker has, past the deadline of a cancel, to kill the job's process and say so.
_KILL_SECONDS = 5.0
# The same past the time limit, which the queue's own watch keeps a minute late.
_OVERTIME_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a run may go without a renewed lease, without an end once it is being canceled, and at all.

    queued_seconds: how long it may wait for a worker before that.
    """

    lease_seconds: float = 30
    cancel_seconds: float = 10
    time_limit_seconds: float = 3600
    queued_seconds: float = 2_592_000


@dataclass(frozen=True, slots=True)
class Verdict:
    """Why the attempt is over. stop_first: its worker may live, and is to be told through the queue before."""

    reason: str
    outcome: Outcome
    stop_first: bool = False

    @property
    def end(self) -> AttemptEnd:
        return AttemptEnd(outcome=self.outcome, detail=self.reason)


class CarriedRuns:
    """Keeps in memory what it saw of the runs that are carried; one `look` at all of them, then `verdict` of each."""

    def __init__(self, patience: Patience, clock: Callable[[], float] = time.monotonic) -> None:
        self._patience = patience
        # So that it takes some looks in a row to find somebody silent.
        step = patience.lease_seconds / 3
        self._leases = Silence(step, clock)
        self._attempts = Silence(step, clock)

    def look(self, runs: Iterable[Run]) -> None:
        carried = [run for run in runs if run.lease is not None]
        self._leases.look({run.run_id: (run.status, run.attempt, run.lease) for run in carried})
        self._attempts.look({run.run_id: run.attempt for run in carried})

    def verdict(self, run: Run) -> Verdict | None:
        """None: it may go on."""
        if run.lease is None or run.status not in (RunStatus.RUNNING, RunStatus.CANCELING):
            return None
        if is_gone(run.lease.owner):
            return Verdict("its worker is gone", Outcome.WORKER_LOST)
        if run.status is RunStatus.CANCELING:
            return self._late_cancel(run)
        if self._leases.seconds(run.run_id) >= self._patience.lease_seconds:
            return Verdict("its worker fell silent", Outcome.LEASE_LOST)
        return self._overtime(run)

    def _late_cancel(self, run: Run) -> Verdict | None:
        if self._leases.seconds(run.run_id) < self._patience.cancel_seconds + _KILL_SECONDS:
            return None
        return Verdict("it did not end in time although it was being canceled", Outcome.LEASE_LOST, stop_first=True)

    def _overtime(self, run: Run) -> Verdict | None:
        limit = self._patience.time_limit_seconds
        if self._attempts.seconds(run.run_id) < limit + _OVERTIME_SECONDS:
            return None
        reason = f"it went on past its time limit of {limit:g} s and nobody ended it"
        return Verdict(reason, Outcome.TIME_LIMIT, stop_first=True)
