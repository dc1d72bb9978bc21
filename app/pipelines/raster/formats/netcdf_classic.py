"""The header of a classic netCDF file, to find truncated files: the netCDF library reads missing values as zeros.

Layout: https://docs.unidata.ucar.edu/nug/current/file_format_specifications.html (CDF-1, CDF-2, CDF-5).
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

# Bytes of one value by nc_type: byte, char, short, int, float, double, ubyte, ushort, uint, int64, uint64.
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 4, 6: 8, 7: 1, 8: 2, 9: 4, 10: 8, 11: 8}
_UNKNOWN_RECORDS = (0xFFFFFFFF, 0xFFFFFFFFFFFFFFFF)


def extent(path: Path) -> tuple[int, int]:
    """(end of the header, end of the last value of the last variable), as offsets in bytes.

    Raises:
        ValueError: what is wrong, for a damaged header.
    """
    with path.open("rb") as stream:
        needed = _Header(stream, path.stat().st_size).needed()
        return stream.tell(), needed


@dataclass
class _Header:
    stream: BinaryIO
    size: int
    version: int = 1

    def needed(self) -> int:
        self.version = self._take(4)[3]
        records = self._count()
        lengths = [self._dimension() for _ in range(self._list(10))]
        self._skip_attributes()
        fixed_end, per_record, starts = self.stream.tell(), 0, []
        for _ in range(self._list(11)):
            shape, size, begin = self._variable(lengths)
            if shape and shape[0] == 0:
                one = math.prod(shape[1:]) * size
                starts.append((begin, one))
                per_record += -(-one // 4) * 4
            else:
                fixed_end = max(fixed_end, begin + math.prod(shape) * size)
        if not starts or records in (0, *_UNKNOWN_RECORDS):
            return fixed_end
        if len(starts) == 1:  # a single record variable is not padded
            per_record = starts[0][1]
        return max(fixed_end, *(begin + (records - 1) * per_record + one for begin, one in starts))

    def _variable(self, lengths: list[int]) -> tuple[list[int], int, int]:
        """(shape, bytes of a value, first byte)."""
        self._skip_name()
        axes = [self._count() for _ in range(self._bounded(self._count()))]
        if any(axis >= len(lengths) for axis in axes):
            raise ValueError("a variable uses a dimension that does not exist")
        self._skip_attributes()
        size = self._type()
        self._count()  # the declared size, which is capped for large variables
        begin = self._number(4 if self.version == 1 else 8)
        return [lengths[axis] for axis in axes], size, begin

    def _dimension(self) -> int:
        self._skip_name()
        return self._count()

    def _skip_attributes(self) -> None:
        for _ in range(self._list(12)):
            self._skip_name()
            size = self._type()
            self._skip(self._count() * size)

    def _list(self, wanted: int) -> int:
        """The number of entries of a list with that tag; 0 for an absent list."""
        kind, count = self._number(4), self._count()
        if kind not in (0, wanted) or (kind == 0 and count):
            raise ValueError(f"a list has the tag {kind} instead of {wanted}")
        return self._bounded(count)

    def _type(self) -> int:
        kind = self._number(4)
        if kind not in _SIZES:
            raise ValueError(f"the type {kind} does not exist")
        return _SIZES[kind]

    def _skip_name(self) -> None:
        self._skip(self._count())

    def _skip(self, count: int) -> None:
        self._bounded(count)
        self.stream.seek(-(-count // 4) * 4, 1)

    def _bounded(self, count: int) -> int:
        """Check a length: no list and no text has more entries than the file has bytes."""
        if count > self.size:
            raise ValueError(f"a length of {count} in a file of {self.size} bytes")
        return count

    def _count(self) -> int:
        return self._number(8 if self.version == 5 else 4)

    def _number(self, width: int) -> int:
        found: int = struct.unpack(">Q" if width == 8 else ">I", self._take(width))[0]
        return found

    def _take(self, count: int) -> bytes:
        found = self.stream.read(count)
        if len(found) < count:
            raise ValueError("the file ends")
        return found
