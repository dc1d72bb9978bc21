"""The sandboxes of jobs and readers, tried from inside processes that have them, and seen from outside."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import SecretStr

import app
from app.clients import open_ledger
from app.jobs import sandbox
from app.jobs.places import needed_variables, writable_places
from app.jobs.sandbox import landlock_version
from app.jobs.seccomp import denied_calls
from app.settings import EngineSettings, LedgerSettings, ObjectsSettings, QueueSettings, Settings
from tests.faults.test_attempt_ends import big_source, held
from tests.service import POINTS, manifest, running_service, wait_for

# Tells for each thing that it tries whether it could be done: "yes", or the name of the error.
TRIALS = """
import json, os, signal, socket, subprocess, sys
from pathlib import Path
from app.jobs.sandbox import forget_environment, sandbox_job, sandbox_reader
from app.jobs.seccomp import deny_ways_out
data, outside, port, who = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
scratch = data / "scratch" / "run"
scratch.mkdir(parents=True)
(data / "lake").write_text("x")
forget_environment({"GIVEN": "1"}, ["AWS_"])
found = {}

def tried(name, what):
    try:
        what()
        found[name] = "yes"
    except OSError as err:
        found[name] = type(err).__name__

def connect():
    with socket.socket() as client:
        client.connect(("127.0.0.1", port))

if who == "job":
    sandbox_job(data)
if who == "reader":
    sandbox_reader(scratch)
    deny_ways_out()
tried("read outside", outside.read_bytes)
tried("list outside", lambda: os.listdir(outside.parent))
tried("read a secret of the host", Path("/etc/passwd").read_bytes)
tried("read certificates", lambda: os.listdir("/etc/ssl"))
tried("read the environment", Path("/proc/self/environ").read_bytes)
tried("write outside", lambda: outside.write_text("x"))
tried("read data", (data / "lake").read_bytes)
tried("write data", lambda: (data / "ledger").write_text("x"))
tried("write scratch", lambda: (scratch / "in").write_text("x"))
tried("link within scratch", lambda: ((scratch / "own").mkdir(), os.link(scratch / "in", scratch / "own" / "in")))
tried("link a file of others", lambda: os.link(data / "lake", scratch / "lake"))
tried("start a program", lambda: subprocess.run(["/bin/true"], check=True))
tried("connect", connect)
tried("listen", lambda: socket.create_server(("127.0.0.1", 0)).close())
tried("a datagram", lambda: socket.socket(type=socket.SOCK_DGRAM).sendto(b"x", ("127.0.0.1", port)))
tried("signal the parent", lambda: os.kill(os.getppid(), 0))
found["environment"] = dict(os.environ)
print(json.dumps(found))
"""


def trials(tmp_path: Path, who: str) -> dict[str, object]:
    import socket

    outside = tmp_path / "outside" / "canary"
    outside.parent.mkdir()
    outside.write_text("canary")
    (tmp_path / "data" / "tmp").mkdir(parents=True)
    variables = {**os.environ, "SPATIAL_ETL_LEDGER__URL": "hush", "AWS_PROFILE": "p", "PYTHONDONTWRITEBYTECODE": "1"}
    variables["TMPDIR"] = str(tmp_path / "data" / "tmp")
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])
        done = subprocess.run(
            [sys.executable, "-c", TRIALS, str(tmp_path / "data"), str(outside), port, who],
            env=variables, capture_output=True, text=True, check=False,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found: dict[str, object] = json.loads(done.stdout)
    return found


needs_landlock = pytest.mark.skipif(landlock_version() < 4, reason="this kernel has no Landlock with network rules")


@needs_landlock
def test_readers_reach_their_scratch_and_nothing_else(tmp_path: Path) -> None:
    found = trials(tmp_path, "reader")
    environment = found.pop("environment")
    assert isinstance(environment, dict)
    assert environment["GIVEN"] == "1"
    assert "hush" not in environment.values()
    allowed = {"write scratch", "link within scratch"}
    if landlock_version() < 6:
        allowed.add("signal the parent")
    assert {name for name, result in found.items() if result == "yes"} == allowed
    # Across the borders of Landlock the kernel answers as across file systems.
    assert found.pop("link a file of others") in ("OSError", "PermissionError")
    assert {result for name, result in found.items() if name not in allowed} == {"PermissionError"}


@needs_landlock
def test_jobs_write_data_and_start_nothing(tmp_path: Path) -> None:
    found = trials(tmp_path, "job")
    del found["environment"]
    refused = {name for name, result in found.items() if result != "yes"}
    assert refused == {"write outside", "start a program", "listen"}


def test_without_a_sandbox_everything_is_reached(tmp_path: Path) -> None:
    """So that it is the sandbox which keeps things from happening in the tests above."""
    found = trials(tmp_path, "none")
    del found["environment"]
    assert set(found.values()) == {"yes"}


def test_a_reader_holds_no_client_and_no_secret(tmp_path: Path) -> None:
    """Looked at from outside, while it reads for a service whose settings hold a secret."""
    settings = {"SPATIAL_ETL_WORKER__PROCESSES": "1", "SPATIAL_ETL_WEBHOOK__TOKEN": "hush-token-of-the-webhook"}
    with running_service(tmp_path / "data", **settings) as service:
        service.put("big.fgb", big_source())
        run_id = service.post(manifest("secret", ("big.fgb", "FlatGeobuf"))).json()["run_id"]
        reader = held(service, 1, run_id)
        job, (server,) = service.job(), service.reader_servers()
        opened = [str(path.readlink()) for path in Path(f"/proc/{reader.pid}/fd").iterdir()]
        scratch = str((tmp_path / "data" / "scratch").resolve())
        others = [each for each in opened if not each.startswith((scratch, "/usr", sys.prefix, sys.base_prefix))]
        assert sorted({each.partition(":")[0] for each in others}) == ["/dev/null", "pipe", "socket"], opened
        assert sum(each.startswith("socket:") for each in others) == 1, opened
        assert b"hush-token" in memory(job.pid), "else the search would prove nothing"
        assert b"hush-token" not in memory(reader.pid) + memory(server.pid)
        status = Path(f"/proc/{reader.pid}/status").read_text()
        assert ("NoNewPrivs:\t1" in status, "Seccomp:\t2" in status) == (True, bool(denied_calls())), status
        reader.resume()
        assert service.finished(run_id)["status"] == "success"
        wait_for(lambda: service.readers() == [], "the reader to end with its job")


def memory(pid: int) -> bytes:
    """The private memory of a process."""
    found = bytearray()
    with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as stream:
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            place, rights, *_, name = (*line.split(), "")[:7]
            if rights.startswith("rw") and not name.startswith("[v"):
                start, end = (int(number, 16) for number in place.split("-"))
                with contextlib.suppress(OSError):
                    stream.seek(start)
                    found += stream.read(end - start) or b""
    return bytes(found)


def test_a_worker_shows_no_secrets_of_its_environment(tmp_path: Path) -> None:
    """Not even to those who may read its /proc: it overwrites what it was started with."""
    settings = {"SPATIAL_ETL_WORKER__PROCESSES": "1", "SPATIAL_ETL_WEBHOOK__TOKEN": "hush-token"}
    with running_service(tmp_path / "data", **settings) as service:
        service.put("p.geojson", POINTS)
        assert service.ingest(manifest("env", ("p.geojson", "GeoJSON")))["status"] == "success"
        (worker,) = service.workers()
        assert b"hush" not in Path(f"/proc/{worker.pid}/environ").read_bytes()
        supervisor = Path(f"/proc/{service.process.pid}/environ").read_bytes()
        assert b"hush-token" in supervisor, "the supervisor was given it"


def test_what_settings_say_of_places(tmp_path: Path) -> None:
    plain = Settings(data_dir=tmp_path)
    assert needed_variables(plain) == []
    places = [tmp_path / "scratch", tmp_path / "objects"]
    assert writable_places(plain) == [*places, tmp_path], "there is no ledger whose files could be kept"
    asyncio.run(_migrate(plain))
    assert writable_places(plain) == [*places, *(tmp_path / f"ledger.sqlite{end}" for end in ("", "-wal", "-shm"))]
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "objects").symlink_to(tmp_path / "elsewhere")
    full = Settings(
        data_dir=tmp_path / "data",
        ledger=LedgerSettings(url=SecretStr("postgresql+asyncpg://u:p@host/ledger")),
        queue=QueueSettings(redis_url=SecretStr("rediss://:p@host:6380/1")),
        engine=EngineSettings(name="postgis", postgis_url=SecretStr("postgresql://u:p@host/gis")),
        objects=ObjectsSettings(backend="s3"),
    )
    assert needed_variables(full) == ["AWS_", "PG"]
    assert writable_places(full) == [tmp_path / "data" / "scratch"]
    local = Settings(data_dir=tmp_path / "data", ledger=full.ledger)
    assert writable_places(local) == [tmp_path / "data" / "scratch", tmp_path / "elsewhere"]


async def _migrate(settings: Settings) -> None:
    async with open_ledger(settings) as ledger:
        await ledger.migrate()


# What a job tries that is not confined to the readers' thread: code that took over the thread of the ledger.
WRITES = """
import asyncio, json, sys
from pathlib import Path
from app.clients import open_ledger
from app.jobs.places import writable_places
from app.jobs.sandbox import sandbox_job
from app.settings import Settings
settings = Settings(data_dir=Path(sys.argv[1]))
data = settings.data_dir
sandbox_job(*writable_places(settings))
found = {}
for name in sys.argv[2:]:
    try:
        (data / name).write_text("x")
        found[name] = "yes"
    except OSError as err:
        found[name] = type(err).__name__

