"""The one module that enqueues and looks at RQ jobs.

A run's job carries its id only: the ledger knows the rest. A plan's carries its manifest: no ledger knows of it.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from uuid import uuid4

from redis import Redis
from redis.backoff import ExponentialBackoff, NoBackoff
from redis.exceptions import AuthenticationError, NoPermissionError, ReadOnlyError, RedisError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.retry import Retry
from rq import Queue
from rq.command import send_stop_job_command
from rq.exceptions import DuplicateJobError, InvalidJobOperation, NoSuchJobError
from rq.job import Job, JobStatus
from rq.serializers import JSONSerializer
from rq.worker_registration import get_keys

from app.errors import QueueUnavailable
from app.models.run import Run
from app.settings import Settings

JOB = "app.worker.execute"
PLAN_JOB = "app.worker.plan"
# How long an answer waits in Redis for the API that asked; it looks many times a second.
_PLAN_TTL = 60
# Longest path of a unix socket, less the terminating zero.
_MAX_SOCKET_PATH = 107
_PLAIN_PATH = re.compile(r"[\w./+-]+", re.ASCII)


def private_redis_socket(data_dir: Path) -> Path:
    """Where the private Redis listens: in the data directory, or in the temporary folder if that path won't do.

    It won't when it is too long for a socket, or has characters that a Redis URL or client listing would misread.
    """
    inside = data_dir / "redis" / "redis.sock"
    if len(os.fsencode(inside)) <= _MAX_SOCKET_PATH and _PLAIN_PATH.fullmatch(str(inside)):
        return inside
    digest = hashlib.sha256(os.fsencode(data_dir)).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"spatial-etl-{os.getuid()}-{digest}" / "redis.sock"


def redis_url(settings: Settings) -> str:
    if settings.queue.redis_url is not None:
        return settings.queue.redis_url.get_secret_value()
    return f"unix://{private_redis_socket(settings.data_dir)}"


def connect(url: str, *, patient: bool) -> Redis:
    """A Redis client. patient: a worker's, which waits out a restart; otherwise an API's, which answers soon.

    Raises QueueUnavailable for a URL that is none.
    """
    retry = Retry(ExponentialBackoff(cap=5, base=0.5), 30) if patient else Retry(NoBackoff(), 1)
    try:
        client: Redis = Redis.from_url(
            url,
            retry=retry,
            retry_on_error=[RedisConnectionError, RedisTimeoutError],
            socket_connect_timeout=2 if patient else 1,
            socket_timeout=None if patient else 1,
        )
    except ValueError:
        # Its text may carry a part of the password, where one with # or / was not quoted.
        fix = "Use redis://:PASSWORD@HOST:PORT/0, with the password percent-encoded."
        raise QueueUnavailable("SPATIAL_ETL_QUEUE__REDIS_URL is not a Redis URL.", fix) from None
    return client


def check_connection(url: str) -> None:
    """Raises QueueUnavailable when no Redis answers."""
    client = connect(url, patient=False)
    try:
        client.ping()
    except RedisError as err:
        raise _unavailable(err, client) from err
    finally:
        client.close()


@dataclass(frozen=True, slots=True)
class PlanJob:
    """A look at a plan's job. beat: changes while its worker lives; result: what a finished one gave back."""

    state: Literal["waiting", "running", "finished", "died"]
    beat: str = ""
    result: str | None = None
    reason: str = ""


def plan_id_of(job_id: str) -> str:
    return job_id.removeprefix("plan-")


def _plan_job(plan_id: str) -> str:
    return f"plan-{plan_id}"


