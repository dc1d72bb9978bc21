"""The service under test in either profile: its settings, processes, connections and directories."""

from __future__ import annotations

import os
import subprocess
import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar
from uuid import uuid4

import httpx
import psutil

from app.system.processes import tied_to_parent
from chaos.parts import Part, Role
from chaos.schedule import Target
from tests.servers.ports import free_port
from tests.servers.proxy import TcpProxy

# In the environment of every process of a campaign, so that all of them can be found.
MARK = "CHAOS_MARK"
TOKEN = "token-of-the-campaign"  # noqa: S105 # of the campaign's own service
MAX_ATTEMPTS = 8

SETTINGS = {
    "SPATIAL_ETL_RUN__LEASE_SECONDS": "4",
    "SPATIAL_ETL_RUN__HEARTBEAT_SECONDS": "1",
    "SPATIAL_ETL_RUN__MAX_ATTEMPTS": str(MAX_ATTEMPTS),
    "SPATIAL_ETL_RUN__BACKOFF_SECONDS": "0.5",
    "SPATIAL_ETL_RUN__BACKOFF_MAX_SECONDS": "4",
    "SPATIAL_ETL_RUN__CANCEL_SECONDS": "4",
    "SPATIAL_ETL_SWEEP__INTERVAL_SECONDS": "0.5",
    "SPATIAL_ETL_SWEEP__MANIFESTS_SECONDS": "1",
    "SPATIAL_ETL_WORKER__THREADS": "1",
    "SPATIAL_ETL_WEBHOOK__TOKEN": TOKEN,
}


class System(ABC):
    """directory: everything of it, logs too. port: the API's own; `url` goes through the proxy."""

    name: ClassVar[str]
    starts: ClassVar[tuple[str, ...]]

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.data_dir = directory / "data"
        self.temporary = directory / "tmp"
        self.logs = directory / "logs"
        for path in (self.data_dir, self.temporary, self.logs):
            path.mkdir(parents=True)
        self.mark = uuid4().hex
        self.port = free_port()
        self.links: dict[str, TcpProxy] = {"api": TcpProxy("127.0.0.1", self.port).start()}
        self.parts: dict[str, Part] = {}
        self.roles: list[Role] = []
        clean = {
            name: value for name, value in os.environ.items() if not name.startswith(("SPATIAL_ETL_", "MANIFEST_"))
        }
        self.environment = {
            **clean,
            **SETTINGS,
            "SPATIAL_ETL_DATA_DIR": str(self.data_dir),
            "SPATIAL_ETL_API__PORT": str(self.port),
            "TMPDIR": str(self.temporary),
            MARK: self.mark,
        }

    targets: tuple[Target, ...]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.links['api'].port}"

    @property
    def direct_url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def ledger_file(self) -> Path | None:
        """The SQLite file, which another process can lock."""
        return None

    @abstractmethod
    def documents(self, name: str) -> list[dict[str, Any]]:
        """All entries of that table or collection of the ledger."""

    @abstractmethod
    def lake(self) -> Mapping[str, tuple[int, str]]:
        """Size and sha256 of every object of the lake, read from the store itself."""

    @abstractmethod
    def secrets(self) -> tuple[str, ...]:
        """Secrets that must not occur in any log."""

    def schemas(self) -> list[str]:
        """Schemas of runs in PostGIS."""
        return []

    def stop(self) -> list[str]:
        """Stop everything; returns what did not stop properly."""
        problems = []
        for role in reversed(self.roles):
            name = role.covers[0]
            if role.process is not None and (code := role.stop()) != 0:
                problems.append(f"{name} ended with {code} after SIGTERM")
        for link in self.links.values():
            link.close()
        return problems

    def role(self, name: str, *words: str) -> Role:
        """A role of the command line; it is ready when it answers, or at once where it has no port."""

        def spawn() -> subprocess.Popen[str]:
            with (self.logs / f"{name}.log").open("ab") as log:
                command = tied_to_parent([sys.executable, "-m", "app", *words])
                return subprocess.Popen(command, env=self.environment, stdout=log, stderr=log, text=True)

        role = Role(name, spawn, self.answers if words[0] in ("serve", "api") else lambda: True)
        self.roles.append(role)
        return role

    def answers(self) -> bool:
        try:
            return httpx.get(f"{self.direct_url}/health", timeout=2, trust_env=False).status_code == 200
        except httpx.HTTPError:
            return False

    def ready(self) -> bool:
        try:
            found = httpx.get(f"{self.direct_url}/ready", timeout=5, trust_env=False).json()
        except (httpx.HTTPError, ValueError):
            return False
        return all(check["ok"] for check in found["checks"])

    def scratch(self) -> list[str]:
        """What attempts, uploads and checks have left on the disk."""
        root = self.data_dir / "scratch"
        found = [f"scratch/{path.name}" for path in root.iterdir()] if root.is_dir() else []
        found += [
            f"tmp/{path.name}" for path in self.temporary.iterdir() if path.name.startswith("spatial-etl-manifest")
        ]
        return sorted(found)

    def processes(self) -> list[psutil.Process]:
        """All that were started by this system's roles and live."""
        found = []
        for process in psutil.process_iter():
            try:
                if process.environ().get(MARK) == self.mark and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
            except (psutil.NoSuchProcess, psutil.AccessDenied):
                continue
        return found

    def api_processes(self) -> list[psutil.Process]:
        """API and sweep, whose memory is measured."""
        found = []
        for role in self.roles:
            if role.covers[0] in ("serve", "api", "sweep"):
                found += role.processes(0)
        return found
