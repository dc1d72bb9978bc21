"""A private server of MongoDB's protocol (nx-27017, on SQLite), or the real one that an environment variable names."""

from __future__ import annotations

import atexit
import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from pymongo import MongoClient

from tests.servers import require_servers
from tests.servers.ports import free_port

VARIABLE = "SPATIAL_ETL_TEST_MONGODB_URL"
_PROGRAM = Path(sys.executable).with_name("nx-27017")


class MongoServer:
    """nx-27017 with its data in a directory that goes with it."""

    def __init__(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="spatial-etl-mongo-"))
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None
        atexit.register(self.remove)

    @property
    def url(self) -> str:
        return f"mongodb://127.0.0.1:{self.port}"

    def start(self) -> None:
        (self.directory / "data").mkdir(exist_ok=True)
        files = ["--data-dir", self.directory / "data"]
        files += ["--log-file", self.directory / "log", "--pid-file", self.directory / "pid"]
        with (self.directory / "output").open("ab") as output:
            command = [_PROGRAM, "--port", str(self.port), *files]
            self.process = subprocess.Popen(command, stdout=output, stderr=output)
        deadline = time.monotonic() + 30
        while not self._answers():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"nx-27017 did not start: {(self.directory / 'output').read_text()[-2000:]}")
            time.sleep(0.02)

    def _answers(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1):
            return True
        return False

    def stop(self) -> None:
        """As in a crash. It can be started again."""
        if self.process is not None:
            self.process.kill()
            self.process.wait(30)
            self.process = None

    def remove(self) -> None:
        self.stop()
        shutil.rmtree(self.directory, ignore_errors=True)


def start_server() -> MongoServer:
    """A new one, for a test that stops its server. Skips the test where it cannot be had."""
    require_servers()
    if not _PROGRAM.exists():
        pytest.skip(f"no server of MongoDB's protocol here: pip install nx-27017, or set {VARIABLE} to a MongoDB's URL")
    server = MongoServer()
    server.start()
    return server


@cache
def _shared() -> MongoServer:
    return start_server()


@cache
def _client() -> MongoClient[dict[str, Any]]:
    """One for all that is dropped: connecting takes longer than dropping."""
    client: MongoClient[dict[str, Any]] = MongoClient(mongo_url(), serverSelectionTimeoutMS=3000)
    atexit.register(client.close)
    return client


def mongo_url() -> str:
    """`mongodb://…` without a database, started at the first call; the caller puts `/NAME` where it belongs."""
    return os.environ.get(VARIABLE) or _shared().url


@contextlib.contextmanager
def fresh_database() -> Iterator[str]:
    """URL of a database of the test's own, removed at the end; keeps the options of a URL that has some."""
    name = f"test_{uuid4().hex[:12]}"
    address, _, options = mongo_url().partition("?")
    url = f"{address.rstrip('/')}/{name}{'?' + options if options else ''}"
    try:
        yield url
    finally:
        _client().drop_database(name)
