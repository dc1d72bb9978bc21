"""Messages between a job and its reader: JSON, with a block of bytes where one is needed, over a socket pair.

No pickles: what comes from the reader may have been written by a hostile file that took it over.
"""

from __future__ import annotations

import json
import select
import socket
import struct
import threading
from collections.abc import Mapping
from typing import Any

_HEAD = struct.Struct("=IQ")
# More than a plan of ten thousand columns needs, and than a chunk of rows that goes to PostGIS.
MAX_MESSAGE_BYTES = 64 * 1024 * 1024
MAX_BLOCK_BYTES = 2 * 1024 * 1024 * 1024


class ChannelClosed(Exception):
    """The process at the other end closed the channel, or ended."""


class MessageInvalid(Exception):
    """The other end sent something that is no message of this protocol."""


class Channel:
    """One end. `send` may be called by several threads; `receive` by one, or by the thread that holds the channel."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end
        self._sending = threading.Lock()

    def send(self, message: Mapping[str, Any], block: bytes = b"") -> None:
        """Raises ChannelClosed."""
        text = json.dumps(message, separators=(",", ":")).encode()
        try:
            with self._sending:
                self._end.sendall(_HEAD.pack(len(text), len(block)) + text)
                if block:
                    self._end.sendall(block)
        except OSError as err:
            raise ChannelClosed from err

    def receive(self) -> tuple[dict[str, Any], bytes]:
        """The next message and its block. Raises ChannelClosed, MessageInvalid."""
        length, size = _HEAD.unpack(self._exactly(_HEAD.size))
        if length > MAX_MESSAGE_BYTES or size > MAX_BLOCK_BYTES:
            raise MessageInvalid(f"a message of {length} bytes with a block of {size} bytes is over the limit")
        try:
            message = json.loads(self._exactly(length))
        except (ValueError, RecursionError) as err:
            raise MessageInvalid("not JSON") from err
        if not isinstance(message, dict):
            raise MessageInvalid("not a JSON object")
        return message, self._exactly(size)

    def wait(self, seconds: float) -> bool:
        """Whether there is something to receive, also the end of the other side, within so many seconds."""
        return bool(select.select([self._end], [], [], seconds)[0])

    def close(self) -> None:
        self._end.close()

    def _exactly(self, size: int) -> bytes:
        found = bytearray(size)
        view, done = memoryview(found), 0
        while done < size:
            try:
                got = self._end.recv_into(view[done:])
            except ConnectionError as err:
                raise ChannelClosed from err
            if not got:
                raise ChannelClosed
            done += got
        return bytes(found)
