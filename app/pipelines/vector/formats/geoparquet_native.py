"""The native geometry encodings of GeoParquet 1.1, which are those of GeoArrow: nested lists of coordinates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from app.pipelines.common.shapes import damaged

Offsets = npt.NDArray[np.int64]
Bytes = npt.NDArray[np.uint8]

_ORDER = b"\x01"
# Bytes of WKB before what an item of a level consists of: byte order and type, with the number of its parts or without,
# or the number alone.
_COUNTED, _POINT, _NUMBER = 9, 5, 4
# {encoding: (bytes before an item, type in WKB) of each level, from the geometries to what has coordinates}
_LEVELS: dict[str, tuple[tuple[int, int], ...]] = {
    "point": ((_POINT, 1),),
    "linestring": ((_COUNTED, 2),),
    "polygon": ((_COUNTED, 3), (_NUMBER, 0)),
    "multipoint": ((_COUNTED, 4), (_POINT, 1)),
    "multilinestring": ((_COUNTED, 5), (_COUNTED, 2)),
    "multipolygon": ((_COUNTED, 6), (_COUNTED, 3), (_NUMBER, 0)),
}
ENCODINGS = frozenset(_LEVELS)
_AXES = {("x", "y"): 0, ("x", "y", "z"): 1_000, ("x", "y", "m"): 2_000, ("x", "y", "z", "m"): 3_000}


def is_native(kind: pa.DataType, encoding: str) -> bool:
    """Whether a column has the type of this encoding: as many nested lists as it has, of structs of x, y, z, m."""
    for _ in range(_lists(encoding)):
        if not (pa.types.is_list(kind) or pa.types.is_large_list(kind)):
            return False
        kind = kind.value_type
    return (
        pa.types.is_struct(kind)
        and tuple(field.name for field in kind) in _AXES
        and all(pa.types.is_float64(field.type) for field in kind)
    )


def to_wkb(array: pa.Array, encoding: str, file: str, first_row: int) -> pa.Array:
    """ISO WKB of native geometries, vertex by vertex; null where a row has none.

    Args:
        array: of a type for which `is_native` is true.
        encoding: one of ENCODINGS.
        file: the key in the landing zone, for messages.
        first_row: number of the first row within the file.

    Raises:
        RunRefused: geometry_damaged for a null within a geometry.
    """
    given = array.is_valid().to_numpy(zero_copy_only=False)
    sizes: list[Offsets] = []
    part = array.drop_null()
    for _ in range(_lists(encoding)):
        sizes.append(part.value_lengths().to_numpy(zero_copy_only=False).astype(np.int64))
        part = part.flatten()
        if part.null_count:
            raise damaged(file, first_row, "one of the rows from here on has a null among its parts")
    axes = part.flatten()
    if any(axis.null_count for axis in axes):
        raise damaged(file, first_row, "one of the rows from here on has a null among its coordinates")
    names = tuple(field.name for field in part.type)
    coordinates = np.column_stack([axis.to_numpy(zero_copy_only=False) for axis in axes])
    found = _assembled(_LEVELS[encoding], sizes, np.ascontiguousarray(coordinates, "<f8"), _AXES[names])
    if given.all():
        return found
    places = np.cumsum(given) - 1
    return found.take(pa.array(places, mask=~given))


def _lists(encoding: str) -> int:
    """How many lists are around the coordinates: points are these themselves."""
    levels = _LEVELS[encoding]
    return len(levels) - (levels[-1][0] == _POINT)


@dataclass(frozen=True, slots=True)
class _Level:
    """The items of a level. head: bytes before each; code: of WKB; counts: their parts; sizes: their bytes."""

    head: int
    code: int
    counts: Offsets
    sizes: Offsets


def _assembled(
    shape: tuple[tuple[int, int], ...], counts: list[Offsets], coordinates: Any, dimensions: int
) -> pa.Array:
    """WKB of geometries, given the numbers of parts of the items of each level."""
    width = coordinates.shape[1] * 8
    if len(counts) < len(shape):
        counts = [*counts, np.ones(len(coordinates), np.int64)]
    levels: list[_Level] = []
    inside: Offsets | None = None
    for (head, kind), parts in zip(reversed(shape), reversed(counts), strict=True):
        body = parts * width if inside is None else _sums(inside, parts)
        inside = head + body
        levels.insert(0, _Level(head, kind + dimensions, parts, inside))
    data = np.zeros(int(levels[0].sizes.sum()), np.uint8)
    is_coordinate = np.ones(len(data), np.bool_)
    starts = _begins(levels[0].sizes)
    edges = np.append(starts, len(data)).astype(np.int32)
    for number, level in enumerate(levels):
        places = starts[:, None] + np.arange(level.head)
        data[places] = _heads(level)
        is_coordinate[places] = False
        if number + 1 < len(levels):
            sizes = levels[number + 1].sizes
            behind = _begins(sizes)
            first = _begins(level.counts)
            # Where the parts of each item would begin, were all parts written one after the other.
            base = np.append(behind, sizes.sum())[first]
            starts = np.repeat(starts + level.head - base, level.counts) + behind
    data[is_coordinate] = coordinates.view(np.uint8).ravel()
    return pa.Array.from_buffers(pa.binary(), len(edges) - 1, [None, pa.py_buffer(edges), pa.py_buffer(data)])


def _heads(level: _Level) -> Bytes:
    """The bytes before each item."""
    made = np.empty((len(level.counts), level.head), np.uint8)
    if level.head != _NUMBER:
        made[:, :5] = np.frombuffer(_ORDER + level.code.to_bytes(4, "little"), np.uint8)
    if level.head != _POINT:
        made[:, -4:] = level.counts.astype("<u4").view(np.uint8).reshape(-1, 4)
    return made


def _begins(sizes: Offsets) -> Offsets:
    """Where each of some items begins that lie one after the other."""
    return np.cumsum(sizes) - sizes


def _sums(sizes: Offsets, counts: Offsets) -> Offsets:
    """The sums of consecutive runs of sizes. counts: how long each run is."""
    total = np.append(0, np.cumsum(sizes))
    stops = np.cumsum(counts)
    found: Offsets = total[stops] - total[stops - counts]
    return found
