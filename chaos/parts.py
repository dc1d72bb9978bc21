"""What can be killed: roles (the campaign restarts them as a process manager would), their children, and servers."""

from __future__ import annotations

import signal
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from typing import Protocol

import psutil

from app.reader import BUSY

PATIENCE = 90.0


class Part(Protocol):
    """covers: the victims that are down with this one. stops_at: the signal that asks for a good end."""

    covers: tuple[str, ...]
    stops_at: signal.Signals

    def processes(self, pick: float) -> list[psutil.Process]:
        """Processes that are hit together, the main one first; empty if there is no victim at the moment."""
        ...

    def revive(self) -> None:
        """Start it again unless its parent process does; return when it answers."""
        ...


def wait_until(look: Callable[[], object], what: str, patience: float = PATIENCE) -> None:
    deadline = time.monotonic() + patience
    while not look():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {patience:g} s for {what}")
        time.sleep(0.05)


def alive(processes: Sequence[psutil.Process]) -> list[psutil.Process]:
    found = []
    for process in processes:
        try:
            if process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.NoSuchProcess:
            continue
    return found


def family(pid: int) -> list[psutil.Process]:
    """The process and all below it."""
    try:
        root = psutil.Process(pid)
        return [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def is_reader_server(process: psutil.Process) -> bool:
    """Whether it forks the readers of its worker."""
    try:
        return "app.reader" in process.cmdline()
    except psutil.NoSuchProcess:
        return False


def readers_of(worker: psutil.Process) -> tuple[list[psutil.Process], list[psutil.Process]]:
    """(the reader server of a worker, the readers that have a job)."""
    try:
        servers = [child for child in worker.children() if is_reader_server(child)]
        return servers, [each for server in servers for each in server.children() if each.name() == BUSY]
    except psutil.NoSuchProcess:
        return [], []


class Role:
    """A process that the campaign starts, and restarts after a fault."""

    def __init__(self, name: str, spawn: Callable[[], subprocess.Popen[str]], ready: Callable[[], bool]) -> None:
        self.covers: tuple[str, ...] = (name,)
        self.stops_at = signal.SIGTERM
        self._name, self._spawn, self._ready = name, spawn, ready
        self._lock = threading.Lock()
        self.process: subprocess.Popen[str] | None = None

    def processes(self, pick: float) -> list[psutil.Process]:  # noqa: ARG002 # there is one
        if self.process is None or self.process.poll() is not None:
            return []
        return [psutil.Process(self.process.pid)]

    def revive(self) -> None:
        with self._lock:
            if self.process is not None and self.process.poll() is None:
                return
            self.process = self._spawn()
        wait_until(self._answers, f"{self._name} to answer")

    def _answers(self) -> bool:
        if self.process is not None and self.process.poll() is not None:
            raise RuntimeError(f"{self._name} ended with {self.process.returncode} while it started")
        return self._ready()

    def stop(self) -> int | None:
        """SIGTERM; its exit code, None when it had to be killed."""
        if self.process is None:
            return 0
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.terminate()
        try:
            return self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            return None


class Several:
    """Several parts of one kind; a fault hits one of them."""

    def __init__(self, name: str, parts: Sequence[Role]) -> None:
        self.covers: tuple[str, ...] = (name,)
        self.stops_at = signal.SIGTERM
        self._parts = parts

    def processes(self, pick: float) -> list[psutil.Process]:
        there = [found for part in self._parts if (found := part.processes(0))]
        return there[int(pick * len(there))] if there else []

    def revive(self) -> None:
        for part in self._parts:
            part.revive()


class Children:
    """Processes below a role, in groups that `find` gives. keeper: restarts them; None if their parent does."""

    def __init__(
        self,
        name: str,
        find: Callable[[], list[list[psutil.Process]]],
        patience: float = 0.0,
        keeper: Part | None = None,
    ) -> None:
        self.covers: tuple[str, ...] = (name,)
        self.stops_at = signal.SIGTERM
        self._find, self._patience, self._keeper = find, patience, keeper

    def processes(self, pick: float) -> list[psutil.Process]:
        deadline = time.monotonic() + self._patience
        while True:
            try:
                found = [group for group in self._find() if alive(group)]
            except psutil.NoSuchProcess:
                found = []
            if found:
                return found[int(pick * len(found))]
            if time.monotonic() >= deadline:
                return []
            time.sleep(0.02)

    def revive(self) -> None:
        if self._keeper is not None:
            self._keeper.revive()


class Server:
    """A server that tests start. roots: its processes. start: restarts it with its data."""

    def __init__(
        self,
        name: str,
        roots: Callable[[], list[int]],
        start: Callable[[], object],
        stops_at: signal.Signals = signal.SIGTERM,
    ) -> None:
        self.covers: tuple[str, ...] = (name,)
        self.stops_at = stops_at
        self._roots, self._start = roots, start
        self._struck: list[psutil.Process] = []

    def processes(self, pick: float) -> list[psutil.Process]:  # noqa: ARG002 # there is one
        self._struck = alive([process for root in self._roots() for process in family(root)])
        return self._struck

    def revive(self) -> None:
        # PostgreSQL does not start while one of its former processes is there.
        psutil.wait_procs(self._struck, timeout=PATIENCE)
        self._start()


class All:
    """Several parts at once, as when a host goes down."""

    def __init__(self, parts: Sequence[Part], covers: tuple[str, ...]) -> None:
        self.covers = covers
        self.stops_at = signal.SIGTERM
        self._parts = parts

    def processes(self, pick: float) -> list[psutil.Process]:  # noqa: ARG002 # all are
        return [process for part in self._parts for process in part.processes(0)]

    def revive(self) -> None:
        for part in self._parts:
            part.revive()
