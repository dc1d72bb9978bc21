"""The reader server: forks, for each job, a process in which sources are read: `python -m app.reader` (by a worker).

It imports the readers' libraries once and uses none of them (GDAL and Arrow hang in a child that is forked after use).
It is started with an environment without secrets, reads no settings, and opens no client: a reader's memory holds no
credential that a file could take. A reader has no open descriptor but its channels, and no way to open one
outside of its scratch directory (Landlock) or to reach a server (seccomp, a network namespace where the kernel allows).
"""

from __future__ import annotations

import ctypes
import fcntl
import importlib
import json
import logging
import os
import resource
import selectors
import signal
import socket
import stat
import sys
import traceback
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.abc import MetaPathFinder
from pathlib import Path
from typing import Any, Never

from app.jobs.channel import Channel, ChannelClosed
from app.jobs.sandbox import sandbox_reader
from app.jobs.scratch import temporary_files_in
from app.jobs.seccomp import deny_ways_out
from app.models.formats import FORMATS
from app.models.intents import pipelines
from app.system.logs import configure
from app.system.memory import says_no_memory
from app.system.processes import blame_for_memory, die_with_parent, name_process

logger = logging.getLogger(__name__)

# Names of the processes, as `ps` shows them.
SPARE, BUSY = "spare reader", "reader"
_NICENESS = 10
_MAX_DESCRIPTORS = 64
_CLONE_NEWNET, _CLONE_NEWUSER = 0x40000000, 0x10000000
# What a reader's libraries may write to standard error, of which each line becomes a line of the log.
_MAX_ERROR_BYTES = 64 * 1024


@dataclass
class _Child:
    """A reader that waits for a job, or has one.

    Attributes:
        orders: the end by which it is handed the channels of its job.
        errors: the end of its standard error that is read here.
        had_no_memory: a library said so when it ended the process.
        life: the end by which its job holds it.
        is_over: it has ended, and the descriptors here are closed: events of the same moment no longer count.
    """

    pid: int
    orders: socket.socket
    errors: int
    error_bytes: int = 0
    had_no_memory: bool = False
    life: socket.socket | None = None
    is_over: bool = False


class Server:
    """Waits for requests of the worker and of its jobs, and for the ends of readers.

    One reader is always forked ahead, so that no job waits for that.
    """

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._selector = selectors.DefaultSelector()
        self._selector.register(control, selectors.EVENT_READ, self._hand_over)
        self._spare: _Child | None = None

    def serve(self) -> None:
        """Until the worker and its job have closed the other end."""
        self._fork_spare()
        while self._control.fileno() >= 0:
            for key, _ in self._selector.select():
                key.data()

    def _hand_over(self) -> None:
        request, descriptors, _, _ = socket.recv_fds(self._control, 16, _MAX_DESCRIPTORS)
        if not request:
            self._control.close()
            return
        life, *channels = descriptors
        child = self._given_to_spare(channels) or self._given_to_new(channels)
        for number in channels:
            os.close(number)
        child.life = socket.socket(fileno=life)
        self._selector.register(child.life, selectors.EVENT_READ, lambda: self._abandoned(child))
        self._fork_spare()

    def _fork_spare(self) -> None:
        self._spare = None
        try:
            self._spare = self._fork()
        except OSError as err:
            logger.warning("no reader is forked ahead: %s", err)

    def _given_to_spare(self, channels: Sequence[int]) -> _Child | None:
        """The spare reader with the channels; None where it is gone."""
        if (spare := self._spare) is None:
            return None
        try:
            socket.send_fds(spare.orders, [b"job"], channels)
        except OSError:
            return None
        return spare

    def _given_to_new(self, channels: Sequence[int]) -> _Child:
        child = self._fork()
        socket.send_fds(child.orders, [b"job"], channels)
        return child

    def _fork(self) -> _Child:
        orders, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        errors, theirs = os.pipe()
        server = os.getpid()
        pid = os.fork()
        if pid == 0:
            _become_reader(server, far, theirs)
        far.close()
        os.close(theirs)
        os.set_blocking(errors, False)
        child = _Child(pid, orders, errors)
        ended = os.pidfd_open(pid)
        self._selector.register(ended, selectors.EVENT_READ, lambda: self._ended(child, ended))
        self._selector.register(errors, selectors.EVENT_READ, lambda: self._wrote(child))
        return child

    def _abandoned(self, child: _Child) -> None:
        """Its job is done with it, or has ended."""
        if child.is_over or child.life is None:
            return
        self._selector.unregister(child.life)
        with suppress(ProcessLookupError):
            os.kill(child.pid, signal.SIGKILL)

    def _ended(self, child: _Child, ended: int) -> None:
        _, status, usage = os.wait4(child.pid, 0)
        self._wrote(child)
        child.is_over = True
        for each in (ended, child.errors):
            with suppress(KeyError):
                self._selector.unregister(each)
            os.close(each)
        child.orders.close()
        if child is self._spare:
            # The next job gets a new reader, and is followed by a new spare one: what ends at once is not forked again.
            logger.warning("the spare reader ended (status %s)", status)
            self._spare = None
        if child.life is not None:
            with suppress(KeyError):
                self._selector.unregister(child.life)
            # In kilobytes, on Linux.
            news = {
                "status": status,
                "most_memory": usage.ru_maxrss * 1024,
                "had_no_memory": child.had_no_memory,
            }
            with suppress(OSError):
                child.life.sendall(json.dumps(news).encode())
            child.life.close()

    def _wrote(self, child: _Child) -> None:
        """What a library writes when it ends the process is often all that is known of it."""
        if child.is_over:
            return
        try:
            text = os.read(child.errors, _MAX_ERROR_BYTES)
        except BlockingIOError:
            return
        if not text:
            with suppress(KeyError):
                self._selector.unregister(child.errors)
            return
        shown = text[: max(0, _MAX_ERROR_BYTES - child.error_bytes)]
        child.error_bytes += len(text)
        lines = shown.decode("utf-8", "replace").splitlines()
        child.had_no_memory |= any(map(says_no_memory, lines))
        for line in lines:
            logger.warning("the reader wrote: %s", line.encode("unicode_escape").decode())


