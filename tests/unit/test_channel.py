"""Messages between a job and its reader."""

from __future__ import annotations

import json
import socket
import struct
import threading

import pytest

from app.jobs.channel import MAX_BLOCK_BYTES, MAX_MESSAGE_BYTES, Channel, ChannelClosed, MessageInvalid


def a_pair() -> tuple[Channel, socket.socket]:
    near, far = socket.socketpair()
    return Channel(near), far


def raw(text: bytes, block: bytes = b"") -> bytes:
    return struct.pack("=IQ", len(text), len(block)) + text + block


def test_a_message_and_its_block_arrive_whole() -> None:
    near, far = a_pair()
    block = bytes(range(256)) * 40_000
    sender = threading.Thread(target=Channel(far).send, args=({"a": ["ä", None, 1.5]}, block))
    sender.start()
    assert near.receive() == ({"a": ["ä", None, 1.5]}, block)
    sender.join()


def test_messages_of_several_threads_do_not_mix() -> None:
    near, far = a_pair()
    other = Channel(far)
    threads = [threading.Thread(target=other.send, args=({"n": n}, str(n).encode() * 50_000)) for n in range(8)]
    for each in threads:
        each.start()
    for _ in threads:
        message, block = near.receive()
        assert block == str(message["n"]).encode() * 50_000
    for each in threads:
        each.join()


@pytest.mark.parametrize("cut", [0, 3, 12, 15])
def test_an_end_in_the_middle_is_an_end(cut: int) -> None:
    near, far = a_pair()
    far.sendall(raw(b'{"a":1}')[:cut])
    far.close()
    with pytest.raises(ChannelClosed):
        near.receive()


@pytest.mark.parametrize(
    "sent",
    [
        raw(b"[1]"),
        raw(b"{"),
        raw(b"\xff\xfe"),
        raw(b'{"a":' * 100_000),
        struct.pack("=IQ", MAX_MESSAGE_BYTES + 1, 0),
        struct.pack("=IQ", 2, MAX_BLOCK_BYTES + 1) + json.dumps({}).encode(),
    ],
)
def test_what_is_no_message_is_refused(sent: bytes) -> None:
    near, far = a_pair()
    sender = threading.Thread(target=far.sendall, args=(sent,))
    sender.start()
    with pytest.raises(MessageInvalid):
        near.receive()
    sender.join()


def test_a_closed_end_takes_nothing() -> None:
    near, far = a_pair()
    far.close()
    with pytest.raises(ChannelClosed):
        near.send({"a": 1}, bytes(1_000_000))
