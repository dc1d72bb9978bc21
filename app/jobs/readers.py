"""The worker's hold on its reader server, and a job's on its reader (see `app.reader`)."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import NamedTuple, Self

from app.jobs.channel import Channel
from app.jobs.sandbox import kept_environment
from app.system.processes import tied_to_parent

# Of one message about a reader's life: its process id, or how it ended.
_NEWS_BYTES = 4096


class ReaderServer:
    """A process that forks readers. It is started without secrets: what is in its memory is in that of every reader.

    Args:
        environment: variables of libraries, which are set before these are imported.
        log: what `app.system.logs.configure` needs, as arguments of the command line.
    """

    def __init__(self, environment: Mapping[str, str], log: tuple[str, str]) -> None:
        self._environment, self._log = dict(environment), log
        self._start()

    def _start(self) -> None:
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            number = theirs.fileno()
            command = tied_to_parent([sys.executable, "-P", "-m", "app.reader", str(number), *self._log])
            environment = {**kept_environment(), **self._environment}
            self._process = subprocess.Popen(command, pass_fds=[number], env=environment, cwd="/")  # noqa: S603 # our own

    def keep_alive(self) -> None:
        """Start it again if it has ended. Called by the worker between two jobs."""
        if self._process.poll() is not None:
            self._control.close()
            self._start()

    def open_reader(self, channels: int) -> Reader:
        """A new reader with so many channels. Raises OSError when the server is gone."""
        ours, theirs = socket.socketpair()
        pairs = [socket.socketpair() for _ in range(channels)]
        try:
            descriptors = [theirs.fileno(), *(far.fileno() for _, far in pairs)]
            socket.send_fds(self._control, [b"fork"], descriptors)
        except OSError:
            for end in (ours, *(near for near, _ in pairs)):
                end.close()
            raise
        finally:
            for end in (theirs, *(far for _, far in pairs)):
                end.close()
        return Reader(ours, [Channel(near) for near, _ in pairs])


class ReaderEnd(NamedTuple):
    """How a reader's process ended.

    Attributes:
        status: as os.waitpid gives it.
        most_memory: the most bytes that it held.
        had_no_memory: a library wrote that it got no memory.
    """

    status: int
    most_memory: int = 0
    had_no_memory: bool = False


@dataclass
class Reader:
    """One reader. Its server kills it when this is closed, or when this process ends.

    Attributes:
        channels: the first is for the job's calls, the others for work that several threads do at once.
    """

    _life: socket.socket
    channels: list[Channel]
    _end: ReaderEnd | None = field(default=None)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, err: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for channel in self.channels:
            channel.close()
        self._let_it_end()
        self._life.close()

    def stop(self) -> None:
        """Kill it, and return when it is gone and can no longer write to its scratch directory."""
        self._let_it_end()
        self.wait()

    def _let_it_end(self) -> None:
        with suppress(OSError):
            self._life.shutdown(socket.SHUT_WR)

    def wait(self) -> ReaderEnd:
        """How it ended, once it has.

        A server that died with its reader leaves no status: then it is that of a process that was killed.
        """
        while self._end is None:
            try:
                news = self._life.recv(_NEWS_BYTES)
            except ConnectionError:
                news = b""
            if not news:
                self._end = ReaderEnd(signal.SIGKILL)
                break
            found = json.loads(news)
            self._end = ReaderEnd(int(found["status"]), int(found["most_memory"]), bool(found["had_no_memory"]))
        return self._end
