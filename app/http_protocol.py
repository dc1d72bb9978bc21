"""HTTP/1.1 by uvicorn's fast parser, which by itself reads request heads of any length."""

from __future__ import annotations

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
