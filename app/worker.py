"""The worker: one process that waits on one queue and forks a job's process for every run.

It starts a reader server (`app.reader`) before it opens anything, and imports no reader itself: sources are read in
readers, which have neither its clients nor its secrets. It opens a ledger only for the moment of a heartbeat.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import resource
import shutil
import signal
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from datetime import timedelta
from typing import Any, Never, TypeVar

from anyio.from_thread import start_blocking_portal
from redis.exceptions import RedisError
from rq import Queue, Worker, get_current_job
from rq.exceptions import InvalidJobOperation
from rq.job import Job
from rq.serializers import JSONSerializer
from rq.timeouts import JobTimeoutException, UnixSignalDeathPenalty

from app.clients import Clients, open_clients, open_ledger, prepare_clients
from app.errors import DomainError, TimeLimitExceeded
from app.jobs.places import needed_variables, writable_places
from app.jobs.readers import ReaderServer
from app.jobs.sandbox import forget_environment, sandbox_job
from app.jobs.shared_state import job_state
from app.jobs.watch import ROLE, JobWatch
from app.ledger import Guard
from app.models.base import new_id, utcnow
from app.models.runs.attempt import AttemptEnd
from app.models.runs.run import UNDER_WAY, Lease, RunStatus
from app.pipelines.common.gdal_options import ENVIRONMENT
from app.pipelines.contract.context import Call
from app.pipelines.job import plan_runner, runner
from app.pipelines.job.job_side import InReader
from app.queue.connection import check_connection, connect, redis_url
from app.queue.jobs import PLAN_JOB, OwnJob, plan_id_of, refusal
from app.runs.ending import attempt_died
from app.settings import Settings
from app.system.logs import bound, configure
from app.system.processes import beat, blame_for_memory, die_with_parent, process_name

logger = logging.getLogger(__name__)

T = TypeVar("T")

# Seconds between two checks whether ledger and queue answer.
_CHECK_EVERY = 2.0
# How long a stopped worker without a job waits for a queue that is away.
_STOP_SECONDS = 8.0
_NICENESS = 10


# Set by `run_worker` in the parent, found by `execute` in the forked child: RQ hands a job its arguments only.
_state: dict[str, Any] = {}


class TimeLimit(UnixSignalDeathPenalty):
    """RQ's alarm for the job's time limit, raised as an error of ours."""

    def handle_death_penalty(self, _signum: int, _frame: Any) -> Never:
        if self._exception is JobTimeoutException:
            job_state.write(alarmed=True)
            raise TimeLimitExceeded(
                f"The attempt ran for more than {self._timeout} s.",
                "Split the file, or raise SPATIAL_ETL_RUN__TIME_LIMIT_SECONDS.",
            )
        raise self._exception(f"more than {self._timeout} s")


class RunWorker(Worker):
    """RQ's forking worker. It also renews leases, and writes to the ledger how a job died."""

    death_penalty_class = TimeLimit

    def __init__(self, settings: Settings, owner: str, readers: ReaderServer) -> None:
        connection = connect(redis_url(settings), patient=True)
        queue = Queue(
            settings.queue.name,
            connection=connection,
            job_class=OwnJob,
            serializer=JSONSerializer,
            death_penalty_class=TimeLimit,
        )
        super().__init__(
            [queue],
            connection=connection,
            job_class=OwnJob,
            serializer=JSONSerializer,
            job_monitoring_interval=max(1, int(settings.run.heartbeat_seconds)),
            worker_ttl=20,
            maintenance_interval=5,
            work_horse_killed_handler=self._job_died,
        )
        self._settings = settings
        self._owner = owner
        self._readers = readers
        self._parent = os.getpid()
        # Ends of attempts that are not in the ledger yet. If this worker dies too, the sweep recovers their runs.
        self._unreported: dict[str, AttemptEnd] = {}

    def fork_work_horse(self, job: Job, queue: Queue) -> None:
        self._readers.keep_alive()
        super().fork_work_horse(job, queue)

    def execute_job(self, job: Job, queue: Queue) -> None:
        """Refuse a job that this service cannot have made, before anything that it names is imported or used."""
        reason = refusal(job, self._settings.api.max_manifest_bytes)
        if reason is None:
            super().execute_job(job, queue)
            return
        logger.error("refused the job %r of the queue: %s", job.id[:100], reason)
        self.handle_job_failure(job, queue, exc_string=f"refused: {reason}")
        self.connection.lrem(queue.intermediate_queue_key, 1, job.id)

    def handle_exception(self, job: Job, *exc_info: Any) -> None:
        """One line where a server is away, which is no defect; else RQ's, with the traceback. In the job's process."""
        err = exc_info[1]
        if job_state.done and isinstance(err, InvalidJobOperation | RedisError):
            # The ledger has the run's end. Another worker took the entry away, or Redis lost it or is away.
            logger.warning("run %s: its end is recorded, but not in the queue (%s)", job.description, err)
        elif isinstance(err, DomainError):
            name = "the plan" if job.func_name == PLAN_JOB else f"run {job.description}"
            logger.warning("%s: %s %s", name, err, _what_happens_next(job))
        else:
            super().handle_exception(job, *exc_info)

    def main_work_horse(self, job: Job, queue: Queue) -> None:
        die_with_parent(self._parent)
        job_state.clear()
        self._unreported.clear()
        blame_for_memory()
        # API requests and heartbeats go first.
        os.nice(_NICENESS)
        memory = self._settings.run.memory_limit_bytes
        resource.setrlimit(resource.RLIMIT_DATA, (memory, memory))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        sandbox_job(*writable_places(self._settings))
        super().main_work_horse(job, queue)

    def request_stop(self, signum: Any, frame: Any) -> None:
        threading.Thread(target=self._exit_without_queue, daemon=True).start()
        super().request_stop(signum, frame)  # type: ignore[no-untyped-call] # RQ annotates nothing here

    def _exit_without_queue(self) -> None:
        """RQ keeps its books in Redis and waits for one that is away: without a job at hand, some seconds are enough.

        A job's process that has nothing but RQ's books to do goes with its parent.
        """
        idle_since = time.monotonic()
        while time.monotonic() - idle_since < _STOP_SECONDS:
            time.sleep(0.5)
            if self.horse_pid and not job_state.done:
                idle_since = time.monotonic()
        logger.warning("the queue does not answer: the worker stops without signing off")
        os._exit(0)

    def heartbeat(self, timeout: int | None = None, pipeline: Any = None) -> None:
        beat(ROLE)
        for run_id in list(self._unreported):
            self._report_end(run_id, self._unreported[run_id])
        super().heartbeat(timeout, pipeline)

    def maintain_heartbeats(self, job: Job, execution: Any) -> None:
        try:
            super().maintain_heartbeats(job, execution)
        except RedisError as err:
            # The job needs the ledger, not the queue: it goes on.
            logger.warning("run %s: the queue got no heartbeat (%s)", job.description, type(err).__name__)

    def monitor_work_horse(self, job: Job, queue: Queue, execution: Any) -> None:
        """RQ's heartbeats wait while Redis is away, so a watch beside them renews the lease of the run."""
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
        if (end := job_state.read().get("end")) is not None:
            # The job could not write it to the ledger, which may be back by now.
            self._report_end(job.args[0], AttemptEnd.model_validate(end))

    def _clear_scratch(self, run_id: str) -> None:
        """Remove what a killed job left. Its process is gone, even if the ledger has the run under way."""
        for directory in self._settings.scratch_dir.glob(f"{run_id}.*"):
            with contextlib.suppress(OSError):
                if (directory / ".owner").read_text() == self._owner:
                    shutil.rmtree(directory, ignore_errors=True)

    async def _renew(self, run_id: str) -> float | None:
        """Renew the lease. Of a run that is being canceled, return the seconds that are left instead.

        They are never more than a cancel may take, because the clock of the host that requested it may differ.
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
        self._report_end(job.args[0], self._watch.cause_of_death(status, most_memory))

    def _report_end(self, run_id: str, end: AttemptEnd) -> None:
        with bound(run_id=run_id):
            try:
                asyncio.run(self._write_end(run_id, end))
            except DomainError as err:
                # Once, not with every heartbeat of an outage.
                if self._unreported.get(run_id) != end:
                    logger.warning("run %s: the end of its attempt is reported later: %s", run_id, err)
                self._unreported[run_id] = end
            else:
                self._unreported.pop(run_id, None)

    async def _write_end(self, run_id: str, end: AttemptEnd) -> None:
        async with open_clients(self._settings) as clients:
            run = await clients.ledger.get_run(run_id)
            if run is None or run.status not in UNDER_WAY or run.lease is None or run.lease.owner != self._owner:
                return
            await attempt_died(run, end, clients, self._settings.run.retries, utcnow())


def _what_happens_next(job: Job) -> str:
    """What becomes of a job that an error ended. In the job's process."""
    state = job_state.read()
    if job.func_name == PLAN_JOB:
        return "The plan is not made; its request is answered so."
    if state.get("end") is not None:
        return "Its worker records the end of the attempt as soon as the ledger answers."
    if state.get("attempt") is not None:
        return "Its lease runs out, and the sweep starts the next attempt."
    return "It stays queued in the ledger, and the sweep hands it out again."


