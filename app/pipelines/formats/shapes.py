"""The geometries of a chunk, with their coordinates at hand before geometry objects are made.

Reprojection changes every coordinate: done on the coordinates themselves it saves making every geometry twice.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import shapely

from app.errors import RunRefused
from app.pipelines.formats.findings import Findings

Geometries = npt.NDArray[np.object_]
Coordinates = npt.NDArray[np.float64]
Rows = npt.NDArray[np.intp]

_HEADER = {1: 5, 2: 9, 3: 13}


@dataclass(frozen=True, slots=True)
class Shapes:
    """coordinates: (n, 2) or (n, 3), x before y. rows: for each coordinate the row it belongs to, in the chunk.

    build: geometries, null where a row has none, from coordinates of the same shape; None for those above.
    """

    size: int
    coordinates: Coordinates
    rows: Callable[[], Rows]
    build: Callable[[Coordinates | None], Geometries]


def from_geometries(geometries: Geometries) -> Shapes:
    """Shapes of geometries that are there already. Z is kept; M must have been dropped."""
    has_z = bool(shapely.has_z(geometries).any())
    coordinates, index = shapely.get_coordinates(geometries, include_z=has_z, return_index=True)

    def build(moved: Coordinates | None) -> Geometries:
        # set_coordinates replaces the elements of the array that it is given.
        return geometries if moved is None else shapely.set_coordinates(geometries.copy(), moved)

    return Shapes(len(geometries), coordinates, lambda: index, build)


def from_wkb(wkb: pa.Array, file: str, first_row: int, findings: Findings) -> Shapes:
    """Shapes of WKB. Open rings are closed (counted as rings_closed), M is dropped (m_dropped): GEOS loses it anyway.

    Raises RunRefused geometry_damaged, naming the row.
    """
    return _flat(wkb, file, first_row, findings) or from_geometries(_decode(wkb, file, first_row, findings))


def _flat(wkb: pa.Array, file: str, first_row: int, findings: Findings) -> Shapes | None:
    """Shapes over the WKB bytes, where all rows are 2D points, lines, or polygons of one ring; else None."""
    if wkb.null_count or not len(wkb):
        return None
    offsets = np.frombuffer(wkb.buffers()[1], np.int32)[wkb.offset : wkb.offset + len(wkb) + 1].astype(np.int64)
    data = np.frombuffer(wkb.buffers()[2], np.uint8)[offsets[0] : offsets[-1]]
    starts = offsets[:-1] - offsets[0]
    lengths = np.diff(offsets)
    kind = int(data[1]) if len(data) > 5 else 0
    header = _HEADER.get(kind)
    if header is None or lengths.min() < header:
        return None
    heads = data[starts[:, None] + np.arange(header)]
    counts = (lengths - header) // 16
    expected = np.empty((len(wkb), header), np.uint8)
    expected[:, :5] = (1, kind, 0, 0, 0)
    if kind == 3:
        expected[:, 5:9] = (1, 0, 0, 0)
    if kind > 1:
        expected[:, -4:] = counts.astype("<u4").view(np.uint8).reshape(-1, 4)
    if not (heads == expected).all() or ((lengths - header) % 16).any() or (kind == 1 and (counts != 1).any()):
        return None
    body = np.ones(len(data), np.bool_)
    body[(starts[:, None] + np.arange(header)).ravel()] = False
    coordinates = data[body].view("<f8").reshape(-1, 2)

    def build(moved: Coordinates | None) -> Geometries:
        array = wkb
        if moved is not None:
            patched = data.copy()
            patched[body] = np.ascontiguousarray(moved).view(np.uint8).ravel()
            edges = np.append(starts, len(data)).astype(np.int32)
            array = pa.Array.from_buffers(pa.binary(), len(wkb), [None, pa.py_buffer(edges), pa.py_buffer(patched)])
        return _decode(array, file, first_row, findings)

    if kind == 1 and np.isnan(coordinates).any():
        return None  # an empty point is written as NaN
    return Shapes(len(wkb), coordinates, lambda: np.repeat(np.arange(len(wkb)), counts), build)


def _decode(wkb: pa.Array, file: str, first_row: int, findings: Findings) -> Geometries:
    raw = wkb.to_numpy(zero_copy_only=False)
    geometries: Geometries = shapely.from_wkb(raw, on_invalid="ignore")
    if shapely.is_missing(geometries).sum() != wkb.null_count:
        lost = shapely.is_missing(geometries) & wkb.is_valid().to_numpy(zero_copy_only=False)
        geometries[lost] = shapely.from_wkb(raw[lost], on_invalid="fix")
        still = lost & shapely.is_missing(geometries)
        if still.any():
            raise damaged(file, first_row + int(np.flatnonzero(still)[0]))
        findings.add("rings_closed", lost, first_row)
    measured = shapely.has_m(geometries)
    if measured.any():
        findings.add("m_dropped", measured, first_row)
        high = shapely.has_z(geometries)
        for mask, dimension in ((measured & high, 3), (measured & ~high, 2)):
            geometries[mask] = shapely.from_wkb(
                shapely.to_wkb(geometries[mask], output_dimension=dimension, flavor="iso")
            )
    return geometries


def damaged(file: str, row: int) -> RunRefused:
    return RunRefused(
        f"{file}: the geometry of row {row} cannot be read (rows count from 0).",
        "Correct or remove it; triangulated surfaces are not supported.",
        reason="geometry_damaged",
        file=file,
    )
