"""A relay of MongoDB's protocol between a client and a real server. It can answer commands with errors itself."""

from __future__ import annotations

import asyncio
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import bson

_HEADER = struct.Struct("<iiii")
_OP_MSG = 2013
Document = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Refusal:
    """What the relay answers instead of the server. done: the server does the command, and its answer is lost."""

    answer: Document
    done: bool = False


def error(code: int, name: str, message: str, *, done: bool = False) -> Refusal:
    """The answer of a server that refuses a command."""
    return Refusal({"ok": 0.0, "code": code, "codeName": name, "errmsg": message}, done)


class MongoRelay:
    """Carries messages between its own port of loopback and the server of a URL, on a thread of its own.

    refuse: given the document of a command, returns its refusal. None: the server answers. It may be exchanged.
    seen: the names of the commands, in their order, with those that were refused.
    """

    def __init__(self, server_url: str, refuse: Callable[[Document], Refusal | None]) -> None:
        parsed = urlsplit(server_url)
        self._target = (parsed.hostname or "127.0.0.1", parsed.port or 27017)
        self.refuse = refuse
        self.seen: list[str] = []
        self.port = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._connections: set[asyncio.Task[None]] = set()

    def url(self, database: str, options: str = "serverSelectionTimeoutMS=3000") -> str:
        """URL of a database of the server, by way of the relay."""
        return f"mongodb://127.0.0.1:{self.port}/{database}?{options}"

    def __enter__(self) -> Self:
        self._thread.start()
        self._server = asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result(10)
        return self

    def __exit__(self, kind: type[BaseException] | None, err: BaseException | None, tb: TracebackType | None) -> None:
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def _listen(self) -> asyncio.Server:
        server = await asyncio.start_server(self._carry, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        return server

    async def _close(self) -> None:
        self._server.close()
        for task in tuple(self._connections):
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        me = asyncio.current_task()
        assert me is not None
        self._connections.add(me)
        ends = [writer]
        try:
            there_reader, there_writer = await asyncio.open_connection(*self._target)
            ends.append(there_writer)
            lost: dict[int, Refusal] = {}
            async with asyncio.TaskGroup() as both:
                both.create_task(self._commands(reader, writer, there_writer, lost))
                both.create_task(_answers(there_reader, writer, lost))
        except* (OSError, EOFError, asyncio.CancelledError):
            pass
        finally:
            self._connections.discard(me)
            for end in ends:
                end.transport.abort()

    async def _commands(
        self,
        reader: asyncio.StreamReader,
        back: asyncio.StreamWriter,
        there: asyncio.StreamWriter,
        lost: dict[int, Refusal],
    ) -> None:
        while True:
            request_id, _, opcode, message = await _read_message(reader)
            refusal = self._refusal(message) if opcode == _OP_MSG else None
            if refusal is not None and not refusal.done:
                back.write(_answer(refusal, request_id))
                await back.drain()
                continue
            if refusal is not None:
                lost[request_id] = refusal
            there.write(message)
            await there.drain()

    def _refusal(self, message: bytes) -> Refusal | None:
        """After the header: flags (4 bytes), the kind of the first section (1 byte, 0), the document of the command."""
        document = message[_HEADER.size + 5 :]
        command: Document = bson.decode(document[: int.from_bytes(document[:4], "little")])
        self.seen.append(next(iter(command)))
        return self.refuse(command)


async def _read_message(reader: asyncio.StreamReader) -> tuple[int, int, int, bytes]:
    """(its own id, the id of the request that it answers, its operation, all of its bytes)."""
    header = await reader.readexactly(_HEADER.size)
    length, own_id, answers_id, opcode = _HEADER.unpack(header)
    return own_id, answers_id, opcode, header + await reader.readexactly(length - _HEADER.size)


async def _answers(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, lost: dict[int, Refusal]) -> None:
    while True:
        _, request_id, _, message = await _read_message(reader)
        refusal = lost.pop(request_id, None)
        writer.write(message if refusal is None else _answer(refusal, request_id))
        await writer.drain()


def _answer(refusal: Refusal, request_id: int) -> bytes:
    body = bytes(5) + bson.encode(refusal.answer)
    return _HEADER.pack(_HEADER.size + len(body), request_id, request_id, _OP_MSG) + body
