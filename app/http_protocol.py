"""HTTP/1.1 by uvicorn's fast parser, which by itself reads request heads of any length, for any time."""

from __future__ import annotations

import asyncio
from typing import ClassVar

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MAX_HEAD_BYTES = 64 * 1024


class BoundedHeads(HttpToolsProtocol):
    """Closes a connection whose request line and headers go on after 64 KiB, and what one read brings beyond that."""

    _reading_head = False
    _head_bytes = 0

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._reading_head, self._head_bytes = True, 0

    def on_headers_complete(self) -> None:
        self._reading_head = False
        super().on_headers_complete()

    def data_received(self, data: bytes) -> None:
        # What a message begins with came with the end of the one before it: only whole reads are counted.
        continues = self._reading_head
        super().data_received(data)
        if continues and self._reading_head:
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES:
                self.send_400_response(f"The request line and headers have more than {MAX_HEAD_BYTES} bytes.")


class PatientProtocol(BoundedHeads):
    """Closes a connection whose next request has not shown its whole head `patience_seconds` after it began.

    A new connection begins at once; a kept one with the first byte (until then uvicorn's own limit holds).
    """

    patience_seconds: ClassVar[float] = 30.0
    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn's own
        super().connection_made(transport)
        self._watch()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        self._forget()
        super().connection_lost(exc)

    def _watch(self) -> None:
        if self.transport.is_closing() or (self.cycle is not None and not self.cycle.response_complete):
            self._forget()
        elif self._deadline is None:
            self._deadline = self.loop.call_later(self.patience_seconds, self._give_up)

    def _forget(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _give_up(self) -> None:
        self._deadline = None
        if not self.transport.is_closing():
            self.transport.close()


def patient_protocol(seconds: float) -> type[PatientProtocol]:
    """A class, because that is what uvicorn takes."""
    return type("PatientProtocol", (PatientProtocol,), {"patience_seconds": seconds})
