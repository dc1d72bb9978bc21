"""A thread of the worker beside one job: it renews the lease, and kills the job's process past one of its limits.

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
from typing import Any, Self, TypeVar

from app.errors import DomainError
from app.jobs.death import cause_of_death
from app.jobs.oom_kills import oom_kills
from app.jobs.scratch import over_the_limit
from app.jobs.shared_state import job_state
from app.models.runs.attempt import AttemptEnd, AttemptOutcome
from app.settings import Settings
from app.system.disks import bytes_in
from app.system.logs import bind
from app.system.processes import beat

logger = logging.getLogger(__name__)

T = TypeVar("T")

ROLE = "worker"
# Seconds past the time limit until a job that the alarm does not reach (blocked in native code) is killed, and until
# one that it did reach must have cleaned up.
_ALARM_SECONDS, _CLEANING_SECONDS = 5.0, 60.0


class JobWatch:
    """A context manager around the wait for the job's process.

    Args:
        run_id: of the run that the job carries.
        time_limit: in seconds.
        settings: the other limits.
        renew: renews the lease. For a run that is being canceled it returns the seconds that are left instead.
        pid: of the job's process; 0 once it has ended.
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
        # Of a run that is being canceled.
        self._deadline: float | None = None
        self._failed_tasks: set[str] = set()
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
        """Of a job that ended without an outcome. status: as os.waitpid returns it; None if it is unknown."""
        if self._killed_for is not None:
            return self._killed_for
        now, before = oom_kills(), self._oom_kills[0]
        return cause_of_death(
            signal.SIGKILL if status is None else status,
            job_state.read(),
            memory_limit=self._settings.run.memory_limit_bytes,
            most_memory=most_memory,
            by_kernel=now is not None and before is not None and now > before,
        )

    def _watch(self) -> None:
        """Until the job is over. An error of one task is logged, and must keep neither the other nor the next round."""
        bind(run_id=self._run_id)
        while not self._over.wait(self._pause(self._deadline)):
            self._try(self._report_alive)
            if self._try(self._kill_past_limits):
                return
            self._try(self._renew_lease)

    def _try(self, task: Callable[[], T]) -> T | None:
        """What the task returns; None where it raised."""
        try:
            return task()
        except DomainError as err:
            logger.warning("run %s: the lease was not renewed: %s", self._run_id, err)
        except Exception:
            # A watch that ends renews no lease, so that a healthy attempt would be lost.
            if task.__name__ not in self._failed_tasks:
                self._failed_tasks.add(task.__name__)
                logger.exception("run %s: the watch failed in %s, and goes on", self._run_id, task.__name__)
        return None

    def _report_alive(self) -> None:
        beat(ROLE)
        # Each time: what the kernel killed an hour ago is unrelated to this job.
        self._oom_kills.append(oom_kills())

    def _kill_past_limits(self) -> bool:
        """Whether the job was killed."""
        end = self._past_its_limits(self._deadline)
        if end is None:
            return False
        bind(**(job_state.read().get("log_context") or {}))
        logger.warning("run %s: its process is killed: %s", self._run_id, end.detail)
        self._kill(end)
        return True

    def _renew_lease(self) -> None:
        left = asyncio.run(self._renew(self._run_id))
        # From when it was seen first: the clock may be set meanwhile.
        if self._deadline is None and left is not None:
            self._deadline = time.monotonic() + left

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
        state = job_state.read()
        place: dict[str, Any] = {"step": state.get("step"), "file": state.get("file")}
        if deadline is not None and deadline <= time.monotonic():
            detail = "it was asked to stop, and did not in time"
            return AttemptEnd(outcome=AttemptOutcome.CANCELED, detail=detail, **place)
        ignored, not_cleaned_up = self._ends_of_time()
        if self._seconds() >= (not_cleaned_up if state.get("alarmed") else ignored):
            detail = f"The attempt ran for more than {self._time_limit:g} s and did not react: its process was killed"
            return AttemptEnd(outcome=AttemptOutcome.TIME_LIMIT, detail=detail, **place)
        if (attempt := state.get("attempt")) is not None:
            # The job looks by itself between two batches; this is for long calls into a library.
            held, limit = bytes_in(self._settings.attempt_dir(self._run_id, attempt)), self._settings.run
            if held > limit.scratch_limit_bytes:
                err = over_the_limit(held, limit.scratch_limit_bytes)
                return AttemptEnd(outcome=AttemptOutcome.SCRATCH_LIMIT, detail=err.detail, fix=err.fix, **place)
        return None

    def _kill(self, end: AttemptEnd) -> None:
        # Not RQ's kill_horse: between its two looks at the pid the job may end, and 0 would be this worker's own group.
        if pid := self._pid():
            self._killed_for = end
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)
