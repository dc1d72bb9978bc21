"""Whoever reaches the queue: no credentials, the service's credentials, and jobs that the service did not make."""

from __future__ import annotations

import json
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from redis import Redis
from redis.exceptions import AuthenticationError, NoPermissionError, ResponseError
from rq import Callback, Queue
from rq.job import Job, JobStatus
from rq.serializers import JSONSerializer
from rq.webhook import Webhook

from app.queue.connection import connect, private_redis_password, private_redis_socket, redis_url
from app.settings import Settings
from tests.hostile.web import counting_server
from tests.service import POINTS, Service, manifest, running_service, wait_for

RUN = "0" * 32
DANGEROUS = (
    "CONFIG GET dir", "CONFIG SET dir /", "CONFIG REWRITE", "MODULE LIST", "MODULE LOAD /x.so", "DEBUG SLEEP 0",
    "REPLICAOF NO ONE", "SLAVEOF NO ONE", "SHUTDOWN NOSAVE", "ACL LIST", "ACL SETUSER x on nopass +@all",
    "EVAL return(1) 0", "SCRIPT FLUSH", "FLUSHALL", "FLUSHDB", "MIGRATE h 1 rq:a 0 1", "RESTORE rq:a 0 x", "SAVE",
    "BGREWRITEAOF", "BGSAVE", "MONITOR", "SORT rq:a", "KEYS *", "CLIENT KILL 1", "CLIENT PAUSE 1", "SWAPDB 0 1",
    "FAILOVER", "SYNC", "PSYNC ? -1", "GET other", "SET other 1", "PUBLISH other 1",
)  # fmt: skip


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with running_service(tmp_path_factory.mktemp("rights") / "data", SPATIAL_ETL_WORKER__PROCESSES="1") as service:
        service.put("p.geojson", POINTS)
        yield service


@pytest.fixture
def client(served: Service) -> Iterator[Redis]:
    found = connect(redis_url(Settings(data_dir=served.data_dir)), patient=False)
    yield found
    found.close()


@pytest.mark.parametrize("command", DANGEROUS)
def test_the_services_own_credentials_allow_nothing_dangerous(client: Redis, command: str) -> None:
    with pytest.raises((NoPermissionError, ResponseError), match=r"permissions|unknown command|not allowed"):
        client.execute_command(*command.split(" "))  # type: ignore[no-untyped-call] # redis annotates nothing here
    assert client.ping()


@pytest.mark.parametrize("given", [{}, {"password": "guess"}, {"username": "spatial-etl", "password": "guess"}])
def test_without_the_password_nothing_works(served: Service, given: dict[str, str]) -> None:
    with Redis(unix_socket_path=str(private_redis_socket(served.data_dir)), **given) as stranger:  # type: ignore[arg-type] # names of arguments
        for command in ("PING", "INFO", "LLEN rq:queue:spatial-etl"):
            with pytest.raises((AuthenticationError, ResponseError)):
                stranger.execute_command(*command.split())


def test_the_password_is_in_files_of_this_user_only(served: Service) -> None:
    password = private_redis_password(served.data_dir).read_text()
    assert len(password) >= 32
    for path in (served.data_dir / "redis").iterdir():
        assert path.is_dir() or stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path
    assert stat.S_IMODE((served.data_dir / "redis").stat().st_mode) == 0o700
    for process in served.processes():
        assert password not in " ".join(process.cmdline())
        assert password.encode() not in Path(f"/proc/{process.pid}/environ").read_bytes()
    assert password not in served.log.read_text() + (served.data_dir / "redis" / "redis.log").read_text()


def test_every_start_has_another_password(data_dir: Path) -> None:
    found = []
    for _ in range(2):
        with running_service(data_dir, SPATIAL_ETL_WORKER__PROCESSES="0"):
            found.append(private_redis_password(data_dir).read_text())
    assert found[0] != found[1]


def call(name: str, *args: Any, **kwargs: Any) -> dict[str, Any]:
    return {"func": name, "args": args, "kwargs": kwargs}


