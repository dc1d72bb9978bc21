"""A private Ceph object gateway: a real S3 server, which checks signatures, clocks, expiry and conditions.

It needs root and Debian's ceph-mon, ceph-osd and radosgw, and takes about 12 s to start. All processes of one test
session share it: the first one starts a keeper (this module, run as a program), which holds the daemons as its children
and ends them when nobody holds the lock of its users any more, however they ended.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from functools import cache
from pathlib import Path
from typing import IO
from uuid import uuid4

import httpx

from app.system.processes import tied_to_parent
from tests.servers.ports import free_port

PROGRAMS = ("ceph", "ceph-mon", "ceph-osd", "monmaptool", "radosgw", "radosgw-admin")
TRIES = 5
START_SECONDS = 60
CONFIGURATION = """
[global]
fsid = {fsid}
mon_host = v1:127.0.0.1:{mon_port}
auth_cluster_required = none
auth_service_required = none
auth_client_required = none
osd_pool_default_size = 1
osd_pool_default_min_size = 1
osd_pool_default_pg_num = 4
osd_crush_chooseleaf_type = 0
mon_warn_on_pool_no_redundancy = false
mon_allow_pool_size_one = true
ms_bind_msgr2 = false
run_dir = {folder}
log_file = {folder}/$name.log
admin_socket = {folder}/$name.asok
keyring = {folder}/keyring
mon_data = {folder}/mon
osd_data = {folder}/osd
osd_objectstore = memstore
# Commands that an OSD sends as it starts, at times before it knows the cluster's id: it ends with "wrong fsid" then.
osd_class_update_on_start = false
osd_crush_update_on_start = false
memstore_device_bytes = 8589934592
crash_dir = {folder}
[client.rgw]
rgw_frontends = beast endpoint=127.0.0.1:{port}
rgw_enable_usage_log = false
rgw_lc_debug_interval = -1
# What was overwritten or deleted is freed soon: everything is in memory.
rgw_gc_obj_min_wait = 10
rgw_gc_processor_period = 5
"""


def missing() -> str | None:
    """Why it cannot be had here, and how to get it; None when it can."""
    if absent := [name for name in PROGRAMS if shutil.which(name) is None]:
        return f"radosgw tests need {', '.join(absent)}: apt-get install ceph-mon ceph-osd radosgw"
    if os.geteuid() != 0:
        return "radosgw tests need root: its daemons are set up as root"
    return None


@cache
def shared() -> dict[str, str]:
    """endpoint, access_key, secret_key of the server of this test session."""
    session = os.environ.get("PYTEST_XDIST_TESTRUNUID") or uuid4().hex
    folder = Path(tempfile.gettempdir()) / f"spatial-etl-radosgw-{session[:12]}"
    folder.mkdir(exist_ok=True)
    users = (folder / "users").open("w")
    _held.append(users)
    fcntl.flock(users, fcntl.LOCK_SH)  # the kernel lets go of it when this process ends
    with (folder / "starter").open("w") as starter:
        fcntl.flock(starter, fcntl.LOCK_EX)
        state, log = folder / "state.json", folder.with_suffix(".log")  # which outlives the folder
        if not state.exists():
            with log.open("wb") as output:
                keeper = subprocess.Popen(
                    [sys.executable, "-m", "tests.servers.radosgw", str(folder)],
                    stdout=output,
                    stderr=output,
                    start_new_session=True,
                    cwd=Path(__file__).parents[2],
                )
            deadline = time.monotonic() + TRIES * START_SECONDS
            while not state.exists():
                if keeper.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"radosgw did not start:\n{log.read_text()[-3000:]}")
                time.sleep(0.1)
    found: dict[str, str] = json.loads(state.read_text())
    return found


_held: list[object] = []


def keep(folder: Path) -> None:
    """Start the server, say where it is, and end it when its last user is gone."""
    daemons: list[subprocess.Popen[bytes]] = []
    try:
        state = start_cluster(folder, daemons)
        draft = folder / "state.draft"
        draft.write_text(json.dumps(state))
        draft.rename(folder / "state.json")
        with (folder / "users").open("w") as users:
            fcntl.flock(users, fcntl.LOCK_EX)
        folder.with_suffix(".log").unlink()
    finally:
        end_daemons(daemons)
        shutil.rmtree(folder, ignore_errors=True)


def start_cluster(
    folder: Path, daemons: list[subprocess.Popen[bytes]], output: IO[bytes] | None = None
) -> dict[str, str]:
    """Where it is, with its keys; `daemons` becomes its processes, the gateway last. output: for what they say.

    Several tries: a port that was free a moment ago may be somebody's connection now.
    """
    for number in range(TRIES):
        inner = folder / str(number)
        inner.mkdir()
        try:
            return _start(inner, daemons, output)
        except (RuntimeError, subprocess.SubprocessError):
            end_daemons(daemons)
            if number + 1 == TRIES:
                raise
            traceback.print_exc()
    raise AssertionError("not reached")


def end_daemons(daemons: list[subprocess.Popen[bytes]]) -> None:
    for daemon in reversed(daemons):
        daemon.kill()
        daemon.wait()
    daemons.clear()


def _start(folder: Path, daemons: list[subprocess.Popen[bytes]], output: IO[bytes] | None) -> dict[str, str]:
    port, mon_port, fsid = free_port(), free_port(), str(uuid4())
    for name in ("mon", "osd"):
        (folder / name).mkdir()
    (folder / "keyring").touch()
    configuration = folder / "ceph.conf"
    configuration.write_text(CONFIGURATION.format(fsid=fsid, folder=folder, port=port, mon_port=mon_port))
    common = ["-c", str(configuration)]

    def run(*command: str) -> None:
        subprocess.run(command, check=True, timeout=60, stdout=output, stderr=output)

    def start(*command: str) -> None:
        # In the foreground, as children that die with the keeper.
        words = tied_to_parent([*command, "-f", "--setuser", "root", "--setgroup", "root"])
        daemons.append(subprocess.Popen(words, stdout=output, stderr=output))

    monmap = str(folder / "monmap")
    run("monmaptool", "--create", "--fsid", fsid, "--addv", "a", f"v1:127.0.0.1:{mon_port}", monmap)
    run("ceph-mon", *common, "--mkfs", "-i", "a", "--monmap", monmap, "--setuser", "root", "--setgroup", "root")
    start("ceph-mon", *common, "-i", "a")
    osd = str(uuid4())
    run("ceph", *common, "osd", "new", osd)
    run("ceph-osd", *common, "-i", "0", "--mkfs", "--osd-uuid", osd, "--setuser", "root", "--setgroup", "root")
    run("ceph", *common, "osd", "crush", "add", "osd.0", "1.0", "root=default", "host=h")
    start("ceph-osd", *common, "-i", "0")
    start("radosgw", *common, "-n", "client.rgw")
    endpoint = f"http://127.0.0.1:{port}"
    _wait_for(endpoint, daemons)
    access, secret = "ACCESSOFTESTS", uuid4().hex
    keys = [f"--access-key={access}", f"--secret-key={secret}"]
    run("radosgw-admin", *common, "user", "create", "--uid=tests", "--display-name=tests", *keys)
    other = ["--access-key=ACCESSOFOTHERS", f"--secret-key={secret}"]
    run("radosgw-admin", *common, "user", "create", "--uid=others", "--display-name=others", *other)
    return {"endpoint": endpoint, "access_key": access, "secret_key": secret, "other_access_key": "ACCESSOFOTHERS"}


def _wait_for(endpoint: str, daemons: list[subprocess.Popen[bytes]]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if any(daemon.poll() is not None for daemon in daemons):
            raise RuntimeError("a daemon of Ceph ended")
        try:
            httpx.get(endpoint, timeout=5, trust_env=False)
        except httpx.HTTPError:
            time.sleep(0.2)
        else:
            return
    raise RuntimeError(f"nothing answers at {endpoint}")


if __name__ == "__main__":
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(1))
    keep(Path(sys.argv[1]))
