"""A request's line and headers are read up to a limit, whatever a client sends."""

from __future__ import annotations

import contextlib
import socket
from urllib.parse import urlsplit

import pytest

from tests.service import Service

# More than the buffers between client and server hold.
_ENOUGH = 64 * 1024 * 1024


@pytest.mark.parametrize(
    ("begin", "more"),
    [(b"GET /health HTTP/1.1\r\nHost: x\r\nX-Long: ", b"a" * 100_000),
     (b"GET /health HTTP/1.1\r\nHost: x\r\n", b"X-Many: b\r\n" * 10_000),
     (b"GET /health?", b"c" * 100_000)],
    ids=["one long header", "many headers", "a long query"],
)  # fmt: skip
def test_a_head_without_end_is_cut_off(service: Service, begin: bytes, more: bytes) -> None:
    parts = urlsplit(service.url)
    with socket.create_connection((parts.hostname, parts.port), timeout=60) as connection:
        connection.sendall(begin)
        sent = 0
        # A reset comes instead of the answer where the client was still sending.
        with contextlib.suppress(ConnectionResetError, BrokenPipeError):
            while sent < _ENOUGH:
                connection.sendall(more)
                sent += len(more)
        assert sent < _ENOUGH
    assert service.http.get("/health").status_code == 200


def test_a_large_head_and_many_on_one_connection_are_read(service: Service) -> None:
    headers = {"X-Long": "a" * 30_000}
    for _ in range(5):
        assert service.http.get("/health", headers=headers).status_code == 200
