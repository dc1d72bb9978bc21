"""The .shx of a shapefile against its .shp: GDAL makes a null geometry of a record that it cannot read."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from app.messages.vector_formats import SHP_RECORD

_HEADER = 100
_RECORDS = 1 << 18
# A record without points is at most that long: its type, bounds, and the numbers of parts and points.
_EMPTY_BYTES = 48


def check_index(shp: Path, shx: Path, file: str) -> int:
    """How many records have no geometry, at most. Raises RunRefused file_damaged, naming the record."""
    size = shp.stat().st_size
    count = max(0, shx.stat().st_size - _HEADER) // 8
    if not count:
        return 0
    body = np.memmap(shp, np.uint8, "r")
    entries = np.memmap(shx, ">i4", "r", _HEADER, (count, 2))
    wanted = int.from_bytes(body[32:36].tobytes(), "little")
    nulls = 0
    for first in range(0, count, _RECORDS):
        at, length = (entries[first : first + _RECORDS, i].astype(np.int64) * 2 for i in (0, 1))
        absent = (at == 0) & (length == 0)
        wrong = ~absent & ((at < _HEADER) | (length < 4) | (at + 8 + length > size))
        if wrong.any():
            row = int(np.flatnonzero(wrong)[0])
            found = f"record {first + row} has {length[row]} bytes at {at[row]} by the .shx, the .shp has {size} bytes"
            raise SHP_RECORD(file=file, found=found)
        start = at[~absent]
        kinds = sum(body[start + 8 + byte].astype(np.int64) << 8 * byte for byte in range(4)) + 0 * start
        unknown = (kinds != 0) & (kinds != wanted)
        if unknown.any():
            row = int(np.flatnonzero(~absent)[np.flatnonzero(unknown)[0]])
            found = f"record {first + row} has the shape type {kinds[unknown][0]}, the file has {wanted}"
            raise SHP_RECORD(file=file, found=found)
        nulls += int(absent.sum() + ((kinds == 0) | (length[~absent] <= _EMPTY_BYTES) & (kinds % 10 != 1)).sum())
    return nulls
