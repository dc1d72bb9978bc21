"""The geometries of a chunk as an array of coordinates, before geometry objects are made.

Reprojection changes every coordinate. Doing it on the array avoids making every geometry twice.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import shapely

from app.errors import RunRefused
from app.messages.common import GEOMETRY_DAMAGED
from app.pipelines.common.findings import Findings
from app.pipelines.common.surfaces import as_polygons, merged
from app.pipelines.common.wkb_depth import MOST_LEVELS, is_too_deep

Geometries = npt.NDArray[np.object_]
Coordinates = npt.NDArray[np.float64]
Rows = npt.NDArray[np.intp]
Bytes = npt.NDArray[np.uint8]

# WKB up to the number of positions, by geometry type: the types with all coordinates in one run, multi types with one
# part and polygons with one ring, as footprints mostly are. (bytes before that number, whether there is a number)
_HEADS = {
    1: (b"\x01\x01\0\0\0", False),
    2: (b"\x01\x02\0\0\0", True),
    3: (b"\x01\x03\0\0\0\x01\0\0\0", True),
    4: (b"\x01\x04\0\0\0\x01\0\0\0\x01\x01\0\0\0", False),
    5: (b"\x01\x05\0\0\0\x01\0\0\0\x01\x02\0\0\0", True),
    6: (b"\x01\x06\0\0\0\x01\0\0\0\x01\x03\0\0\0\x01\0\0\0", True),
}
# Types whose coordinates are a ring.
_RINGS = (3, 6)
_CURVES = re.compile(r"CIRCULARSTRING|CURVE|MULTISURFACE")
_CURVED = "it is curved; convert it to lines first"


@dataclass(frozen=True, slots=True)
class Shapes:
    """The geometries of a chunk.

    Attributes:
        size: number of rows.
        coordinates: (n, 2) or (n, 3), x before y, of all rows.
        rows: returns for each coordinate the row in the chunk that it belongs to.
        build: makes geometries, null where a row has none, from coordinates of the same shape; None for `coordinates`.
        source: returns the WKB of the source if it equals that of build(None); else None.
    """

    size: int
    coordinates: Coordinates
    rows: Callable[[], Rows]
    build: Callable[[Coordinates | None], Geometries]
    source: Callable[[], pa.Array | None] = lambda: None

    def wkb(self) -> pa.Array:
        """The geometries as ISO WKB, null where a row has none."""
        source = self.source()
        return to_wkb(self.build(None)) if source is None else source


def to_wkb(geometries: Geometries) -> pa.Array:
    """ISO WKB in little-endian order, null where there is no geometry."""
    return pa.array(shapely.to_wkb(geometries, flavor="iso"), pa.binary())


def without_heights(shapes: Shapes) -> Shapes:
    """The same shapes in two dimensions."""
    if shapes.coordinates.shape[1] == 2:
        return shapes
    return from_geometries(shapely.force_2d(shapes.build(None)))


def from_geometries(geometries: Geometries) -> Shapes:
    """Shapes of existing geometries. Z is kept; geometries must not have M."""
    has_z = bool(shapely.has_z(geometries).any())
    coordinates, index = shapely.get_coordinates(geometries, include_z=has_z, return_index=True)

    def build(moved: Coordinates | None) -> Geometries:
        # set_coordinates replaces the elements of the array that it is given.
        return geometries if moved is None else shapely.set_coordinates(geometries.copy(), moved)

    return Shapes(len(geometries), coordinates, lambda: index, build)


def from_wkb(wkb: pa.Array, file: str, first_row: int, findings: Findings) -> Shapes:
    """Shapes of WKB.

    Args:
        wkb: ISO WKB or EWKB, null where a row has no geometry.
        file: the key of the source, for messages.
        first_row: number of the first row within the file.
        findings: counts `surfaces_converted`, `rings_closed` (open rings are closed) and `m_dropped` (GEOS keeps no
            M).

    Raises:
        RunRefused: geometry_damaged, with the row.
    """
    offsets = np.frombuffer(wkb.buffers()[1], np.int32)[wkb.offset : wkb.offset + len(wkb) + 1].astype(np.int64)
    data = np.frombuffer(wkb.buffers()[2] or b"", np.uint8)[offsets[0] : offsets[-1]]
    starts, lengths = offsets[:-1] - offsets[0], np.diff(offsets)
    kind = int(np.bincount(data[starts[lengths > 5] + 1], minlength=8).argmax()) if (lengths > 5).any() else 0
    plain = plain_rows(data, starts, lengths, kind)
    rows = np.flatnonzero(plain)
    if len(rows) == len(wkb):
        shapes = _flat(data, starts, lengths, kind, file, first_row, findings)
        return replace(shapes, source=lambda: wkb if _is_as_written(kind, shapes, lengths) else None)
    rest = np.flatnonzero(~plain)
    others = from_geometries(_decode(wkb.take(pa.array(rest)), file, first_row + rest, findings))
    if not len(rows):
        return others
    body = np.repeat(plain, lengths)
    packed = np.cumsum(lengths[rows]) - lengths[rows]
    flat = _flat(data[body], packed, lengths[rows], kind, file, first_row + rows, findings)
    both = combine(len(wkb), [(rows, flat), (rest, others)])

    def source() -> pa.Array | None:
        is_same = _is_as_written(kind, flat, lengths[rows]) and others.wkb().equals(wkb.take(pa.array(rest)))
        return wkb if is_same else None

    return replace(both, source=source)


def plain_rows(data: Bytes, starts: Rows, lengths: Rows, kind: int) -> npt.NDArray[np.bool_]:
    """Which rows are little-endian 2D geometries of this type with all positions in one piece.

    Args:
        data: WKB of all rows.
        starts, lengths: of each row in it.
        kind: 3 for polygons of one ring, 6 for multi polygons of one such part, and so on.
    """
    if kind not in _HEADS:
        return np.zeros(len(starts), np.bool_)
    head, counted = _HEADS[kind]
    size = len(head) + 4 * counted
    plain = lengths >= size + 16 * (not counted)
    if not counted:
        plain &= lengths == size + 16
    at = np.where(plain, starts, 0)
    for offset, byte in enumerate(head):
        plain &= data[at + offset if offset < len(data) else at] == byte
        at = np.where(plain, starts, 0)
    if counted:
        number = sum(data[np.minimum(at + len(head) + i, len(data) - 1)].astype(np.int64) << 8 * i for i in range(4))
        plain &= (number * 16 + size == lengths) & (number > 0)
    return plain


def _is_as_written(kind: int, shapes: Shapes, lengths: Rows) -> bool:
    """Whether plain rows would be written as they were read: rings closed, points not empty."""
    head, counted = _HEADS[kind]
    if not counted:
        return len(shapes.coordinates) == shapes.size
    if kind not in _RINGS:
        return True
    stops = np.cumsum((lengths - len(head) - 4) // 16)
    starts = np.append(0, stops[:-1])
    return bool((shapes.coordinates[starts] == shapes.coordinates[stops - 1]).all())


def _flat(
    data: Bytes, starts: Rows, lengths: Rows, kind: int, file: str, first_row: int | Rows, findings: Findings
) -> Shapes:
    """Shapes of plain rows: coordinates are read from the bytes of the WKB, and written back into them."""
    head, counted = _HEADS[kind]
    size = len(head) + 4 * counted
    body = np.ones(len(data), np.bool_)
    body[(starts[:, None] + np.arange(size)).ravel()] = False
    coordinates = data[body].view("<f8").reshape(-1, 2)
    edges = np.append(starts, len(data)).astype(np.int32)

    def build(moved: Coordinates | None) -> Geometries:
        patched = data
        if moved is not None:
            patched = data.copy()
            patched[body] = np.ascontiguousarray(moved).view(np.uint8).ravel()
        buffers = [None, pa.py_buffer(edges), pa.py_buffer(patched)]
        return _decode(pa.Array.from_buffers(pa.binary(), len(starts), buffers), file, first_row, findings, True)

    if not counted and np.isnan(coordinates).all(axis=1).any():
        # An empty point is written as NaN: it has no coordinates.
        buffers = [None, pa.py_buffer(edges), pa.py_buffer(data)]
        whole = pa.Array.from_buffers(pa.binary(), len(starts), buffers)
        return from_geometries(_decode(whole, file, first_row, findings))
    return Shapes(len(starts), coordinates, lambda: np.repeat(np.arange(len(starts)), (lengths - size) // 16), build)


def vertices_of(shapes: Shapes, rows: Rows) -> tuple[Coordinates, Rows]:
    """((n, 2) coordinates of these rows, the row of each), in any order of the rows."""
    index = shapes.rows()
    chosen = np.isin(index, rows)
    return np.ascontiguousarray(shapes.coordinates[chosen, :2]), index[chosen]


def combine(size: int, parts: Sequence[tuple[Rows, Shapes]]) -> Shapes:
    """Combine several Shapes, each given with its rows in the chunk. Rows in none of them are null."""
    width = max([shapes.coordinates.shape[1] for _, shapes in parts], default=2)
    lists = [_widened(shapes.coordinates, width) for _, shapes in parts]
    coordinates = lists[0] if len(lists) == 1 else np.concatenate([np.empty((0, width)), *lists])

    def rows() -> Rows:
        return np.concatenate([np.empty(0, np.intp), *(at[shapes.rows()] for at, shapes in parts)])

    def build(moved: Coordinates | None) -> Geometries:
        made: Geometries = np.empty(size, object)
        start = 0
        for at, shapes in parts:
            stop = start + len(shapes.coordinates)
            made[at] = shapes.build(None if moved is None else moved[start:stop, : shapes.coordinates.shape[1]])
            start = stop
        return made

    return Shapes(size, coordinates, rows, build)


def _widened(coordinates: Coordinates, width: int) -> Coordinates:
    if coordinates.shape[1] == width:
        return coordinates
    return np.concatenate([coordinates, np.full((len(coordinates), 1), np.nan)], axis=1)


def _decode(wkb: pa.Array, file: str, first_row: int | Rows, findings: Findings, is_flat: bool = False) -> Geometries:
    """WKB to geometries. first_row: number of the first row, or the numbers of all rows; is_flat: has no M."""
    numbers = first_row + np.arange(len(wkb)) if isinstance(first_row, int) else first_row
    raw = wkb.to_numpy(zero_copy_only=False)
    if not is_flat:
        deep = next((row for row, value in enumerate(raw) if value is not None and is_too_deep(value)), None)
        if deep is not None:
            raise damaged(file, int(numbers[deep]), f"more than {MOST_LEVELS} nested collections")
    try:
        geometries: Geometries = shapely.from_wkb(raw, on_invalid="ignore")
    except NotImplementedError:
        raise damaged(file, int(numbers[next(_curved(raw))]), _CURVED) from None
    if shapely.is_missing(geometries).sum() != wkb.null_count:
        lost = shapely.is_missing(geometries) & wkb.is_valid().to_numpy(zero_copy_only=False)
        surfaces = _read_surfaces(raw, geometries, lost)
        lost &= shapely.is_missing(geometries)
        geometries[lost] = shapely.from_wkb(raw[lost], on_invalid="fix")
        geometries[surfaces] = [merged(geometry) for geometry in geometries[surfaces]]
        still = lost & shapely.is_missing(geometries)
        if still.any():
            raise damaged(file, int(numbers[still][0]), "its WKB is invalid")
        findings.add("surfaces_converted", numbers[surfaces])
        findings.add("rings_closed", numbers[lost])
    if not is_flat and (nested := next(_nested_curves(geometries), None)) is not None:
        raise damaged(file, int(numbers[nested]), _CURVED)
    if not is_flat and (measured := shapely.has_m(geometries)).any():
        findings.add("m_dropped", numbers[measured])
        high = shapely.has_z(geometries)
        for mask, dimension in ((measured & high, 3), (measured & ~high, 2)):
            geometries[mask] = shapely.from_wkb(
                shapely.to_wkb(geometries[mask], output_dimension=dimension, flavor="iso")
            )
    return geometries


def _read_surfaces(
    raw: npt.NDArray[np.object_], geometries: Geometries, lost: npt.NDArray[np.bool_]
) -> npt.NDArray[np.bool_]:
    """Read the surfaces among the lost rows as polygons, in place, also in `raw`. Returns which rows these are."""
    found = np.zeros(len(raw), np.bool_)
    for row in np.flatnonzero(lost):
        if (polygons := as_polygons(raw[row])) is not None and not is_too_deep(polygons):
            raw[row], found[row] = polygons, True
    geometries[found] = shapely.from_wkb(raw[found], on_invalid="ignore")
    return found


def _curved(raw: npt.NDArray[np.object_]) -> Iterator[int]:
    """The rows whose WKB is a curve, for which GEOS has no objects."""
    for row, value in enumerate(raw):
        try:
            shapely.from_wkb(value, on_invalid="ignore")
        except NotImplementedError:
            yield row


def _nested_curves(geometries: Geometries) -> Iterator[int]:
    """The rows with a collection that has a curve inside: GEOS makes it, and then cannot compute with it."""
    for row in np.flatnonzero(shapely.get_type_id(geometries) == shapely.GeometryType.GEOMETRYCOLLECTION):
        if _CURVES.search(shapely.to_wkt(geometries[row], rounding_precision=0)):
            yield int(row)


def damaged(file: str, row: int, problem: str) -> RunRefused:
    """The refusal of a geometry that cannot be read. row: its number within the file."""
    return GEOMETRY_DAMAGED(file=file, row=row, problem=problem)
