"""Batches in COPY's binary format, made and read with NumPy: no Python is run for a row."""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

_SIGNATURE = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_END = b"\xff\xff"
# (number of fields, length of n, n, length of the geometry)
_HEAD = np.dtype([("fields", ">i2"), ("size", ">i4"), ("n", ">i4"), ("length", ">i4")])

Numbers = npt.NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class Answer:
    """What the statement of `postgis_sql` gives back."""

    numbers: Numbers
    flags: Numbers
    wkb: pa.Array
    reasons: list[str]


def encode(numbers: Numbers, wkb: pa.Array) -> bytes:
    """Rows of (n, geometry); null where the WKB is null."""
    heads = np.empty(len(wkb), _HEAD)
    heads["fields"], heads["size"], heads["n"] = 2, 4, numbers
    heads["length"] = pc.fill_null(pc.binary_length(wkb), -1).to_numpy(zero_copy_only=False)
    offsets = np.arange(len(wkb) + 1, dtype=np.int32) * _HEAD.itemsize
    head = pa.Array.from_buffers(pa.binary(), len(wkb), [None, pa.py_buffer(offsets), pa.py_buffer(heads.tobytes())])
    rows = pc.binary_join_element_wise(head, wkb.fill_null(b""), pa.scalar(b"", pa.binary()))
    return b"".join((_SIGNATURE, _values(rows), _END))


def decode(stream: bytes) -> Answer:
    """Raises ValueError for anything but one row of those five fields."""
    at = len(_SIGNATURE)
    if stream[: len(_SIGNATURE)] != _SIGNATURE or stream[at : at + 2] != b"\0\5" or stream[-2:] != _END:
        raise ValueError("not one row of five fields in COPY's binary format")
    at += 2
    fields: list[memoryview | None] = []
    view = memoryview(stream)
    for _ in range(5):
        (length,) = struct.unpack_from(">i", stream, at)
        at += 4
        fields.append(view[at : at + length] if length >= 0 else None)
        at += max(length, 0)
    if at != len(stream) - 2:
        raise ValueError("the row is shorter than the stream")
    numbers, flags, lengths = (_integers(field) for field in fields[:3])
    return Answer(numbers, flags, _array(lengths, fields[3]), _texts(fields[4]))


def _values(array: pa.Array) -> memoryview:
    """The bytes of a binary array, one value after the other."""
    offsets = np.frombuffer(array.buffers()[1], np.int32)[array.offset : array.offset + len(array) + 1]
    return memoryview(array.buffers()[2])[int(offsets[0]) : int(offsets[-1])]


def _elements(field: memoryview | None) -> memoryview:
    """An array without its header: dimensions, has nulls, type, and for the one dimension its size and lower bound."""
    if field is None:
        return memoryview(b"")
    dimensions, nulls = struct.unpack_from(">ii", field)
    if dimensions > 1 or nulls:
        raise ValueError(f"an array of {dimensions} dimensions with nulls: {bool(nulls)}")
    return field[20:]


def _integers(field: memoryview | None) -> Numbers:
    pairs = np.frombuffer(_elements(field), ">i4").reshape(-1, 2)
    return pairs[:, 1].astype(np.int32)


def _texts(field: memoryview | None) -> list[str]:
    found, data, at = [], _elements(field), 0
    while at < len(data):
        (length,) = struct.unpack_from(">i", data, at)
        found.append(bytes(data[at + 4 : at + 4 + length]).decode())
        at += 4 + length
    return found


def _array(lengths: Numbers, field: memoryview | None) -> pa.Array:
    data = field if field is not None else memoryview(b"")
    offsets = np.concatenate([[0], np.cumsum(np.maximum(lengths, 0), dtype=np.int64)])
    if offsets[-1] != len(data):
        raise ValueError(f"{len(data)} bytes of geometries where {offsets[-1]} were announced")
    missing = lengths < 0
    mask = pa.py_buffer(np.packbits(~missing, bitorder="little").tobytes()) if missing.any() else None
    buffers = [mask, pa.py_buffer(offsets.astype(np.int32)), pa.py_buffer(data)]
    return pa.Array.from_buffers(pa.binary(), len(lengths), buffers)
