"""The header of a .dbf: how many records it has, how long they are, and which bytes of them are which field."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from app.messages.vector_formats import DBF_FIELDS, DBF_LEVEL_7, DBF_TRUNCATED

Bytes = npt.NDArray[np.uint8]

_MOST_HEADER = 65_535
_DELETED = ord("*")
_BLOCK_ROWS = 65_536
# The field _NullFlags of Visual FoxPro is no column.
SYSTEM = ord("0")
_IS_NULLABLE = 2
# The layout of dBase 7 is another one: where the first field has its type there, it has the name of a language.
_LEVEL_7 = 4
_KINDS = [bytes([kind]) for kind in b"CNFLDMBGPIOTY+@VQW0\r"]


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
    """What stands before the records.

    Attributes:
        version, language: two of its bytes.
        rows: number of records.
        size, record: bytes of the header and of each record.
        fields: all of them, also those that are no columns.
        bits: {place of a field: (bit that says that its value is shorter than its field, bit that says that it is
            null)} in the field _NullFlags of Visual FoxPro.
    """

    version: int
    language: int
    rows: int
    size: int
    record: int
    fields: tuple[DbfField, ...]
    bits: Mapping[int, tuple[int | None, int | None]]

    def is_memo(self, field: DbfField) -> bool:
        """Whether a record has the number of a block in the memo file for the field."""
        return field.kind in b"MGPBW" and field.width in (4, 10)

    def flag(self, bit: int, records: Bytes) -> npt.NDArray[np.bool_]:
        """A bit of _NullFlags in some records; false where the file has none."""
        flags = next((field for field in self.fields if field.kind == SYSTEM), None)
        if flags is None or bit // 8 >= flags.width:
            return np.zeros(len(records), bool)
        return (flags.of(records)[:, bit // 8] >> bit % 8 & 1).astype(bool)

    def values(self, place: int, records: Bytes) -> list[bytes]:
        """The bytes of a field, without what is behind a value that is shorter: its last byte is its length then."""
        part = self.fields[place].of(records)
        width = part.shape[1]
        lengths = np.full(len(part), width)
        is_shorter = self.bits[place][0] if place in self.bits else None
        if is_shorter is not None:
            lengths = np.where(self.flag(is_shorter, records), np.minimum(part[:, -1], width - 1), width)
        return [bytes(row[:length]) for row, length in zip(part, lengths.tolist(), strict=True)]


def read_header(path: Path, file: str) -> DbfHeader:
    """Raises RunRefused: file_truncated, file_damaged, content_mismatch. file: the landing key, for messages."""
    with path.open("rb") as stream:
        head = stream.read(_MOST_HEADER)
    if len(head) < 32:
        raise DBF_TRUNCATED(file=file)
    if head[0] & 7 == _LEVEL_7 and head[43:44] not in _KINDS:
        raise DBF_LEVEL_7(file=file)
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
    return DbfHeader(head[0], head[29], rows, size, record, tuple(fields), _bits(fields))


def _bits(fields: Sequence[DbfField]) -> dict[int, tuple[int | None, int | None]]:
    found, at = {}, 0
    for place, field in enumerate(fields):
        is_shorter = is_null = None
        if field.kind in b"VQ":
            is_shorter, at = at, at + 1
        if field.flags & _IS_NULLABLE and field.kind != SYSTEM:
            is_null, at = at, at + 1
        if is_shorter is not None or is_null is not None:
            found[place] = is_shorter, is_null
    return found


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