@contextlib.contextmanager
def _opened(settings: Settings) -> Iterator[tuple[Clients, Call]]:
    """The clients on an event loop beside this thread, and what calls them from here."""
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(open_clients(settings)) as clients:

        def call(function: Callable[..., Awaitable[T]], *args: Any) -> T:
            return portal.call(function, *args)

        yield clients, call


def execute(run_id: str) -> None:
    """The RQ job of a run, in the forked process: carry its next attempt on this thread."""
    settings: Settings = _state["settings"]
    with InReader(_state["readers"], settings) as pipelines, _opened(settings) as (clients, call):
        runner.execute(run_id, clients, call, _state["owner"], settings, pipelines)
    job_state.finish()


def plan(document: str) -> str:
    """The RQ job of a plan, in the forked process, under the limits of a run: a manifest in, a PlanOutcome out (JSON).

    The ledger is not written: the answer goes to the request that waits for it, if it still does.
    """
    settings: Settings = _state["settings"]
    job = get_current_job()
    plan_id = plan_id_of(job.id) if job is not None else new_id()
    try:
        with InReader(_state["readers"], settings) as pipelines, _opened(settings) as (clients, call):
            found = plan_runner.outcome(document, plan_id, clients, call, settings, pipelines)
    except TimeLimitExceeded:
        found = plan_runner.too_long(settings.plan.time_limit_seconds)
    return found.model_dump_json()


