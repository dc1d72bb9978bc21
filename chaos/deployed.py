"""API, two workers and a sweep with MongoDB's protocol or PostgreSQL, Redis, S3 and PostGIS, each behind a proxy."""

from __future__ import annotations

import hashlib
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import urlsplit, urlunsplit

import httpx
import psutil
from pymongo import MongoClient

from chaos.parts import All, Children, Server, Several, alive, is_reader_server, readers_of, wait_until
from chaos.schedule import LINK_KINDS, PROCESS_KINDS, Target
from chaos.system import TOKEN, System
from tests.servers import mongo, postgres, radosgw, s3
from tests.servers.proxy import TcpProxy
from tests.servers.redis import RedisServer
from tests.servers.relay import sync_client

PREFIX = "chaos-"
PASSWORD = "password-of-the-campaigns-queue"  # noqa: S105 # of the campaign's own server
# A killed server must not lose what it has acknowledged.
DURABLE = ("fsync=on", "full_page_writes=on", "synchronous_commit=on")


def targets(ledger: str, store: str) -> tuple[Target, ...]:
    """ledger: postgresql or mongodb. store: radosgw, or moto, whose objects would not outlive it."""
    del ledger  # both meet the same faults
    return (
        Target("api", (*PROCESS_KINDS, *LINK_KINDS), 4),
        Target("worker", PROCESS_KINDS, 3),
        Target("job", ("kill", "stop"), 4),
        Target("attempt", ("kill", "stop"), 2),
        Target("reader", ("kill", "stop"), 2),
        Target("reader server", ("kill",), 1),
        Target("sweep", PROCESS_KINDS, 2),
        Target("redis", (*PROCESS_KINDS, *LINK_KINDS), 2),
        Target("ledger", (*PROCESS_KINDS, *LINK_KINDS), 3),
        Target("store", ("stop" if store == "moto" else "kill", "stop", *LINK_KINDS), 3),
        Target("postgis", (*PROCESS_KINDS, *LINK_KINDS), 3),
        Target("everything", ("kill",), 0.7),
    )


