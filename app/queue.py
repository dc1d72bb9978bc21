"""The one module that enqueues and looks at RQ jobs. A job carries a run id only: the ledger knows the rest."""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from pathlib import Path
from typing import Any
from uuid import uuid4

from redis import Redis
from redis.backoff import ExponentialBackoff, NoBackoff
from redis.exceptions import AuthenticationError, NoPermissionError, ReadOnlyError, RedisError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.retry import Retry
from rq import Queue
from rq.exceptions import DuplicateJobError
from rq.serializers import JSONSerializer

from app.errors import QueueUnavailable
from app.models.run import Run
from app.settings import Settings

JOB = "app.worker.execute"
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
                result_ttl=500,
                failure_ttl=500,
            )
        except DuplicateJobError:
            return
        except RedisError as err:
            raise _unavailable(err, self._redis) from err

    def waiting_runs(self) -> frozenset[str]:
        """The run ids in the queue. Raises QueueUnavailable."""
        try:
            return frozenset(job_id.partition("-")[0] for job_id in self._queue.get_job_ids())
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
