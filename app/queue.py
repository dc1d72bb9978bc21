"""The queue of jobs in Redis, by RQ. Only this module and the worker use RQ.

The job of a run has its id only: everything else is in the ledger. The job of a plan has its manifest, which is not in
the ledger.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import tempfile
import threading
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote, unquote
from uuid import uuid4

from redis import CredentialProvider, Redis
from redis.backoff import ExponentialBackoff, NoBackoff
from redis.exceptions import AuthenticationError, NoPermissionError, ReadOnlyError, RedisError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.retry import Retry
from rq import Queue
from rq.command import send_stop_job_command
from rq.exceptions import DeserializationError, DuplicateJobError, InvalidJobOperation, NoSuchJobError
from rq.job import Job, JobStatus
from rq.serializers import JSONSerializer
from rq.worker_registration import get_keys

from app.errors import QueueUnavailable, TooManyPlans
from app.models.run import Run
from app.settings import Settings

JOB = "app.worker.execute"
PLAN_JOB = "app.worker.plan"
# How long the result of a plan stays in Redis. The API reads it many times a second.
_PLAN_TTL = 60
_PLAN_PREFIX = "plan-"
# How long the names of repeated jobs are kept, in seconds. A worker finds in the ledger that an older one is over.
_AGAIN_TTL = 7 * 86_400
# The longest path of a Unix socket, without its terminating zero byte.
_MAX_SOCKET_PATH = 107
_PLAIN_PATH = re.compile(r"[\w./+-]+", re.ASCII)
PRIVATE_USER = "spatial-etl"
_FROM_FILE = "?password_file="
_RUN_JOB_ID = re.compile(r"([0-9a-f]{32})-[1-9][0-9]{0,8}(-[0-9a-f]{8})?")
_PLAN_JOB_ID = re.compile(r"plan-[0-9a-f]{32}")
# Unpacked bytes of one job. JSON as text inside JSON may grow, so this is far above any manifest.
_MAX_JOB_BYTES = 256 * 2**20
# The API writes a manifest without its defaults, but numbers may become longer.
_LONGER = 4


def private_redis_socket(data_dir: Path) -> Path:
    """Return the socket of the private Redis: in the data directory if possible, else in the temporary folder.

    The path in the data directory cannot be used when it is too long for a socket, or has characters with a meaning in
    Redis URLs and client lists.
    """
    inside = data_dir / "redis" / "redis.sock"
    if len(os.fsencode(inside)) <= _MAX_SOCKET_PATH and _PLAIN_PATH.fullmatch(str(inside)):
        return inside
    digest = hashlib.sha256(os.fsencode(data_dir)).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"spatial-etl-{os.getuid()}-{digest}" / "redis.sock"


def private_redis_password(data_dir: Path) -> Path:
    """Return the file with the password of the private Redis, which changes with every start of `serve`."""
    return data_dir / "redis" / "password"


def redis_url(settings: Settings) -> str:
    """Return the URL of the queue: of the settings, or of the private Redis.

    That of the private Redis names the file of its password, for `connect`.
    """
    if settings.queue.redis_url is not None:
        return settings.queue.redis_url.get_secret_value()
    password = quote(str(private_redis_password(settings.data_dir)))
    return f"unix://{private_redis_socket(settings.data_dir)}{_FROM_FILE}{password}"


class _PasswordFile(CredentialProvider):
    """Reads the password for every new connection, so that a client goes on when `serve` was started again."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._last = ""

    def get_credentials(self) -> tuple[str, str]:
        try:
            self._last = self._path.read_text(encoding="ascii").strip()
        except (OSError, ValueError):
            # While `serve` is stopped: the connection then fails as to a server that is away, and is tried again.
            if not self._last:
                raise AuthenticationError(f"cannot read {self._path}") from None
        return PRIVATE_USER, self._last


def connect(url: str, *, patient: bool) -> Redis:
    """Return a Redis client.

    Args:
        url: of Redis.
        patient: True for a worker, which waits while Redis restarts; False for the API, which must answer soon.

    Raises:
        QueueUnavailable: the URL is not a Redis URL.
    """
    retry = Retry(ExponentialBackoff(cap=5, base=0.5), 30) if patient else Retry(NoBackoff(), 1)
    url, _, password = url.partition(_FROM_FILE)
    try:
        client: Redis = Redis.from_url(
            url,
            retry=retry,
            credential_provider=_PasswordFile(Path(unquote(password))) if password else None,
            retry_on_error=[RedisConnectionError, RedisTimeoutError],
            socket_connect_timeout=2 if patient else 1,
            socket_timeout=None if patient else 1,
        )
    except ValueError:
        # The error may quote a part of the password, if that has an unquoted # or /.
        fix = "Use redis://:PASSWORD@HOST:PORT/0, with the password percent-encoded."
        raise QueueUnavailable("SPATIAL_ETL_QUEUE__REDIS_URL is not a Redis URL.", fix) from None
    return client


