"""The worker: one process that waits on one queue and forks a job's process for every run.

The parent imports the heavy modules once and uses none of them (GDAL and Arrow hang in a child forked after use). It
opens a ledger only for the moment of a heartbeat. The heartbeat is the parent's, not the job's: a long call into GDAL
that holds the interpreter lock would silence a thread of the job's own.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import logging
import os
import resource
import shutil
import signal
import threading
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, Never, TypeVar

from anyio.from_thread import start_blocking_portal
from redis.exceptions import RedisError
from rq import Queue, Worker, get_current_job
from rq.job import Job
from rq.serializers import JSONSerializer
from rq.timeouts import JobTimeoutException, UnixSignalDeathPenalty

from app.clients import open_clients, open_ledger, prepare_clients
from app.errors import DomainError, TimeLimitExceeded
from app.jobs.confinement import confine_job, confine_readers, forget_environment
from app.jobs.notes import notes
from app.jobs.places import linked_places, needed_variables, server_files, server_ports
from app.jobs.watch import ROLE, JobWatch
from app.ledger import Guard
from app.lifecycle import attempt_died
from app.logs import bound, configure
from app.models.attempt import AttemptEnd
from app.models.base import new_id, utcnow
from app.models.intents import pipelines
from app.models.run import Lease, RunStatus
from app.pipelines.formats.gdal_options import ENVIRONMENT
from app.processes import beat, blame_for_memory, die_with_parent, process_name
from app.queue import PLAN_JOB, check_connection, connect, plan_id_of, redis_url
from app.settings import Settings

logger = logging.getLogger(__name__)

T = TypeVar("T")

# Between two looks whether what a worker needs is there yet.
_LOOK_EVERY = 2.0

# How long a stopped worker without a job waits for a queue that is away.
_FAREWELL_SECONDS = 8.0

_NICENESS = 10

_CARRIED = frozenset({RunStatus.RUNNING, RunStatus.CANCELING})

# Set by `run_worker` in the parent, found by `execute` in the forked child: RQ hands a job its arguments only.
_state: dict[str, Any] = {}


class TimeLimit(UnixSignalDeathPenalty):
    """RQ's alarm for the job's time limit, raised as an error of ours."""

    def handle_death_penalty(self, _signum: int, _frame: Any) -> Never:
        if self._exception is JobTimeoutException:
            notes.write(alarmed=True)
            raise TimeLimitExceeded(
                f"The attempt ran for more than {self._timeout} s.",
                "Split the file, or raise SPATIAL_ETL_RUN__TIME_LIMIT_SECONDS.",
            )
        raise self._exception(f"more than {self._timeout} s")


class RunWorker(Worker):
    """RQ's forking worker, with the ledger's lease renewed while a job runs and its death told to the ledger."""

    death_penalty_class = TimeLimit

    def __init__(self, settings: Settings, owner: str) -> None:
        connection = connect(redis_url(settings), patient=True)
        queue = Queue(
            settings.queue.name, connection=connection, serializer=JSONSerializer, death_penalty_class=TimeLimit
        )
        super().__init__(
            [queue],
            connection=connection,
            serializer=JSONSerializer,
            job_monitoring_interval=max(1, int(settings.run.heartbeat_seconds)),
            worker_ttl=20,
            maintenance_interval=5,
            work_horse_killed_handler=self._job_died,
        )
        self._settings = settings
        self._owner = owner
        self._parent = os.getpid()
        # Ends of attempts that the ledger did not take yet. The sweep moves their runs on where this worker dies.
        self._unsaid: dict[str, AttemptEnd] = {}

    def main_work_horse(self, job: Job, queue: Queue) -> None:
        die_with_parent(self._parent)
        notes.clear()
        self._unsaid.clear()
        blame_for_memory()
        # Whoever asks the API, or waits for a heartbeat, goes first.
        os.nice(_NICENESS)
        memory = self._settings.run.memory_limit_bytes
        resource.setrlimit(resource.RLIMIT_DATA, (memory, memory))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        confine_job(self._settings.data_dir, *linked_places(self._settings))
        super().main_work_horse(job, queue)

    def request_stop(self, signum: Any, frame: Any) -> None:
        threading.Thread(target=self._leave_in_time, daemon=True).start()
        super().request_stop(signum, frame)  # type: ignore[no-untyped-call] # RQ annotates nothing here

    def _leave_in_time(self) -> None:
        """RQ keeps its books in Redis and waits for one that is away: without a job at hand, some seconds are enough.

        A job's process that has nothing but RQ's books to do goes with its parent.
        """
        idle_since = time.monotonic()
        while time.monotonic() - idle_since < _FAREWELL_SECONDS:
            time.sleep(0.5)
            if self.horse_pid and not notes.done:
                idle_since = time.monotonic()
        logger.warning("the queue does not answer: the worker stops without a word to it")
        os._exit(0)

    def heartbeat(self, timeout: int | None = None, pipeline: Any = None) -> None:
        beat(ROLE)
        for run_id in list(self._unsaid):
            self._say_end(run_id, self._unsaid.pop(run_id))
        super().heartbeat(timeout, pipeline)

    def maintain_heartbeats(self, job: Job, execution: Any) -> None:
        try:
            super().maintain_heartbeats(job, execution)
        except RedisError as err:
            # The job needs the ledger, not the queue: it goes on.
            logger.warning("run %s: the queue got no heartbeat (%s)", job.description, type(err).__name__)

    def monitor_work_horse(self, job: Job, queue: Queue, execution: Any) -> None:
        """Beside RQ's own heartbeats, which wait while Redis is away, the run has a watch of its own."""
        if job.func_name == PLAN_JOB:
            try:
                super().monitor_work_horse(job, queue, execution)
            finally:
                # Its process does so itself unless it was killed.
                shutil.rmtree(self._settings.plan_dir(plan_id_of(job.id)), ignore_errors=True)
            return
        seconds = float(job.timeout or self._settings.run.time_limit_seconds)
        self._watch = JobWatch(job.args[0], seconds, self._settings, self._renew, lambda: self.horse_pid)
        with self._watch:
            super().monitor_work_horse(job, queue, execution)
        self._clear_scratch(job.args[0])
        if (end := notes.read().get("end")) is not None:
            # The job could not tell the ledger, which may be back by now.
            self._say_end(job.args[0], AttemptEnd.model_validate(end))

    def _clear_scratch(self, run_id: str) -> None:
        """What the job left that this worker has seen end: it was killed, whatever the ledger says by now."""
        for directory in self._settings.scratch_dir.glob(f"{run_id}.*"):
            with contextlib.suppress(OSError):
                if (directory / ".owner").read_text() == self._owner:
                    shutil.rmtree(directory, ignore_errors=True)

    async def _renew(self, run_id: str) -> float | None:
        """Seconds until the run has to be over, if it is being canceled: that lease is its deadline, and not renewed.

        Never more than a cancel is given, whatever the clock of the host says that was asked for it.
        """
        lease = Lease(owner=self._owner, expires_at=utcnow() + timedelta(seconds=self._settings.run.lease_seconds))
        # Nothing but the ledger: a client of S3 alone takes a tenth of a second and thirty megabytes to open.
        async with open_ledger(self._settings) as ledger:
            guard = Guard(frozenset({RunStatus.RUNNING}), lease_owner=self._owner)
            if await ledger.change_run(run_id, guard, lease=lease) is not None:
                return None
            run = await ledger.get_run(run_id)
        if run is None or run.status is not RunStatus.CANCELING or run.lease is None:
            return None
        if run.lease.owner != self._owner:
            return None
        return min((run.lease.expires_at - utcnow()).total_seconds(), self._settings.run.cancel_seconds)

    def _job_died(self, job: Job, _pid: int | None, status: int | None, usage: Any) -> None:
        if job.func_name == PLAN_JOB:
            return
        # In kilobytes, on Linux.
        most_memory = usage.ru_maxrss * 1024 if usage is not None else 0
        self._say_end(job.args[0], self._watch.cause_of_death(status, most_memory))

    def _say_end(self, run_id: str, end: AttemptEnd) -> None:
        with bound(run_id=run_id):
            self._try_to_say_end(run_id, end)

    def _try_to_say_end(self, run_id: str, end: AttemptEnd) -> None:
        try:
            asyncio.run(self._give_up(run_id, end))
        except DomainError as err:
            self._unsaid[run_id] = end
            logger.warning("run %s: its end is said later: %s", run_id, err)

    async def _give_up(self, run_id: str, end: AttemptEnd) -> None:
        async with open_clients(self._settings) as clients:
            run = await clients.ledger.get_run(run_id)
            if run is None or run.status not in _CARRIED or run.lease is None or run.lease.owner != self._owner:
                return
            await attempt_died(run, end, clients, self._settings.run.retries, utcnow())


