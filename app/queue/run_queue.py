"""What the service does with the queue. Only the modules of `app.queue` and the worker use RQ."""

from __future__ import annotations

import contextlib
import threading
from dataclasses import dataclass
from typing import Any, Literal
from uuid import uuid4

from redis.exceptions import RedisError
from rq import Queue
from rq.command import send_stop_job_command
from rq.exceptions import DuplicateJobError, InvalidJobOperation, NoSuchJobError
from rq.job import JobStatus
from rq.serializers import JSONSerializer
from rq.worker_registration import get_keys

from app.errors import QueueUnavailable, TooManyPlans
from app.models.runs.run import Run
from app.queue.connection import connect, location, unavailable
from app.queue.jobs import JOB, PLAN_JOB, PLAN_PREFIX, OwnJob, plan_job_id, run_job_id

# How long the result of a plan stays in Redis. The API reads it many times a second.
_PLAN_TTL = 60
# How long the names of repeated jobs are kept, in seconds. A worker finds in the ledger that an older one is over.
_AGAIN_TTL = 7 * 86_400


@dataclass(frozen=True, slots=True)
class PlanJob:
    """The state of a plan's job.

    Attributes:
        state: `died` also when the job was stopped or its result has expired.
        beat: time of its last heartbeat; changes while its worker lives.
        result: of a finished job.
        reason: why it died.
    """

    state: Literal["waiting", "running", "finished", "died"]
    beat: str = ""
    result: str | None = None
    reason: str = ""


def _names_again(run: Run) -> str:
    """The set of the further jobs of the next attempt: a key of ours among RQ's, which are all that users may reach."""
    return f"rq:spatial-etl:again:{run_job_id(run)}"


