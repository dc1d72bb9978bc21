"""Processes that name themselves, say that they live, and have children that never outlive them (Linux)."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import socket
import sys
import tempfile
import time
from pathlib import Path

_PR_SET_PDEATHSIG = 1

# Runs before exec in the child: asks the kernel for a signal when the parent dies, then looks whether it has already.
_LAUNCH = (
    "import ctypes,os,sys;"
    f"ctypes.CDLL(None).prctl({_PR_SET_PDEATHSIG},int(sys.argv[1]));"
    "os.getppid()==int(sys.argv[2]) or os._exit(1);"
    "os.execvp(sys.argv[3],sys.argv[3:])"
)


def tied_to_parent(command: list[str], on_parent_death: signal.Signals = signal.SIGKILL) -> list[str]:
    """The command, started so that it gets a signal when this process dies, however that happens."""
    return [sys.executable, "-I", "-S", "-c", _LAUNCH, str(int(on_parent_death)), str(os.getpid()), *command]


def die_with_parent(parent_pid: int) -> None:
    """For a forked child: SIGKILL when the parent dies; exits at once when it is dead already."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL))
    if os.getppid() != parent_pid:
        os._exit(1)


def blame_for_memory() -> None:
    """Have the kernel end this process before others of its host or container when memory runs out."""
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("500")


def _start_ticks(pid: int) -> str | None:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] in ("Z", "X") else fields[19]


def _namespace() -> str:
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot[:8]}-{Path('/proc/self/ns/pid').stat().st_ino}"
    except OSError:
        return "?"


def process_name(pid: int | None = None) -> str:
    """`host/namespace/pid/start`: names one process of one boot, so that a reused pid is not mistaken for it."""
    pid = os.getpid() if pid is None else pid
    return f"{socket.gethostname()}/{_namespace()}/{pid}/{_start_ticks(pid)}"


def is_gone(name: str) -> bool:
    """Whether the process of that `process_name` certainly no longer runs. False for processes of other hosts."""
    host, _, rest = name.partition("/")
    parts = rest.split("/")
    if host != socket.gethostname() or len(parts) != 3 or parts[0] != _namespace() or "?" in parts:
        return False
    return _start_ticks(int(parts[1])) != parts[2]


def _sign(role: str) -> Path:
    """In the temporary folder: a container has one of its own, however its volumes are shared."""
    return Path(tempfile.gettempdir()) / f"spatial-etl-{os.getuid()}-{role}.alive"


def beat(role: str) -> None:
    """Leave a sign that a process of this role on this host lives; health checks of containers look at it."""
    with contextlib.suppress(OSError):
        _sign(role).touch(mode=0o600)


def seconds_since_beat(role: str) -> float | None:
    """None: no process of this role has left a sign here."""
    try:
        return max(0.0, time.time() - _sign(role).stat().st_mtime)
    except OSError:
        return None