def check_connection(url: str) -> None:
    """Raise QueueUnavailable when Redis does not answer."""
    client = connect(url, patient=False)
    try:
        client.ping()
    except RedisError as err:
        raise _unavailable(err, client) from err
    finally:
        client.close()


class OwnJob(Job):
    """A job as this service makes it: two functions, and nothing else that Redis could make a worker call.

    RQ imports and calls what the record of a job in Redis names. So this class forgets callbacks, webhooks, retries and
    repetitions, and imports no other function. A record that cannot be read counts as missing.
    """

    def restore(self, raw_data: Mapping[Any, Any]) -> None:
        known = {bytes(key): value for key, value in raw_data.items()}
        for name in _NOT_OURS:
            known.pop(name, None)
        try:
            _check_size(known.get(b"data", b""))
            super().restore(known)
        except NoSuchJobError:
            raise
        except Exception as err:  # what RQ's readers of single fields raise
            raise NoSuchJobError(f"unreadable record ({type(err).__name__})") from None

    @property
    def func(self) -> Any:
        if self.func_name not in (JOB, PLAN_JOB) or self.instance:
            raise InvalidJobOperation("not a job of this service")
        return super().func


_NOT_OURS = (
    *(b"success_callback_name", b"failure_callback_name", b"stopped_callback_name", b"webhooks"),
    *(b"retries_left", b"retry_intervals", b"repeats_left", b"repeat_intervals"),
    *(b"dependency_id", b"dependency_ids", b"rate_limit_key", b"group_id"),
)


def _check_size(data: bytes) -> None:
    """RQ packs the data of a job with zlib, or not at all. Raises ValueError."""
    unpacker = zlib.decompressobj()
    with contextlib.suppress(zlib.error):
        if len(unpacker.decompress(data, _MAX_JOB_BYTES)) >= _MAX_JOB_BYTES:
            raise ValueError("too large")


def refusal(job: Job, max_manifest_bytes: int) -> str | None:
    """Return why a worker must not run this job; None for a job that the service can have made."""
    try:
        name, args = job.func_name, job.args
        unexpected = job.instance is not None or job.kwargs
    except (DeserializationError, ValueError):
        return "its data is not a call"
    if name not in (JOB, PLAN_JOB):
        return f"unknown function {str(name)[:100]!r}"
    if unexpected or not isinstance(args, list | tuple) or len(args) != 1 or not isinstance(args[0], str):
        return "wrong arguments"
    if job.timeout is not None and job.timeout <= 0:
        return "no time limit"
    return _wrong_plan(job.id, args[0], max_manifest_bytes) if name == PLAN_JOB else _wrong_run(job.id, args[0])


def _wrong_plan(job_id: str, document: str, max_manifest_bytes: int) -> str | None:
    if not _PLAN_JOB_ID.fullmatch(job_id):
        return "its id is not that of a plan"
    return "the manifest is too long" if len(document) > _LONGER * max_manifest_bytes else None


def _wrong_run(job_id: str, run_id: str) -> str | None:
    match = _RUN_JOB_ID.fullmatch(job_id)
    return None if match is not None and match[1] == run_id else "its id is not that of a run"


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


def plan_id_of(job_id: str) -> str:
    """Return the id of the plan of a job."""
    return job_id.removeprefix(_PLAN_PREFIX)


def _plan_job(plan_id: str) -> str:
    return f"{_PLAN_PREFIX}{plan_id}"


def _run_job(run: Run) -> str:
    """The job of the next attempt."""
    return f"{run.run_id}-{run.attempt + 1}"