def run_worker(settings: Settings) -> None:
    """Work until SIGTERM. The current job is finished first; a second signal kills it.

    A ledger or queue that does not answer is logged and waited for, at the start and later.
    """
    # Before the imports, which take a second, so that a stop in between is clean too.
    signal.signal(signal.SIGTERM, _exit_now)
    # Before the imports too: libraries read some of it only then.
    forget_environment(ENVIRONMENT, needed_variables(settings))
    readers = ReaderServer(ENVIRONMENT, (settings.log.format, settings.log.level))
    prepare_clients(settings)
    _wait_for_servers(settings)
    owner = process_name()
    _state.update(settings=settings, owner=owner, readers=readers)
    RunWorker(settings, owner, readers).work(
        logging_level=logging.getLevelName(logging.getLogger("rq").getEffectiveLevel())
    )


def _exit_now(_signal: int, _frame: Any) -> Never:
    """Nothing needs cleaning up yet, and an import may swallow an exception."""
    os._exit(0)


def _wait_for_servers(settings: Settings) -> None:
    """Return when the queue answers and the ledger is migrated; log what is missing when that changes."""
    logged = ""
    while True:
        beat(ROLE)
        missing = _missing(settings)
        if missing is None:
            return
        if str(missing) != logged:
            logged = str(missing)
            logger.warning("the worker waits: %s", logged)
        time.sleep(_CHECK_EVERY)


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
