"""The header of a .dbf: how many records it has, how long they are, and which bytes of them are which field."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from app.messages.vector_formats import DBF_FIELDS, DBF_TRUNCATED

Bytes = npt.NDArray[np.uint8]

_MOST_HEADER = 65_535
_DELETED = ord("*")
_BLOCK_ROWS = 65_536


@dataclass(frozen=True, slots=True)
class DbfField:
    """A field: start, width: which bytes of a record it has. kind: its letter. flags: those of Visual FoxPro."""

    name: bytes
    kind: int
    start: int
    width: int
    decimals: int
    flags: int = 0

    def of(self, block: Bytes) -> Bytes:
        """Its bytes in some records, (records, width)."""
        return block[:, self.start : self.start + self.width]


@dataclass(frozen=True, slots=True)
class DbfHeader:
    """rows: number of records. size, record: bytes of the header and of each record. version: the first byte."""

    version: int
    language: int
    rows: int
    size: int
    record: int
    fields: tuple[DbfField, ...]


def read_header(path: Path, file: str) -> DbfHeader:
    """Raises RunRefused: file_truncated, file_damaged. file: the landing key, for messages."""
    with path.open("rb") as stream:
        head = stream.read(_MOST_HEADER)
    if len(head) < 32:
        raise DBF_TRUNCATED(file=file)
    rows, size, record = struct.unpack("<LHH", head[4:12])
    fields, start, at = [], 1, 32
    while at + 32 <= min(size, len(head)) and head[at] != 0x0D:
        kind, width, decimals = head[at + 11], head[at + 16], head[at + 17]
        if kind == ord("C"):
            width, decimals = width + (decimals << 8), 0
        fields.append(DbfField(head[at : at + 11].split(b"\x00")[0], kind, start, width, decimals, head[at + 18]))
        start += width
        at += 32
    if start > record:
        raise DBF_FIELDS(file=file, record=record, fields=start)
    return DbfHeader(head[0], head[29], rows, size, record, tuple(fields))


def records(path: Path, header: DbfHeader, rows: int) -> Bytes:
    """The first `rows` records as they lie in the file, (rows, bytes of a record)."""
    if not rows or not header.record:
        return np.zeros((0, 1), np.uint8)
    return np.memmap(path, np.uint8, "r", header.size, (rows, header.record))


def is_deleted(block: Bytes) -> npt.NDArray[np.bool_]:
    """Which records are marked as deleted: those are no rows."""
    return np.equal(block[:, 0], _DELETED)


def blocks(table: Bytes) -> Iterator[tuple[int, Bytes]]:
    """The records that are not deleted, some at a time, each time with the number of rows before them."""
    done = 0
    for first in range(0, len(table), _BLOCK_ROWS):
        block = np.asarray(table[first : first + _BLOCK_ROWS])
        gone = is_deleted(block)
        block = block[~gone] if gone.any() else block
        yield done, block
        done += len(block)