def _names_again(run: Run) -> str:
    """The set of the further jobs of the next attempt: a key of ours among RQ's, which are all that users may reach."""
    return f"rq:spatial-etl:again:{_run_job(run)}"


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
        job_id = _run_job(run)
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
            raise _unavailable(err, self._redis) from err

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
                    job_id=_plan_job(plan_id),
                    timeout=time_limit,
                    result_ttl=_PLAN_TTL,
                    failure_ttl=_PLAN_TTL,
                    description="plan",
                    at_front=True,
                )
        except RedisError as err:
            raise _unavailable(err, self._redis) from err

    def _check_plans(self) -> None:
        # Plans are before all runs, so as many jobs of the queue are read as plans may wait, and no more.
        first = self._queue.get_job_ids(0, self._max_plans)
        waiting = sum(job_id.startswith(_PLAN_PREFIX) for job_id in first)
        if waiting >= self._max_plans:
            raise TooManyPlans(
                f"{waiting} plans wait for a worker, which is as many as may wait.",
                "Try again later, add workers, or raise SPATIAL_ETL_PLAN__MAX_WAITING.",
            )

    def get_plan_job(self, plan_id: str) -> PlanJob:
        """Return the state of a plan."""
        try:
            job = OwnJob.fetch(_plan_job(plan_id), connection=self._redis, serializer=JSONSerializer)
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
            raise _unavailable(err, self._redis) from err
        state: Literal["waiting", "running"] = "running" if status is JobStatus.STARTED else "waiting"
        return PlanJob(state, beat=str(job.last_heartbeat))

    def withdraw_plan(self, plan_id: str) -> bool:
        """Remove a plan from the queue. False: a worker has taken it already."""
        try:
            if not self._queue.remove(_plan_job(plan_id)):
                return False
        except RedisError as err:
            raise _unavailable(err, self._redis) from err
        self.forget_plan(plan_id)
        return True

    def end_plan(self, plan_id: str) -> None:
        """Remove a plan from the queue, or have the worker kill its process."""
        if self.withdraw_plan(plan_id):
            return
        with contextlib.suppress(RedisError, NoSuchJobError, InvalidJobOperation):
            send_stop_job_command(self._redis, _plan_job(plan_id), JSONSerializer)

    def forget_plan(self, plan_id: str) -> None:
        """Remove a finished plan and its result before they expire. Does nothing when Redis does not answer."""
        with contextlib.suppress(RedisError, NoSuchJobError):
            OwnJob.fetch(_plan_job(plan_id), connection=self._redis, serializer=JSONSerializer).delete()

    def count_workers(self) -> int:
        """Return the number of workers of this queue."""
        try:
            return len(get_keys(queue=self._queue))
        except RedisError as err:
            raise _unavailable(err, self._redis) from err

    def waiting_runs(self) -> frozenset[str]:
        """Return the ids of the runs in the queue."""
        try:
            return frozenset(job_id.partition("-")[0] for job_id in self._queue.get_job_ids())
        except RedisError as err:
            raise _unavailable(err, self._redis) from err

    def remove(self, run: Run) -> None:
        """Remove the waiting jobs of the next attempt of a run from the queue. Does not read the queue."""
        try:
            again: set[bytes] = self._redis.smembers(_names_again(run))  # type: ignore[assignment] # bytes: no decoding
            for job_id in (_run_job(run), *(str(name, "utf-8") for name in again)):
                with contextlib.suppress(NoSuchJobError):
                    job = OwnJob.fetch(job_id, connection=self._redis, serializer=JSONSerializer)
                    job.delete(delete_dependents=False)
            if again:
                self._redis.delete(_names_again(run))
        except RedisError as err:
            raise _unavailable(err, self._redis) from err

    def stop(self, run: Run) -> None:
        """Ask the worker of this attempt to kill the process of its job. There is no answer."""
        name = f"{run.run_id}-{run.attempt}"
        try:
            for job_id in self._queue.started_job_registry.get_job_ids(cleanup=False):
                if job_id == name or job_id.startswith(f"{name}-"):
                    with contextlib.suppress(NoSuchJobError, InvalidJobOperation):
                        send_stop_job_command(self._redis, job_id, serializer=JSONSerializer)
        except RedisError as err:
            raise _unavailable(err, self._redis) from err

    def ping(self) -> dict[str, str]:
        """Check the queue and return details for health checks.

        Raises:
            QueueUnavailable: Redis does not answer, or may evict jobs when its memory is full.
        """
        try:
            info: dict[str, Any] = self._redis.info()
            waiting = self._queue.count
        except RedisError as err:
            raise _unavailable(err, self._redis) from err
        policy = str(info.get("maxmemory_policy", "unknown"))
        if policy not in ("noeviction", "unknown"):
            detail = (
                f"The queue ({_location(self._redis)}) evicts keys when its memory is full: maxmemory-policy {policy}."
            )
            raise QueueUnavailable(detail, "Set maxmemory-policy noeviction, so that jobs are not lost.")
        return {
            "version": str(info["redis_version"]),
            "location": _location(self._redis),
            "appendonly": "yes" if info.get("aof_enabled") else "no",
            "eviction": policy,
            "waiting": str(waiting),
        }

    def close(self) -> None:
        """Close all connections."""
        self._redis.close()


def _location(client: Redis) -> str:
    """The address of Redis, without password."""
    found = client.connection_pool.connection_kwargs
    return str(found["path"]) if "path" in found else f"{found.get('host')}:{found.get('port')}/{found.get('db') or 0}"


def _unavailable(err: RedisError, client: Redis) -> QueueUnavailable:
    fix = "Start Redis, or check SPATIAL_ETL_QUEUE__REDIS_URL. Accepted runs wait in the ledger."
    if isinstance(err, AuthenticationError | NoPermissionError) or str(err).startswith(("NOAUTH", "WRONGPASS")):
        fix = "Check user and password in SPATIAL_ETL_QUEUE__REDIS_URL. Accepted runs wait in the ledger."
        if client.connection_pool.connection_kwargs.get("credential_provider") is not None:
            fix = "Start `spatial-etl serve` again, which makes a new password. Accepted runs wait in the ledger."
    elif isinstance(err, ReadOnlyError):
        fix = "Set SPATIAL_ETL_QUEUE__REDIS_URL to the primary, not a replica. Accepted runs wait in the ledger."
    return QueueUnavailable(f"The queue ({_location(client)}) does not answer ({type(err).__name__}).", fix)
