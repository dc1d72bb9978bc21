"""Fields of a .dbf whose bytes are not text: those of Visual FoxPro, and memos. GDAL gives their bytes as text."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from app.pipelines.vector.formats.shapefile.encoding import TextEncoding
from app.pipelines.vector.formats.shapefile.header import Bytes, DbfField, DbfHeader
from app.pipelines.vector.formats.shapefile.memo import MemoFile, blocks_of

# The Julian day of 1970-01-01, and the milliseconds of a day.
_EPOCH = 2_440_588
_DAY = 86_400_000
_CURRENCY = pa.decimal128(19, 4)

Reader = Callable[[Bytes], pa.Array]


@dataclass(frozen=True, slots=True)
class BinaryField:
    """How a field is read from (records, bytes of a record). is_raw: as bytes, because its type is not known."""

    type: pa.DataType
    read: Reader
    is_raw: bool = False


def binary_field(head: DbfHeader, place: int, encoding: TextEncoding, memo: MemoFile | None) -> BinaryField | None:
    """How a field is read that is not written as text; None for one that is.

    Args:
        head: of the .dbf.
        place: number of the field.
        encoding: of its texts.
        memo: the file with the memos; without it they are null.
    """
    field = head.fields[place]
    kind, width = chr(field.kind), field.width
    plain: dict[tuple[str, int], tuple[pa.DataType, Callable[[Bytes], pa.Array]]] = {
        ("I", 4): (pa.int32(), lambda part: pa.array(_view(part, "<i4"))),
        ("B", 8): (pa.float64(), lambda part: pa.array(_view(part, "<f8"))),
        ("Y", 8): (_CURRENCY, _currency),
        ("T", 8): (pa.timestamp("ms"), _moments),
    }
    if (kind, width) in plain:
        to, read = plain[kind, width]
        return BinaryField(to, lambda records: read(field.of(records)))
    if head.is_memo(field):
        return _memo(field, encoding, memo)
    if kind == "V":
        return BinaryField(pa.string(), lambda records: _texts(head.values(place, records), encoding))
    if kind == "Q":
        return BinaryField(pa.binary(), lambda records: pa.array(head.values(place, records), pa.binary()))
    if kind in "BGPW@O+I TY":
        return BinaryField(pa.binary(), lambda records: _raw(field.of(records)), is_raw=True)
    return None


def _view(part: Bytes, kind: str) -> npt.NDArray[Any]:
    return np.ascontiguousarray(part).view(kind).ravel()


def _raw(part: Bytes) -> pa.Array:
    return pa.array([bytes(each) for each in part], pa.binary())


def _currency(part: Bytes) -> pa.Array:
    """Ten thousandths in 64 bits, which are the lower half of a decimal of 128."""
    low = _view(part, "<i8")
    both = np.stack([low, low >> 63], axis=1)
    return pa.Array.from_buffers(_CURRENCY, len(low), [None, pa.py_buffer(both.tobytes())])


def _moments(part: Bytes) -> pa.Array:
    """A Julian day and milliseconds since midnight; null where the day is 0 or blank."""
    pairs = np.ascontiguousarray(part).view("<i4").reshape(-1, 2).astype(np.int64)
    is_blank = (pairs[:, 0] == 0) | (part == ord(" ")).all(axis=1)
    return pa.array((pairs[:, 0] - _EPOCH) * _DAY + pairs[:, 1], pa.int64(), mask=is_blank).cast(pa.timestamp("ms"))


def _texts(values: list[bytes], encoding: TextEncoding) -> pa.Array:
    texts = [encoding.decode(value.rstrip(b" \0")) for value in values]
    return pa.array([text or None for text in texts], pa.string())


def _memo(field: DbfField, encoding: TextEncoding, memo: MemoFile | None) -> BinaryField:
    is_text = field.kind == ord("M")
    kind = pa.string() if is_text else pa.binary()

    def read(records: Bytes) -> pa.Array:
        blocks = blocks_of(field.of(records))
        if memo is None:
            return pa.nulls(len(blocks), kind)
        place = f"field {field.name.decode('latin-1')!r}"
        values = [memo.read(block, place) if block else None for block in blocks]
        if not is_text:
            return pa.array(values, kind)
        return pa.array([value and (encoding.decode(value.rstrip(b"\0")) or None) for value in values], kind)

    return BinaryField(kind, read)
