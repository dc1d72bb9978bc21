"""The proxy that faults are made with does what it says: each fault is seen, and over when it is said to be."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest

from tests.servers.proxy import TcpProxy


@pytest.fixture
def way() -> Iterator[TcpProxy]:
    """A way to a server that sends back what it gets."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer(connection: socket.socket) -> None:
            with connection:
                try:
                    while chunk := connection.recv(65536):
                        connection.sendall(chunk)
                except OSError:
                    return

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                threading.Thread(target=answer, args=(connection,), daemon=True).start()

        threading.Thread(target=serve, daemon=True).start()
        with TcpProxy("127.0.0.1", server.getsockname()[1]) as proxy:
            yield proxy
        server.shutdown(socket.SHUT_RDWR)


def connect(way: TcpProxy) -> socket.socket:
    return socket.create_connection(("127.0.0.1", way.port), timeout=10)


def echo(connection: socket.socket, body: bytes = b"x" * 1000) -> bytes:
    """What comes back, up to the end of the connection."""
    found = b""
    try:
        connection.sendall(body)
        while len(found) < len(body) and (chunk := connection.recv(65536)):
            found += chunk
    except ConnectionError:
        pass
    return found


def nothing_comes(connection: socket.socket) -> bool:
    connection.sendall(b"lost")
    connection.settimeout(0.3)
    try:
        return connection.recv(1) != b""
    except TimeoutError:
        return True
    finally:
        connection.settimeout(10)


def test_it_carries_bytes_both_ways(way: TcpProxy) -> None:
    with connect(way) as connection:
        assert echo(connection, b"y" * 300_000) == b"y" * 300_000


def test_a_cut_resets_and_refuses_until_it_is_restored(way: TcpProxy) -> None:
    with connect(way) as connection:
        assert echo(connection, b"before") == b"before"
        way.cut()
        assert echo(connection) == b""
    with pytest.raises(ConnectionRefusedError):
        connect(way)
    way.restore()
    with connect(way) as connection:
        assert echo(connection, b"after") == b"after"


def test_dropped_connections_are_taken_and_closed(way: TcpProxy) -> None:
    way.drop()
    with connect(way) as connection:
        assert echo(connection) == b""
    way.restore()
    with connect(way) as connection:
        assert echo(connection, b"after") == b"after"


def test_a_transfer_is_broken_in_its_middle(way: TcpProxy) -> None:
    way.break_after(100_000)
    with connect(way) as connection:
        assert len(echo(connection, b"z" * 1_000_000)) < 1_000_000
    way.restore()
    with connect(way) as connection:
        assert echo(connection, b"z" * 1_000_000) == b"z" * 1_000_000


def test_what_is_held_comes_later(way: TcpProxy) -> None:
    with connect(way) as connection:
        assert echo(connection, b"before") == b"before"
        way.hold()
        assert nothing_comes(connection)
        way.restore()
        assert connection.recv(4) == b"lost"


def test_lost_connections_hang_while_new_ones_work(way: TcpProxy) -> None:
    with connect(way) as old:
        assert echo(old, b"before") == b"before"
        way.lose()
        assert nothing_comes(old)
        with connect(way) as new:
            assert echo(new, b"new") == b"new"
        way.restore()
        assert echo(old) == b""
