"""Beside one job, in its worker: the lease is renewed, and the job's process killed when it is over one of its limits.

The thread lives between two forks only: a child forked while a thread holds a lock would never get it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import Any, Self

from app.disks import bytes_in
from app.errors import DomainError
from app.jobs.death import cause_of_death
from app.jobs.notes import notes
from app.jobs.oom_kills import oom_kills
from app.jobs.scratch import over_the_limit
from app.logs import bind
from app.models.attempt import AttemptEnd, Outcome
from app.processes import beat
from app.settings import Settings

logger = logging.getLogger(__name__)

ROLE = "worker"
# Seconds past the time limit until a job that the alarm does not reach (blocked in native code) is killed, and until
# one that it did reach must have cleaned up.
_ALARM_SECONDS, _CLEANING_SECONDS = 5.0, 60.0


class JobWatch:
    """A context manager around the wait for the job's process.

    renew: renews the lease; of a run that is being canceled, the seconds that it has left. pid: 0 once it ended.
    """

    def __init__(
        self,
        run_id: str,
        time_limit: float,
        settings: Settings,
        renew: Callable[[str], Coroutine[Any, Any, float | None]],
        pid: Callable[[], int],
    ) -> None:
        self._run_id, self._time_limit = run_id, time_limit
        self._settings, self._renew, self._pid = settings, renew, pid
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._killed_for: AttemptEnd | None = None
        # Of the last two looks: the job may have died before the last one.
        self._oom_kills: deque[int | None] = deque(maxlen=2)

    def __enter__(self) -> Self:
        self._began = time.monotonic()
        self._oom_kills.append(oom_kills())
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, err: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()

    def cause_of_death(self, status: int | None, most_memory: int) -> AttemptEnd:
        """Of a job that ended without saying so. status: as os.waitpid gives it, None where nobody waited for it."""
        if self._killed_for is not None:
            return self._killed_for
        now, before = oom_kills(), self._oom_kills[0]
        return cause_of_death(
            signal.SIGKILL if status is None else status,
            notes.read(),
            memory_limit=self._settings.run.memory_limit_bytes,
            most_memory=most_memory,
            by_kernel=now is not None and before is not None and now > before,
        )

    def _watch(self) -> None:
        bind(run_id=self._run_id)
        deadline: float | None = None
        pause = self._pause(None)
        while not self._over.wait(pause):
            beat(ROLE)
            # Each time: what the kernel killed an hour ago says nothing about this job.
            self._oom_kills.append(oom_kills())
            end = self._past_its_limits(deadline)
            if end is not None:
                bind(**(notes.read().get("at_hand") or {}))
                logger.warning("run %s: its process is killed: %s", self._run_id, end.detail)
                self._kill(end)
                return
            try:
                left = asyncio.run(self._renew(self._run_id))
                # From when it was seen first: the clock may be set meanwhile.
                deadline = deadline if deadline is not None or left is None else time.monotonic() + left
            except DomainError as err:
                logger.warning("run %s: the lease was not renewed: %s", self._run_id, err)
            pause = self._pause(deadline)

    def _pause(self, deadline: float | None) -> float:
        pauses = [self._settings.run.heartbeat_seconds]
        if deadline is not None:
            pauses.append(deadline - time.monotonic())
        pauses += [left for left in (each - self._seconds() for each in self._ends_of_time()) if left > 0]
        return max(0.0, min(pauses))

    def _seconds(self) -> float:
        return time.monotonic() - self._began

    def _ends_of_time(self) -> tuple[float, float]:
        return self._time_limit + _ALARM_SECONDS, self._time_limit + _CLEANING_SECONDS

    def _past_its_limits(self, deadline: float | None) -> AttemptEnd | None:
        found = notes.read()
        at_hand: dict[str, Any] = {"step": found.get("step"), "file": found.get("file")}
        if deadline is not None and deadline <= time.monotonic():
            detail = "it was asked to stop, and did not in time"
            return AttemptEnd(outcome=Outcome.CANCELED, detail=detail, **at_hand)
        unheard, uncleaned = self._ends_of_time()
        if self._seconds() >= (uncleaned if found.get("alarmed") else unheard):
            detail = f"The attempt ran for more than {self._time_limit:g} s and did not react: its process was killed"
            return AttemptEnd(outcome=Outcome.TIME_LIMIT, detail=detail, **at_hand)
        if (attempt := found.get("attempt")) is not None:
            # The job looks by itself between two batches; this is for long calls into a library.
            held, limit = bytes_in(self._settings.attempt_dir(self._run_id, attempt)), self._settings.run
            if held > limit.scratch_limit_bytes:
                err = over_the_limit(held, limit.scratch_limit_bytes)
                return AttemptEnd(outcome=Outcome.SCRATCH_LIMIT, detail=err.detail, fix=err.fix, **at_hand)
        return None

    def _kill(self, end: AttemptEnd) -> None:
        # Not RQ's kill_horse: between its two looks at the pid the job may end, and 0 would be this worker's own group.
        if pid := self._pid():
            self._killed_for = end
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)
