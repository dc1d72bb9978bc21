"""A TCP proxy that a test can cut, mend and slow down: a server, or the way to it, that fails without being stopped."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Coroutine
from types import TracebackType
from typing import Any, Self

_CHUNK = 64 * 1024


class TcpProxy:
    """Carries bytes between its own port of loopback and a target, on a thread of its own.

    cut: connections are reset and new ones refused. drop: new ones are taken and closed at once. break_after: each is
    reset in the middle of a transfer. hold: nothing gets through, and nobody is told. lose: so for the connections of
    this moment only, which are reset in the end. delay: each chunk waits, in both directions. restore: as before, on
    the same port. Made ready by `with`, or by start() and close().
    """

    def __init__(self, target_host: str, target_port: int) -> None:
        self._target = (target_host, target_port)
        # Bound all the time, so that nobody else gets the port while it is cut.
        self._kept = socket.socket()
        self._kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        self._kept.bind(("127.0.0.1", 0))
        self.port: int = self._kept.getsockname()[1]
        self._seconds = 0.0
        self._dropping = False
        self._break_after: int | None = None
        self._left = 0
        self._flows = asyncio.Event()
        self._flows.set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.Task[None]] = set()
        self._lost: set[asyncio.Task[None]] = set()

    def start(self) -> Self:
        self._thread.start()
        self.restore()
        return self

    def close(self) -> None:
        self.cut()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()
        self._kept.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, err: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def cut(self) -> None:
        self._run(self._cut())

    def restore(self) -> None:
        self._run(self._restore())

    def drop(self) -> None:
        self._run(self._drop())

    def break_after(self, size: int) -> None:
        """Whenever so many bytes have got through, the connection that brings more is reset."""
        self._left = self._break_after = size

    def hold(self) -> None:
        self._loop.call_soon_threadsafe(self._flows.clear)

    def lose(self) -> None:
        self._run(self._lose())

    def reset_connections(self) -> None:
        """New ones are taken."""
        self._run(self._reset())

    def delay(self, seconds: float) -> None:
        self._seconds = seconds

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    async def _cut(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        await self._reset()

    async def _drop(self) -> None:
        self._dropping = True
        await self._reset()

    async def _lose(self) -> None:
        self._lost |= self._open

    async def _reset(self) -> None:
        await self._end(self._open)

    async def _end(self, connections: set[asyncio.Task[None]]) -> None:
        tasks = tuple(connections)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def _restore(self) -> None:
        self._seconds, self._dropping, self._break_after = 0.0, False, None
        self._flows.set()
        await self._end(self._lost)
        if self._server is None:
            self._server = await asyncio.start_server(self._carry, "127.0.0.1", self.port, reuse_port=True)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        me = asyncio.current_task()
        assert me is not None
        self._open.add(me)
        ends = [writer]
        # Both ways of it end when one does, when they are reset, and when nobody listens there.
        try:
            if not self._dropping:
                there_reader, there_writer = await asyncio.open_connection(*self._target)
                ends.append(there_writer)
                async with asyncio.TaskGroup() as both:
                    both.create_task(self._copy(reader, there_writer, me))
                    both.create_task(self._copy(there_reader, writer, me))
        except* (OSError, asyncio.CancelledError):
            pass
        finally:
            self._open.discard(me)
            self._lost.discard(me)
            for end in ends:
                end.transport.abort()

    async def _copy(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, connection: asyncio.Task[None]
    ) -> None:
        while chunk := await reader.read(_CHUNK):
            if self._seconds:
                await asyncio.sleep(self._seconds)
            await self._flows.wait()
            if connection in self._lost:
                await asyncio.Event().wait()
            if self._break_after is not None:
                if self._left < len(chunk):
                    writer.write(chunk[: self._left])
                    self._left = self._break_after
                    raise ConnectionResetError
                self._left -= len(chunk)
            writer.write(chunk)
            await writer.drain()
        if connection in self._lost:
            await asyncio.Event().wait()
        writer.write_eof()