def _become_reader(server: int, orders: socket.socket, errors: int) -> Never:
    """In the forked child: get ready, serve one job, and end."""
    status = 1
    try:
        die_with_parent(server)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        nothing = os.open(os.devnull, os.O_RDWR)
        for number, source in enumerate((nothing, nothing, errors)):
            os.dup2(source, number)
        _close_all_but([orders.fileno()])
        _get_ready()
        channels = _channels_of_job(orders)
        if channels:
            _serve_job(channels)
        status = 0
    except ChannelClosed:
        pass
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)


def _channels_of_job(orders: socket.socket) -> list[Channel]:
    """Wait for a job; empty when the server has ended."""
    with orders:
        _, descriptors, _, _ = socket.recv_fds(orders, 16, _MAX_DESCRIPTORS)
    name_process(BUSY)
    return [Channel(socket.socket(fileno=number)) for number in descriptors]


def _close_all_but(kept: list[int]) -> None:
    """Close everything else, save the libraries' own data: both copies of PROJ keep their database open over a fork."""
    for number in {int(path.name) for path in Path("/proc/self/fd").iterdir()} - {0, 1, 2, *kept}:
        with suppress(OSError):
            is_data = stat.S_ISREG(os.fstat(number).st_mode) and fcntl.fcntl(number, fcntl.F_GETFL) & os.O_ACCMODE == 0
            if not is_data:
                os.close(number)


def _get_ready() -> None:
    """What every job needs, before anything foreign is read."""
    from pyproj import CRS

    from app.pipelines.common import gdal
    from app.pipelines.raster import gdal as raster_gdal

    os.umask(0o077)
    blame_for_memory()
    # The API and the heartbeats of workers go first.
    os.nice(_NICENESS)
    gdal.forget_other_drivers()
    raster_gdal.forget_other_drivers()
    # The first CRS costs more than all later ones; nearly every job looks these up.
    for code in ("OGC:CRS84", "EPSG:4326"):
        CRS.from_user_input(code)
    name_process(SPARE)


def _serve_job(channels: list[Channel]) -> None:
    from app.pipelines.common.grids import use_grids
    from app.pipelines.job.reader_side import ReadingJob, carry_out

    document, _ = channels[0].receive()
    job = ReadingJob.model_validate(document)
    resource.setrlimit(resource.RLIMIT_DATA, (job.memory_limit, job.memory_limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _check_single_thread()
    readable = [Path(job.grids)] if job.grids and Path(job.grids).is_dir() else []
    for folder in readable:
        use_grids(folder, Path(job.scratch))
    sandbox_reader(Path(job.scratch), *readable)
    deny_ways_out()
    with temporary_files_in(Path(job.scratch)):
        carry_out(job, channels)


def _check_single_thread() -> None:
    """The sandbox holds for the thread that enters it, and for those that it starts."""
    if (found := len(list(Path("/proc/self/task").iterdir()))) != 1:
        raise RuntimeError(f"a reader has {found} threads before it enters its sandbox")


def leave_network() -> bool:
    """A network namespace with nothing in it, for this process and those that it forks. False where the kernel refuses.

    Without rights of an administrator it takes a user namespace too, in which the same user is itself.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWNET) == 0:
        return True
    user, group = os.geteuid(), os.getegid()
    if libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNET) != 0:
        return False
    with suppress(OSError):
        Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
    Path("/proc/self/gid_map").write_text(f"{group} {group} 1")
    return True


class _NotNeeded(MetaPathFinder):
    """Makes these look as if they were not installed."""

    names = ("boto3", "geopandas", "pandas")

    def find_spec(self, fullname: str, _path: Any, _target: Any = None) -> None:
        if fullname in self.names:
            raise ModuleNotFoundError(f"readers do without {fullname}", name=fullname)


def import_readers() -> None:
    """Everything that a pipeline needs, once, so that no reader pays for it.

    A reader may not keep compiled modules: each would compile what it imports. rasterio and pyogrio load what they can
    work without, and what no pipeline uses.
    """
    sys.meta_path.insert(0, _NotNeeded())
    names = {path.partition(":")[0] for path in pipelines()} | {fmt.reader for fmt in FORMATS}
    for name in (*sorted(names), "app.pipelines.job.reader_side"):
        importlib.import_module(name)


def main() -> None:
    number, form, level = sys.argv[1:]
    configure(form, level, "reader")  # type: ignore[arg-type] # the worker's own setting
    # Several processes share a terminal: only the supervisor decides about Ctrl+C, and only the worker about the rest.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    leave_network()
    import_readers()
    Server(socket.socket(fileno=int(number))).serve()


if __name__ == "__main__":
    main()