def execute(run_id: str) -> None:
    """The RQ job, in the forked process: carry the run on this thread, its clients on an event loop beside it."""
    from app.pipelines import runner

    settings: Settings = _state["settings"]
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(open_clients(settings)) as clients:

        def call(function: Callable[..., Awaitable[T]], *args: Any) -> T:
            return portal.call(function, *args)

        runner.execute(run_id, clients, call, _state["owner"], settings, lambda scratch: _confine(scratch, settings))
    notes.finish()


def plan(document: str) -> str:
    """The RQ job of a plan, in the forked process, under the limits of a run: a manifest in, a PlanOutcome out (JSON).

    The ledger knows nothing of it: the answer goes to whoever waits for it, or to nobody.
    """
    from app.pipelines import plan_runner

    settings: Settings = _state["settings"]
    job = get_current_job()
    plan_id = plan_id_of(job.id) if job is not None else new_id()
    try:
        with start_blocking_portal() as portal, portal.wrap_async_context_manager(open_clients(settings)) as clients:

            def call(function: Callable[..., Awaitable[T]], *args: Any) -> T:
                return portal.call(function, *args)

            found = plan_runner.outcome(
                document, plan_id, clients, call, settings, lambda scratch: _confine(scratch, settings)
            )
    except TimeLimitExceeded:
        found = plan_runner.too_long(settings.plan.time_limit_seconds)
    return found.model_dump_json()