async def write_ledger():
    for _ in range(3):  # every time all of its connections are closed
        async with open_ledger(settings) as ledger:
            seen = await ledger.get_leadership("sweep")
            assert await ledger.lead("sweep", "me", 10, seen) is not None

asyncio.run(write_ledger())
print(json.dumps(found))
"""


@needs_landlock
def test_a_job_writes_scratch_buckets_and_ledger_only(tmp_path: Path) -> None:
    """Not the files of the private Redis, nor anything else in the data directory."""
    data = tmp_path / "data"
    for name in ("redis", "objects/data-lake", "objects/landing-zone", "scratch", "tmp"):
        (data / name).mkdir(parents=True)
    for name in ("redis/password", "redis/users.conf", "serve.lock"):
        (data / name).write_text("before")
    asyncio.run(_migrate(Settings(data_dir=data)))
    allowed = ["scratch/x", "objects/data-lake/x", "objects/landing-zone/x", "tmp/x"]
    denied = ["redis/password", "redis/users.conf", "redis/new", "serve.lock", "new", "ledger.sqlite-journal"]
    done = subprocess.run(
        [sys.executable, "-c", WRITES, str(data), *allowed, *denied],
        env={**os.environ, "TMPDIR": str(data / "tmp")}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert {name for name, result in found.items() if result == "yes"} == set(allowed)
    assert {found[name] for name in denied} == {"PermissionError"}


def test_software_is_this_package_too() -> None:
    assert Path(app.__file__).parent in sandbox._software()
