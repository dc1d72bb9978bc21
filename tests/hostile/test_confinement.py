"""The walls around the readers, each tried from inside a process that has them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import SecretStr

import app
from app.jobs import confinement
from app.jobs.confinement import landlock_version
from app.jobs.places import linked_places, needed_variables, server_ports
from app.settings import EngineSettings, LedgerSettings, ObjectsSettings, QueueSettings, Settings
from tests.service import POINTS, manifest, running_service

# Tells for each thing that it tries whether it could be done: "yes", or the name of the error.
TRIALS = """
import json, os, socket, subprocess, sys, threading
from pathlib import Path
from app.jobs.confinement import confine_job, confine_readers, forget_environment
data, outside, port, walls = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
scratch = data / "scratch" / "run"
scratch.mkdir(parents=True)
forget_environment({"GIVEN": "1"}, ["AWS_"])
told = threading.Event()
found = {}

def tried(name, what):
    try:
        what()
        found[name] = "yes"
    except OSError as err:
        found[name] = type(err).__name__

def connect(number):
    with socket.socket() as client:
        client.connect(("127.0.0.1", number))

def another_thread():
    told.wait()
    tried("read outside, beside the readers", outside.read_bytes)
    tried("write data, beside the readers", lambda: (data / "lake").write_text("x"))
    tried("write outside, beside the readers", lambda: outside.write_text("x"))

if walls == "walls":
    confine_job(data)
beside = threading.Thread(target=another_thread)
beside.start()
if walls == "walls":
    confine_readers(scratch, [port])
tried("read outside", outside.read_bytes)
tried("list outside", lambda: os.listdir(outside.parent))
tried("read a secret of the host", Path("/etc/passwd").read_bytes)
tried("read the environment", Path("/proc/self/environ").read_bytes)
tried("write outside", lambda: outside.write_text("x"))
tried("write data", lambda: (data / "ledger").write_text("x"))
tried("write scratch", lambda: (scratch / "in").write_text("x"))
tried("link within scratch", lambda: ((scratch / "own").mkdir(), os.link(scratch / "in", scratch / "own" / "in")))
tried("start a program", lambda: subprocess.run(["/bin/true"], check=True))
tried("connect to a server of ours", lambda: connect(port))
tried("connect elsewhere", lambda: connect(int(sys.argv[5])))
tried("listen", lambda: socket.create_server(("127.0.0.1", 0)).close())
tried("remove scratch", lambda: (os.unlink(scratch / "own" / "in"), os.rmdir(scratch / "own")))
told.set()
beside.join()
found["environment"] = dict(os.environ)
print(json.dumps(found))
"""


def trials(tmp_path: Path, walls: str) -> dict[str, object]:
    import socket

    outside = tmp_path / "outside" / "canary"
    outside.parent.mkdir()
    outside.write_text("canary")
    (tmp_path / "data" / "tmp").mkdir(parents=True)
    variables = {**os.environ, "SPATIAL_ETL_LEDGER__URL": "hush", "AWS_PROFILE": "p", "PYTHONDONTWRITEBYTECODE": "1"}
    variables["TMPDIR"] = str(tmp_path / "data" / "tmp")
    with socket.create_server(("127.0.0.1", 0)) as ours, socket.create_server(("127.0.0.1", 0)) as other:
        ports = [str(server.getsockname()[1]) for server in (ours, other)]
        done = subprocess.run(
            [sys.executable, "-c", TRIALS, str(tmp_path / "data"), str(outside), ports[0], walls, ports[1]],
            env=variables, capture_output=True, text=True, check=False,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found: dict[str, object] = json.loads(done.stdout)
    return found


needs_landlock = pytest.mark.skipif(landlock_version() < 4, reason="this kernel has no Landlock with network rules")


@needs_landlock
def test_readers_reach_their_scratch_and_nothing_else(tmp_path: Path) -> None:
    found = trials(tmp_path, "walls")
    environment = found.pop("environment")
    assert isinstance(environment, dict)
    assert environment["GIVEN"] == "1"
    assert environment["AWS_PROFILE"] == "p"
    assert "hush" not in environment.values()
    allowed = ("write scratch", "link within scratch", "connect to a server of ours", "remove scratch",
               "read outside, beside the readers", "write data, beside the readers")  # fmt: skip
    assert {name for name, result in found.items() if result == "yes"} == set(allowed)
    assert {result for name, result in found.items() if name not in allowed} == {"PermissionError"}


def test_without_walls_everything_is_reached(tmp_path: Path) -> None:
    """So that it is the walls which keep things from happening in the test above."""
    found = trials(tmp_path, "none")
    del found["environment"]
    assert set(found.values()) == {"yes"}


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
    assert (server_ports(plain), needed_variables(plain)) == ([], [])
    assert linked_places(plain) == [tmp_path]
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
    assert server_ports(full) == [6380, 5432]
    assert needed_variables(full) == ["AWS_", "PG"]
    assert linked_places(full) == [tmp_path / "elsewhere"]


def test_software_is_this_package_too() -> None:
    assert Path(app.__file__).parent in confinement._software()