def _confine(scratch: Path, settings: Settings) -> None:
    """From here on this thread reads sources: nothing but them, and no server but our own."""
    from app.pipelines.formats import gdal, raster_gdal

    gdal.forget_other_drivers()
    raster_gdal.forget_other_drivers()
    confine_readers(scratch, server_ports(settings), server_files(settings))


def run_worker(settings: Settings) -> None:
    """Work until SIGTERM: the job at hand is finished first; a second signal kills it.

    A ledger or a queue that is not there is said, and waited for: before the first run and whenever it goes away.
    """
    # Before the imports, which take a second: whoever stops it then stops it cleanly too.
    signal.signal(signal.SIGTERM, _leave)
    # Before the imports too: libraries read some of it only then.
    forget_environment(ENVIRONMENT, needed_variables(settings))
    for path in pipelines():
        importlib.import_module(path.partition(":")[0])
    for name in ("app.pipelines.runner", "app.pipelines.plan_runner"):
        importlib.import_module(name)
    prepare_clients(settings)
    _wait_for_servers(settings)
    owner = process_name()
    _state.update(settings=settings, owner=owner)
    RunWorker(settings, owner).work(logging_level=logging.getLevelName(logging.getLogger("rq").getEffectiveLevel()))


def _leave(_signal: int, _frame: Any) -> Never:
    """Nothing is at hand yet that would have to be put away, and an import may swallow what is raised in it."""
    os._exit(0)


def _wait_for_servers(settings: Settings) -> None:
    """Return when the queue answers and the ledger is migrated; say what is missing each time that it changes."""
    said = ""
    while True:
        beat(ROLE)
        missing = _missing(settings)
        if missing is None:
            return
        if str(missing) != said:
            said = str(missing)
            logger.warning("the worker waits: %s", said)
        time.sleep(_LOOK_EVERY)


def _missing(settings: Settings) -> DomainError | None:
    async def look_at_ledger() -> None:
        async with open_ledger(settings) as ledger:
            await ledger.ping()

    try:
        check_connection(redis_url(settings))
        asyncio.run(look_at_ledger())
    except DomainError as err:
        return err
    return None


def main() -> None:
    settings = Settings()
    configure(settings.log.format, settings.log.level, ROLE)
    # Several workers share a terminal with the API: only the supervisor decides about Ctrl+C.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        run_worker(settings)
    except DomainError as err:
        raise SystemExit(str(err)) from None