def foreign(canary: Path) -> dict[str, dict[str, Any]]:
    write = f"open({str(canary)!r}, 'w').close()"
    run = {"job_id": f"{RUN}-1"}
    plan = {"job_id": f"plan-{RUN}"}
    return {
        "a function of Python": call("builtins.exec", write),
        "a function of Python, with the id of a run": {**call("builtins.exec", write), **run},
        "a program": call("os.system", f"touch {canary}"),
        "another function of the worker": call("app.worker.main"),
        "arguments by name": {**call("app.worker.execute", RUN, run_id=RUN), **run},
        "no arguments": {**call("app.worker.execute"), **run},
        "a run that is a path": {**call("app.worker.execute", "../../x"), "job_id": "x-1"},
        "a run that is a number": {**call("app.worker.execute", 7), **run},
        "a run under another id": {**call("app.worker.execute", RUN), "job_id": "1" * 32 + "-1"},
        "a plan that is a path": {**call("app.worker.plan", "{}"), "job_id": "plan-x"},
        "a plan that is an object": {**call("app.worker.plan", {}), **plan},
        "a plan that is too long": {**call("app.worker.plan", " " * (5 * 2**20)), **plan},
        "no time limit": {**call("app.worker.execute", RUN), **run, "timeout": -1},
    }


@pytest.mark.parametrize("name", foreign(Path()))
def test_a_job_that_the_service_did_not_make_is_refused(
    served: Service, client: Redis, tmp_path: Path, name: str
) -> None:
    canary = served.data_dir / "objects" / "canary"  # a place that a job may write
    canary.unlink(missing_ok=True)
    queue = Queue("spatial-etl", connection=client, serializer=JSONSerializer)
    before = served.http.get("/runs").json(), sorted(map(str, served.data_dir.glob("objects/*/*")))
    (worker,) = served.workers()
    job = queue.enqueue_call(**foreign(canary)[name], failure_ttl=60)
    wait_for(lambda: job.get_status() is JobStatus.FAILED, "the job to fail")
    latest = job.latest_result()
    assert latest is not None
    assert str(latest.exc_string).startswith("refused: ")
    assert f"refused the job '{job.id}' of the queue: " in served.log.read_text()
    assert not canary.exists()
    assert (served.http.get("/runs").json(), sorted(map(str, served.data_dir.glob("objects/*/*")))) == before
    assert served.workers() == [worker], "the worker goes on"
    wait_for(lambda: client.llen(f"rq:queue:{queue.name}:intermediate") == 0, "the queue to forget the job")
    job.delete()


def test_callbacks_webhooks_and_retries_of_a_job_are_forgotten(served: Service, client: Redis) -> None:
    """RQ would import and call what they name, some of it in the worker itself."""
    queue = Queue("spatial-etl", connection=client, serializer=JSONSerializer)
    with counting_server() as visits:
        job = Job.create(
            "app.worker.execute", (RUN,), connection=client, id=f"{RUN}-1", serializer=JSONSerializer,
            on_success=Callback("app.worker.main"), on_failure=Callback("app.worker.main"),
            on_stopped=Callback("app.worker.main"), result_ttl=60, failure_ttl=60, origin=queue.name,
            webhooks=[Webhook(visits.url, "finished"), Webhook(visits.url, "failed")],
        )  # fmt: skip
        queue.enqueue_job(job)
        wait_for(lambda: job.get_status() in (JobStatus.FINISHED, JobStatus.FAILED), "the job to end")
        assert visits == []
    assert job.get_status() is JobStatus.FINISHED, "there is no such run: nothing was done"


@pytest.mark.parametrize("record", [
    {"data": b"x"}, {"data": b"[]"}, {"data": b"\x78\x9c"}, {"data": json.dumps(["a"]).encode()},
    {"created_at": b"never"}, {"timeout": b"long"}, {"status": b"?"},
])  # fmt: skip
def test_a_damaged_record_ends_no_worker(served: Service, client: Redis, record: dict[str, bytes]) -> None:
    (worker,) = served.workers()
    whole = {"data": b'["app.worker.execute", null, [], {}]', "origin": b"spatial-etl", **record}
    client.hset("rq:job:damaged", mapping=whole)  # type: ignore[arg-type] # bytes are values
    client.rpush("rq:queue:spatial-etl", "damaged")
    assert served.ingest(manifest(f"after-{uuid4().hex}", ("p.geojson", "GeoJSON")))["status"] == "success"
    assert served.workers() == [worker]
    client.delete("rq:job:damaged")
