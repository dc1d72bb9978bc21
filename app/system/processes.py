"""Processes on Linux: stable names, signs of life, and children that die with their parent."""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import signal
import socket
import sys
import tempfile
import time
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_PR_SET_NAME = 15
_ENOUGH_FILES = 65_536

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
    """For a forked child: have it killed when the parent dies; exits at once when the parent is already dead."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL))
    if os.getppid() != parent_pid:
        os._exit(1)


def name_process(name: str) -> None:
    """How `ps` and `top` show this process. name: of at most 15 characters."""
    ctypes.CDLL(None).prctl(_PR_SET_NAME, name.encode())


def keep_files_private() -> None:
    """New files of this process and its children can be read by this user only."""
    os.umask(0o077)


def leave_current_directory() -> None:
    """Go to the root directory, so that nothing depends on where this process was started. Children get the same."""
    if paths := os.environ.get("PYTHONPATH"):
        # A relative path would mean another directory from now on, and an empty one the current directory.
        os.environ["PYTHONPATH"] = os.pathsep.join(str(Path(path).absolute()) for path in paths.split(":") if path)
    os.chdir("/")


def python_command(module: str, package: Path) -> list[str]:
    """A command that calls `main` of a module. Only `package` is imported from the directory that it is in.

    Args:
        module: dotted path below the package.
        package: directory of the package.
    """
    # Not `-m`: what the module starts would import a second copy of it, which is not set up.
    code = (
        "import sys;p=sys.argv.pop();sys.path.insert(0,p);"
        f"import {package.name};sys.path.remove(p);from {module} import main;main()"
    )
    return [sys.executable, "-P", "-c", code, str(package.parent)]


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
    """A file in the temporary folder, which containers do not share."""
    return Path(tempfile.gettempdir()) / f"spatial-etl-{os.getuid()}-{role}.alive"


def beat(role: str) -> None:
    """Record that a process of this role on this host is alive, for health checks of containers."""
    with contextlib.suppress(OSError):
        _sign(role).touch(mode=0o600)


def seconds_since_beat(role: str) -> float | None:
    """Seconds since the last `beat` of the role on this host; None if there was none."""
    try:
        return max(0.0, time.time() - _sign(role).stat().st_mtime)
    except OSError:
        return None


def raise_open_files() -> int:
    """Raise this process's limit of open files as far as it may; returns the limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _ENOUGH_FILES if hard == resource.RLIM_INFINITY else min(hard, _ENOUGH_FILES)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return _ENOUGH_FILES if soft == resource.RLIM_INFINITY else soft
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    except (OSError, ValueError):
        return soft
    return wanted