class RunQueue:
    """Hands run ids to the workers. Blocking: call it from a thread when on an event loop."""

    def __init__(self, url: str, name: str, job_timeout: int) -> None:
        self._redis = connect(url, patient=False)
        self._queue = Queue(name, connection=self._redis, serializer=JSONSerializer, default_timeout=job_timeout)

    def enqueue(self, run: Run, *, again: bool = False) -> None:
        """Put the run's next attempt at the end of the queue; nothing happens when it is there already.

        again: the job of this attempt was lost, so do not mind that its id is known. Doing it twice is harmless:
        the ledger lets only one claim win. Raises QueueUnavailable.
        """
        job_id = f"{run.run_id}-{run.attempt + 1}" + (f"-{uuid4().hex[:8]}" if again else "")
        try:
            self._queue.enqueue_call(
                JOB,
                args=(run.run_id,),
                job_id=job_id,
                unique=True,
                description=run.run_id,
                # Its id is free again at once: the run may come back for the same attempt.
                result_ttl=0,
                failure_ttl=500,
            )
        except DuplicateJobError:
            return
        except RedisError as err:
            raise _unavailable(err, self._redis) from err

    def enqueue_plan(self, plan_id: str, document: str, time_limit: int) -> None:
        """Put a plan of this manifest (JSON) before everything else in the queue. Raises QueueUnavailable."""
        try:
            self._queue.enqueue_call(
                PLAN_JOB,
                args=(document,),
                job_id=_plan_job(plan_id),
                timeout=time_limit,
                result_ttl=_PLAN_TTL,
                failure_ttl=_PLAN_TTL,
                description="plan",
                at_front=True,
            )
        except RedisError as err:
            raise _unavailable(err, self._redis) from err

    def look_at_plan(self, plan_id: str) -> PlanJob:
        """Raises QueueUnavailable."""
        try:
            job = Job.fetch(_plan_job(plan_id), connection=self._redis, serializer=JSONSerializer)
            status = job.get_status(refresh=False)
            if status is JobStatus.FINISHED:
                made = job.return_value()
                return PlanJob("finished", result=None if made is None else str(made))
            if status in (JobStatus.FAILED, JobStatus.STOPPED, JobStatus.CANCELED):
                found = job.latest_result()
                reason = (found.exc_string if found is not None else None) or "it was stopped"
                return PlanJob("died", reason=reason.strip().splitlines()[-1])
        except NoSuchJobError:
            return PlanJob("died", reason="the queue has forgotten it")
        except RedisError as err:
            raise _unavailable(err, self._redis) from err
        state: Literal["waiting", "running"] = "running" if status is JobStatus.STARTED else "waiting"
        return PlanJob(state, beat=str(job.last_heartbeat))

    def withdraw_plan(self, plan_id: str) -> bool:
        """Take a plan out of the queue; False when a worker has it already. Raises QueueUnavailable."""
        try:
            if not self._queue.remove(_plan_job(plan_id)):
                return False
        except RedisError as err:
            raise _unavailable(err, self._redis) from err
        self.forget_plan(plan_id)
        return True

    def end_plan(self, plan_id: str) -> None:
        """Take it out of the queue, or have its process killed. Raises QueueUnavailable."""
        if self.withdraw_plan(plan_id):
            return
        with contextlib.suppress(RedisError, NoSuchJobError, InvalidJobOperation):
            send_stop_job_command(self._redis, _plan_job(plan_id), JSONSerializer)

    def forget_plan(self, plan_id: str) -> None:
        """Remove a finished plan and its answer before its time."""
        with contextlib.suppress(RedisError, NoSuchJobError):
            Job.fetch(_plan_job(plan_id), connection=self._redis, serializer=JSONSerializer).delete()

    def count_workers(self) -> int:
        """Raises QueueUnavailable."""
        try:
            return len(get_keys(queue=self._queue))
        except RedisError as err:
            raise _unavailable(err, self._redis) from err

    def waiting_runs(self) -> frozenset[str]:
        """The run ids in the queue. Raises QueueUnavailable."""
        try:
            return frozenset(job_id.partition("-")[0] for job_id in self._queue.get_job_ids())
        except RedisError as err:
            raise _unavailable(err, self._redis) from err

    def remove(self, run_id: str) -> None:
        """Take every waiting job of the run out of the queue. Raises QueueUnavailable."""
        try:
            for job_id in self._queue.get_job_ids():
                if job_id.partition("-")[0] == run_id:
                    with contextlib.suppress(NoSuchJobError):
                        job = Job.fetch(job_id, connection=self._redis, serializer=JSONSerializer)
                        job.delete(delete_dependents=False)
        except RedisError as err:
            raise _unavailable(err, self._redis) from err

    def stop(self, run: Run) -> None:
        """Have the worker that carries this attempt kill its job's process, if it listens. Raises QueueUnavailable."""
        name = f"{run.run_id}-{run.attempt}"
        try:
            for job_id in self._queue.started_job_registry.get_job_ids(cleanup=False):
                if job_id == name or job_id.startswith(f"{name}-"):
                    with contextlib.suppress(NoSuchJobError, InvalidJobOperation):
                        send_stop_job_command(self._redis, job_id, serializer=JSONSerializer)
        except RedisError as err:
            raise _unavailable(err, self._redis) from err

    def ping(self) -> dict[str, str]:
        """Details for health checks. Raises QueueUnavailable, also for a Redis that may throw jobs away."""
        try:
            info: dict[str, Any] = self._redis.info()
            waiting = self._queue.count
        except RedisError as err:
            raise _unavailable(err, self._redis) from err
        policy = str(info.get("maxmemory_policy", "unknown"))
        if policy not in ("noeviction", "unknown"):
            detail = (
                f"The queue ({_place(self._redis)}) evicts keys when its memory is full: maxmemory-policy {policy}."
            )
            raise QueueUnavailable(detail, "Set maxmemory-policy noeviction: jobs must not be thrown away.")
        return {
            "version": str(info["redis_version"]),
            "location": _place(self._redis),
            "appendonly": "yes" if info.get("aof_enabled") else "no",
            "eviction": policy,
            "waiting": str(waiting),
        }

    def close(self) -> None:
        self._redis.close()


def _place(client: Redis) -> str:
    """Where a client connects to, without its password."""
    found = client.connection_pool.connection_kwargs
    return str(found["path"]) if "path" in found else f"{found.get('host')}:{found.get('port')}/{found.get('db') or 0}"


def _unavailable(err: RedisError, client: Redis) -> QueueUnavailable:
    fix = "Start Redis, or check SPATIAL_ETL_QUEUE__REDIS_URL. Accepted runs wait in the ledger."
    if isinstance(err, AuthenticationError | NoPermissionError) or str(err).startswith(("NOAUTH", "WRONGPASS")):
        fix = "Check user and password in SPATIAL_ETL_QUEUE__REDIS_URL. Accepted runs wait in the ledger."
    elif isinstance(err, ReadOnlyError):
        fix = "Name the primary in SPATIAL_ETL_QUEUE__REDIS_URL, not a replica. Accepted runs wait in the ledger."
    return QueueUnavailable(f"The queue ({_place(client)}) does not answer ({type(err).__name__}).", fix)
