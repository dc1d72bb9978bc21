"""Limits for request heads, which uvicorn's HTTP/1.1 parser reads at any length and for any time."""

from __future__ import annotations

import asyncio
from typing import ClassVar

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MAX_HEAD_BYTES = 64 * 1024


class BoundedHeads(HttpToolsProtocol):
    """Closes a connection whose request line and headers exceed 64 KiB (plus at most one read)."""

    _reading_head = False
    _head_bytes = 0

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._reading_head, self._head_bytes = True, 0

    def on_headers_complete(self) -> None:
        self._reading_head = False
        super().on_headers_complete()

    def data_received(self, data: bytes) -> None:
        # The first bytes of a head may arrive with the end of the request before: only whole reads are counted.
        continues = self._reading_head
        super().data_received(data)
        if continues and self._reading_head:
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES:
                self.send_400_response(f"The request line and headers have more than {MAX_HEAD_BYTES} bytes.")


class HeadTimeoutProtocol(BoundedHeads):
    """Closes a connection when a request head is not complete within `patience_seconds`.

    When more than `most_incomplete` are incomplete, the oldest is closed at once.

    The time starts with the connection; on a kept-alive one with the first byte (before it uvicorn's keep-alive
    time-out applies).
    """

    patience_seconds: ClassVar[float] = 30.0
    most_incomplete: ClassVar[int] = 2000
    # Connections whose head is not complete, the oldest first. One for each server.
    incomplete: ClassVar[dict[HeadTimeoutProtocol, None]] = {}
    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn's own
        super().connection_made(transport)
        self._watch()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        self._cancel_deadline()
        super().connection_lost(exc)

    def _watch(self) -> None:
        if self.transport.is_closing() or (self.cycle is not None and not self.cycle.response_complete):
            self._cancel_deadline()
        elif self._deadline is None:
            self._deadline = self.loop.call_later(self.patience_seconds, self._close)
            self.incomplete[self] = None
            if len(self.incomplete) > self.most_incomplete:
                # Heads of clients that mean well are complete at once, so the oldest is the one to give way.
                next(iter(self.incomplete))._close()

    def _cancel_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        self.incomplete.pop(self, None)

    def _close(self) -> None:
        self._cancel_deadline()
        if not self.transport.is_closing():
            self.transport.close()


def head_timeout_protocol(seconds: float, most_incomplete: int = 2000) -> type[HeadTimeoutProtocol]:
    """The protocol class with that time-out and limit, as uvicorn's `http` option takes it."""
    own = {"patience_seconds": seconds, "most_incomplete": most_incomplete, "incomplete": {}}
    return type("PatientProtocol", (HeadTimeoutProtocol,), own)