class Deployed(System):
    name: ClassVar[str] = "deployed"
    starts: ClassVar[tuple[str, ...]] = ("api", "worker", "sweep")

    def __init__(self, directory: Path, ledger: str, store: str) -> None:
        super().__init__(directory)
        self.targets = targets(ledger, store)
        self._closing: list[Any] = []
        self._make_redis()
        self._make_ledger(ledger)
        self._make_store(store)
        self._make_postgis()
        self._migrate()
        api = self.role("api", "api")
        self._workers = [self.role(f"worker-{number}", "worker") for number in (1, 2)]
        sweep = self.role("sweep", "sweep")
        workers = Several("worker", self._workers)
        self.parts |= {
            "api": api,
            "worker": workers,
            "job": Children("job", lambda: [[job] for _, job in self._jobs()], patience=2),
            "attempt": Children(
                "attempt", lambda: [[worker, job] for worker, job in self._jobs()], patience=2, keeper=workers
            ),
            "reader": Children(
                "reader",
                lambda: [[each] for worker in self._worker_processes() for each in readers_of(worker)[1]],
                patience=2,
                keeper=workers,
            ),
            "reader server": Children(
                "reader server",
                lambda: [[each] for worker in self._worker_processes() for each in readers_of(worker)[0]],
                keeper=workers,
            ),
            "sweep": sweep,
            "everything": All([api, *self._workers, sweep], ("api", "worker", "worker-1", "worker-2", "sweep")),
        }

    def _link(self, name: str, port: int) -> int:
        self.links[name] = TcpProxy("127.0.0.1", port).start()
        return self.links[name].port

    def _make_redis(self) -> None:
        redis = RedisServer(self.directory / "redis", PASSWORD)
        redis.start()
        self._closing.append(redis.kill)
        self.parts["redis"] = Server("redis", lambda: [redis.process.pid], lambda: _reaped(redis.process, redis.start))
        self.environment["SPATIAL_ETL_QUEUE__REDIS_URL"] = redis.url.replace(
            str(redis.port), str(self._link("redis", redis.port))
        )

    def _make_ledger(self, kind: str) -> None:
        if kind == "mongodb":
            server = mongo.start_server()
            self._closing.append(server.remove)
            self._ledger = f"{server.url}/spatial_etl"
            self.parts["ledger"] = _server_part("ledger", server)
            url = f"mongodb://127.0.0.1:{self._link('ledger', server.port)}/spatial_etl"
        else:
            database = postgres.start_server(*DURABLE)
            self._closing.append(database.stop)
            postgres.execute(database.url, "CREATE DATABASE ledger TEMPLATE template0")
            self._ledger = urlunsplit(urlsplit(database.url)._replace(path="/ledger"))
            self.parts["ledger"] = _server_part("ledger", database)
            url = self._ledger.replace(str(database.port), str(self._link("ledger", database.port)))
        self.environment["SPATIAL_ETL_LEDGER__URL"] = url

    def _make_store(self, kind: str) -> None:
        if kind == "moto":
            self.store = s3.moto_endpoint()
            pids = [child.pid for child in psutil.Process().children() if "moto" in " ".join(child.cmdline())]
            self.parts["store"] = Server("store", lambda: pids, lambda: None)
        else:
            if reason := radosgw.missing():
                raise SystemExit(f"{reason}, or take --store moto, which meets fewer faults")
            daemons: list[subprocess.Popen[bytes]] = []
            folder = self.directory / "ceph"
            folder.mkdir()
            self._closing.append(lambda: radosgw.end_daemons(daemons))
            self._output = (self.directory / "ceph.log").open("ab")
            found = radosgw.start_cluster(folder, daemons, self._output)
            self.store = s3.Server(found["endpoint"], found["access_key"], found["secret_key"])
            self.parts["store"] = Server("store", lambda: [daemons[-1].pid], lambda: self._restart_gateway(daemons))
        port = urlsplit(self.store.endpoint).port
        assert port is not None
        self.environment |= {
            "SPATIAL_ETL_OBJECTS__BACKEND": "s3",
            "SPATIAL_ETL_OBJECTS__ENDPOINT": f"http://127.0.0.1:{self._link('store', port)}",
            "SPATIAL_ETL_OBJECTS__ACCESS_KEY": self.store.access_key,
            "SPATIAL_ETL_OBJECTS__SECRET_KEY": self.store.secret_key,
            "SPATIAL_ETL_OBJECTS__BUCKET_PREFIX": PREFIX,
        }

    def _restart_gateway(self, daemons: list[subprocess.Popen[bytes]]) -> None:
        def answers() -> bool:
            try:
                return httpx.get(self.store.endpoint, timeout=5, trust_env=False).status_code > 0
            except httpx.HTTPError:
                return False

        daemons[-1].wait()
        daemons[-1] = subprocess.Popen(daemons[-1].args, stdout=self._output, stderr=self._output)
        wait_until(answers, "the gateway to answer")

    def _make_postgis(self) -> None:
        server = postgres.start_server()
        self._closing.append(server.stop)
        postgres.execute(server.url, "CREATE EXTENSION postgis")
        self._postgis = server.url
        self.parts["postgis"] = _server_part("postgis", server)
        self.environment |= {
            "SPATIAL_ETL_ENGINE__NAME": "postgis",
            "SPATIAL_ETL_ENGINE__POSTGIS_URL": server.url.replace(
                str(server.port), str(self._link("postgis", server.port))
            ),
        }

    def _migrate(self) -> None:
        command = [sys.executable, "-m", "app", "migrate"]
        done = subprocess.run(command, check=False, capture_output=True, text=True, env=self.environment)
        if done.returncode != 0:
            raise SystemExit(f"the ledger could not be migrated:\n{done.stderr}")

    def documents(self, name: str) -> list[dict[str, Any]]:
        if self._ledger.startswith("mongodb"):
            with MongoClient[dict[str, Any]](self._ledger) as client:
                return list(client.get_default_database()[name].find({}))
        return [dict(row) for row in _select(self._ledger, name)]

    def lake(self) -> Mapping[str, tuple[int, str]]:
        client, bucket = sync_client(self.store), f"{PREFIX}data-lake"
        return {
            key: (len(content), f"sha256:{hashlib.sha256(content).hexdigest()}")
            for key in _keys(client, bucket)
            for content in [client.get_object(Bucket=bucket, Key=key)["Body"].read()]
        }

    def secrets(self) -> tuple[str, ...]:
        return (TOKEN, PASSWORD, self.store.secret_key)

    def schemas(self) -> list[str]:
        query = "SELECT nspname FROM pg_namespace WHERE nspname LIKE 'proc_%'"
        return [row[0] for row in postgres.execute(self._postgis, query)]

    def stop(self) -> list[str]:
        problems = super().stop()
        for close in reversed(self._closing):
            close()
        return problems

    def _jobs(self) -> list[tuple[psutil.Process, psutil.Process]]:
        return [
            (worker, job)
            for worker in self._worker_processes()
            for job in worker.children()
            if not is_reader_server(job)
        ]

    def _worker_processes(self) -> list[psutil.Process]:
        return [worker for role in self._workers for worker in role.processes(0)]


def _server_part(name: str, server: mongo.MongoServer | postgres.PostgresServer) -> Server:
    def roots() -> list[int]:
        return [server.process.pid] if server.process is not None and server.process.poll() is None else []

    # On SIGTERM PostgreSQL waits until every client has disconnected.
    sign = signal.SIGINT if isinstance(server, postgres.PostgresServer) else signal.SIGTERM
    return Server(name, roots, lambda: _reaped(server.process, server.start), sign)


def _reaped(process: subprocess.Popen[bytes] | None, start: Any) -> None:
    """Restart what was killed, once it has exited."""
    if process is not None:
        if process.poll() is None and alive([psutil.Process(process.pid)]):
            process.wait(60)
        process.poll()
    start()


def _select(url: str, name: str) -> Iterator[dict[str, Any]]:
    import asyncio

    import asyncpg

    async def read() -> list[dict[str, Any]]:
        connection = await asyncpg.connect(url)
        try:
            return [dict(row) for row in await connection.fetch(f'SELECT * FROM "{name}"')]  # noqa: S608 # ours
        finally:
            await connection.close()

    yield from asyncio.run(read())


def _keys(client: Any, bucket: str) -> Iterator[str]:
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket):
        yield from (entry["Key"] for entry in page.get("Contents", []))