class RunQueue:
    """Hands runs and plans to the workers, first in, first out; plans go before runs.

    A job may be lost or delivered twice. Both are safe: the ledger decides which worker gets a run, and the sweep
    enqueues runs again that have no job. Every method blocks: on an event loop, call it from a thread. Every method
    raises QueueUnavailable when Redis does not answer, unless its docstring says otherwise.

    Args:
        url: of Redis.
        name: of the queue.
        job_timeout: seconds after which a job is killed.
        max_plans: how many plans may wait for a worker.
    """

    def __init__(self, url: str, name: str, job_timeout: int, *, max_plans: int = 50) -> None:
        self._redis = connect(url, patient=False)
        self._max_plans = max_plans
        # Held while a plan is counted and enqueued. Other processes may overshoot by one plan each.
        self._planning = threading.Lock()
        self._queue = Queue(
            name, connection=self._redis, job_class=OwnJob, serializer=JSONSerializer, default_timeout=job_timeout
        )

    def enqueue(self, run: Run, *, again: bool = False) -> None:
        """Put the next attempt of a run at the end of the queue, unless it is in the queue already.

        Args:
            run: its id and attempt name the job.
            again: the job of this attempt was lost: enqueue another one, even if RQ still knows its id.
        """
        job_id = run_job_id(run)
        try:
            if again:
                job_id = f"{job_id}-{uuid4().hex[:8]}"
                # So that `remove` finds it without reading the queue.
                self._redis.sadd(_names_again(run), job_id)
                self._redis.expire(_names_again(run), _AGAIN_TTL)
            self._queue.enqueue_call(
                JOB,
                args=(run.run_id,),
                job_id=job_id,
                unique=True,
                description=run.run_id,
                # Forget the job when it ends, because the run may be enqueued again for the same attempt.
                result_ttl=0,
                failure_ttl=500,
            )
        except DuplicateJobError:
            return
        except RedisError as err:
            raise unavailable(err, self._redis) from err

    def enqueue_plan(self, plan_id: str, document: str, time_limit: int) -> None:
        """Put a plan of this manifest (JSON) at the front of the queue.

        Args:
            plan_id: of the plan.
            document: the manifest, as JSON.
            time_limit: in seconds.

        Raises:
            TooManyPlans: as many plans as may wait do.
        """
        try:
            with self._planning:
                self._check_plans()
                self._queue.enqueue_call(
                    PLAN_JOB,
                    args=(document,),
                    job_id=plan_job_id(plan_id),
                    timeout=time_limit,
                    result_ttl=_PLAN_TTL,
                    failure_ttl=_PLAN_TTL,
                    description="plan",
                    at_front=True,
                )
        except RedisError as err:
            raise unavailable(err, self._redis) from err

    def _check_plans(self) -> None:
        # Plans are before all runs, so as many jobs of the queue are read as plans may wait, and no more.
        first = self._queue.get_job_ids(0, self._max_plans)
        waiting = sum(job_id.startswith(PLAN_PREFIX) for job_id in first)
        if waiting >= self._max_plans:
            raise TooManyPlans(
                f"{waiting} plans wait for a worker, which is as many as may wait.",
                "Try again later, add workers, or raise SPATIAL_ETL_PLAN__MAX_WAITING.",
            )

    def get_plan_job(self, plan_id: str) -> PlanJob:
        """Return the state of a plan."""
        try:
            job = OwnJob.fetch(plan_job_id(plan_id), connection=self._redis, serializer=JSONSerializer)
            status = job.get_status(refresh=False)
            if status is JobStatus.FINISHED:
                result = job.return_value()
                return PlanJob("finished", result=None if result is None else str(result))
            if status in (JobStatus.FAILED, JobStatus.STOPPED, JobStatus.CANCELED):
                latest = job.latest_result()
                reason = (latest.exc_string if latest is not None else None) or "it was stopped"
                return PlanJob("died", reason=reason.strip().splitlines()[-1])
        except NoSuchJobError:
            return PlanJob("died", reason="the queue has no such job")
        except RedisError as err:
            raise unavailable(err, self._redis) from err
        state: Literal["waiting", "running"] = "running" if status is JobStatus.STARTED else "waiting"
        return PlanJob(state, beat=str(job.last_heartbeat))

    def withdraw_plan(self, plan_id: str) -> bool:
        """Remove a plan from the queue. False: a worker has taken it already."""
        try:
            if not self._queue.remove(plan_job_id(plan_id)):
                return False
        except RedisError as err:
            raise unavailable(err, self._redis) from err
        self.forget_plan(plan_id)
        return True

    def end_plan(self, plan_id: str) -> None:
        """Remove a plan from the queue, or have the worker kill its process."""
        if self.withdraw_plan(plan_id):
            return
        with contextlib.suppress(RedisError, NoSuchJobError, InvalidJobOperation):
            send_stop_job_command(self._redis, plan_job_id(plan_id), JSONSerializer)

    def forget_plan(self, plan_id: str) -> None:
        """Remove a finished plan and its result before they expire. Does nothing when Redis does not answer."""
        with contextlib.suppress(RedisError, NoSuchJobError):
            OwnJob.fetch(plan_job_id(plan_id), connection=self._redis, serializer=JSONSerializer).delete()

    def count_workers(self) -> int:
        """Return the number of workers of this queue."""
        try:
            return len(get_keys(queue=self._queue))
        except RedisError as err:
            raise unavailable(err, self._redis) from err

    def waiting_runs(self) -> frozenset[str]:
        """Return the ids of the runs in the queue."""
        try:
            return frozenset(job_id.partition("-")[0] for job_id in self._queue.get_job_ids())
        except RedisError as err:
            raise unavailable(err, self._redis) from err

    def remove(self, run: Run) -> None:
        """Remove the waiting jobs of the next attempt of a run from the queue. Does not read the queue."""
        try:
            again: set[bytes] = self._redis.smembers(_names_again(run))  # type: ignore[assignment] # bytes: no decoding
            for job_id in (run_job_id(run), *(str(name, "utf-8") for name in again)):
                with contextlib.suppress(NoSuchJobError):
                    job = OwnJob.fetch(job_id, connection=self._redis, serializer=JSONSerializer)
                    job.delete(delete_dependents=False)
            if again:
                self._redis.delete(_names_again(run))
        except RedisError as err:
            raise unavailable(err, self._redis) from err

    def stop(self, run: Run) -> None:
        """Ask the worker of this attempt to kill the process of its job. There is no answer."""
        name = f"{run.run_id}-{run.attempt}"
        try:
            for job_id in self._queue.started_job_registry.get_job_ids(cleanup=False):
                if job_id == name or job_id.startswith(f"{name}-"):
                    with contextlib.suppress(NoSuchJobError, InvalidJobOperation):
                        send_stop_job_command(self._redis, job_id, serializer=JSONSerializer)
        except RedisError as err:
            raise unavailable(err, self._redis) from err

    def ping(self) -> dict[str, str]:
        """Check the queue and return details for health checks.

        Raises:
            QueueUnavailable: Redis does not answer, or may evict jobs when its memory is full.
        """
        try:
            info: dict[str, Any] = self._redis.info()
            waiting = self._queue.count
        except RedisError as err:
            raise unavailable(err, self._redis) from err
        policy = str(info.get("maxmemory_policy", "unknown"))
        if policy not in ("noeviction", "unknown"):
            detail = (
                f"The queue ({location(self._redis)}) evicts keys when its memory is full: maxmemory-policy {policy}."
            )
            raise QueueUnavailable(detail, "Set maxmemory-policy noeviction, so that jobs are not lost.")
        return {
            "version": str(info["redis_version"]),
            "location": location(self._redis),
            "appendonly": "yes" if info.get("aof_enabled") else "no",
            "eviction": policy,
            "waiting": str(waiting),
        }

    def close(self) -> None:
        """Close all connections."""
        self._redis.close()
