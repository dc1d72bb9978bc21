"""`spatial-etl serve`: SQLite, a directory, a private Redis, two workers, all below one process."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, ClassVar

import psutil

from chaos.parts import All, Children, is_reader_server, readers_of
from chaos.schedule import LINK_KINDS, PROCESS_KINDS, Target
from chaos.system import TOKEN, System


class Embedded(System):
    name: ClassVar[str] = "embedded"
    starts: ClassVar[tuple[str, ...]] = ("serve",)
    targets = (
        Target("serve", PROCESS_KINDS, 2),
        Target("worker", PROCESS_KINDS, 3),
        Target("job", ("kill", "stop"), 4),
        Target("attempt", ("kill", "stop"), 2),
        Target("reader", ("kill", "stop"), 2),
        Target("reader server", ("kill",), 1),
        Target("redis", PROCESS_KINDS, 2),
        Target("everything", ("kill",), 1),
        Target("api", LINK_KINDS, 3),
        Target("ledger", ("lock",), 1),
    )

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        serve = self.role("serve", "serve")
        self.parts = {
            "serve": serve,
            "worker": Children("worker", lambda: [[each] for each in self._workers()]),
            "job": Children("job", lambda: [[job] for _, job in self._jobs()], patience=2),
            "attempt": Children("attempt", lambda: [[worker, job] for worker, job in self._jobs()], patience=2),
            "reader": Children(
                "reader", lambda: [[each] for worker in self._workers() for each in readers_of(worker)[1]], patience=2
            ),
            "reader server": Children(
                "reader server", lambda: [[each] for worker in self._workers() for each in readers_of(worker)[0]]
            ),
            "redis": Children("redis", lambda: [[each] for each in self._children() if "redis-server" in each.name()]),
            "everything": All([serve, Children("all", lambda: [self._children()])], ("serve",)),
        }

    @property
    def ledger_file(self) -> Path | None:
        return self.data_dir / "ledger.sqlite"

    def documents(self, name: str) -> list[dict[str, Any]]:
        with closing(sqlite3.connect(self.data_dir / "ledger.sqlite")) as ledger:
            ledger.row_factory = sqlite3.Row
            return [dict(row) for row in ledger.execute(f"SELECT * FROM {name}")]  # noqa: S608 # a name of ours

    def lake(self) -> Mapping[str, tuple[int, str]]:
        root = self.data_dir / "objects" / "data-lake"
        found = {}
        for path in root.rglob("*"):
            key = path.relative_to(root)
            if path.is_file() and not key.parts[0].startswith("."):
                content = path.read_bytes()
                found[str(key)] = len(content), f"sha256:{hashlib.sha256(content).hexdigest()}"
        return found

    def secrets(self) -> tuple[str, ...]:
        return (TOKEN,)

    def _children(self) -> list[psutil.Process]:
        found = self.roles[0].processes(0)
        return found[0].children(recursive=True) if found else []

    def _workers(self) -> list[psutil.Process]:
        found = self.roles[0].processes(0)
        return [child for child in found[0].children() if "app.worker" in " ".join(child.cmdline())] if found else []

    def _jobs(self) -> list[tuple[psutil.Process, psutil.Process]]:
        return [(worker, job) for worker in self._workers() for job in worker.children() if not is_reader_server(job)]
