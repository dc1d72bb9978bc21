"""Which polygons of many can overlap another one, by the edges that neighbours share."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import shapely

from app.pipelines.common.shapes import Bytes, Coordinates, Geometries, plain_rows

Mask = npt.NDArray[np.bool_]
Rows = npt.NDArray[np.intp]

_POLYGON, _MULTIPOLYGON = 3, 6
# Bytes of WKB before the coordinates of a polygon of one ring.
_HEAD = 13


@dataclass(frozen=True, slots=True)
class _Rings:
    """Closed rings of polygons.

    Attributes:
        rows: of their polygons.
        sizes: positions of each.
        coordinates: (n, 2), of all rings.
        clockwise: which have the interior of their polygon to the right.
    """

    rows: Rows
    sizes: Rows
    coordinates: Coordinates
    clockwise: Mask

    def edges(self) -> tuple[Coordinates, Coordinates, Rows]:
        """(n, 2) starts and ends of all edges that have a length, the interior to the left; and their rows."""
        # With this, -0.0 and 0.0 are the same bytes.
        places = self.coordinates + 0.0
        begins = np.ones(len(places), np.bool_)
        begins[np.cumsum(self.sizes) - 1] = False
        begins[:-1] &= (places[:-1] != places[1:]).any(axis=1)
        at = np.flatnonzero(begins)
        ring = np.repeat(np.arange(len(self.sizes)), self.sizes)[at]
        turned = self.clockwise[ring]
        return places[at + turned], places[at + ~turned], self.rows[ring]


def exposed(wkb: pa.Array, valid: Mask) -> Mask:
    """Which geometries have an edge that is not also one of another geometry, in the opposite direction.

    If no exposed geometry overlaps another one, no two overlap. For let m be the number of polygons over a place. Where
    two overlap, some border parts m >= 2 from m <= 1. The directed edges of all polygons, each with its interior to
    the left, add up to the jumps of m, and equal edges of opposite directions add up to nothing: so along that border
    lies an edge that is left over, of a polygon on its inner side, where another one lies too.

    Args:
        wkb: ISO WKB, not null, not empty.
        valid: which of them are valid. The others, and those that are no polygons, count as exposed.
    """
    found = np.ones(len(wkb), np.bool_)
    offsets = np.frombuffer(wkb.buffers()[1], np.int32)[wkb.offset : wkb.offset + len(wkb) + 1].astype(np.int64)
    data = np.frombuffer(wkb.buffers()[2], np.uint8)[offsets[0] : offsets[-1]]
    starts, lengths = offsets[:-1] - offsets[0], np.diff(offsets)
    plain = plain_rows(data, starts, lengths, _POLYGON)
    others = np.flatnonzero(~plain & valid)
    shapes = shapely.from_wkb(wkb.take(pa.array(others)).to_numpy(zero_copy_only=False))
    areal = np.isin(shapely.get_type_id(shapes), (_POLYGON, _MULTIPOLYGON))
    both = [_plain_rings(data, starts, lengths, plain, valid), _rings_of(shapes[areal], others[areal])]
    begins, ends, rows = (np.concatenate(parts) for parts in zip(*(each.edges() for each in both), strict=True))
    found[rows] = False
    found[rows[~_matched(begins, ends)]] = True
    return found


def _plain_rings(data: Bytes, starts: Rows, lengths: Rows, plain: Mask, valid: Mask) -> _Rings:
    """The rings of polygons that have one, without those whose direction is not sure."""
    body = np.repeat(plain, lengths)
    body[(starts[plain][:, None] + np.arange(_HEAD)).ravel()] = False
    coordinates = data[body].view("<f8").reshape(-1, 2)
    rows, sizes = np.flatnonzero(plain), (lengths[plain] - _HEAD) // 16
    if not len(rows):
        return _Rings(rows, sizes, coordinates, np.empty(0, np.bool_))
    first = np.cumsum(sizes) - sizes
    x, y = (coordinates - np.repeat(coordinates[first], sizes, axis=0)).T
    # Twice the area of the triangle of each edge and the first position, which is also the last one.
    parts = np.append(x[:-1] * y[1:] - x[1:] * y[:-1], 0.0)
    area, most = np.add.reduceat(parts, first), np.add.reduceat(np.abs(parts), first)
    sure = valid[rows] & (np.abs(area) > 16 * np.finfo(np.float64).eps * sizes * most)
    return _Rings(rows[sure], sizes[sure], coordinates[np.repeat(sure, sizes)], area[sure] < 0)


def _rings_of(polygons: Geometries, rows: Rows) -> _Rings:
    """The rings of valid polygons and multi polygons. rows: of these."""
    parts, of_part = shapely.get_parts(shapely.orient_polygons(polygons), return_index=True)
    rings, of_ring = shapely.get_rings(parts, return_index=True)
    sizes = shapely.get_num_coordinates(rings).astype(np.intp)
    return _Rings(rows[of_part[of_ring]], sizes, shapely.get_coordinates(rings), np.zeros(len(rings), np.bool_))


def _matched(starts: Coordinates, ends: Coordinates) -> Mask:
    """Which edges have exactly one counterpart, from their end to their start. Equal hashes are compared as a whole."""
    hashes = _hashed(starts) + _hashed(ends)
    order = np.argsort(hashes)
    first = np.flatnonzero(np.append(True, hashes[order[1:]] != hashes[order[:-1]]))
    twice = first[np.diff(np.append(first, len(order))) == 2]
    one, other = order[twice], order[twice + 1]
    opposite = (starts[one] == ends[other]).all(axis=1) & (ends[one] == starts[other]).all(axis=1)
    found = np.zeros(len(starts), np.bool_)
    found[one[opposite]] = found[other[opposite]] = True
    return found


def _hashed(points: Coordinates) -> npt.NDArray[np.uint64]:
    x, y = np.ascontiguousarray(points).view(np.uint64).T
    mixed: npt.NDArray[np.uint64] = x * np.uint64(0x9E3779B97F4A7C15) + y * np.uint64(0xC2B2AE3D27D4EB4F)
    mixed ^= mixed >> np.uint64(32)
    mixed *= np.uint64(0xD6E8FEB86659FD93)
    mixed ^= mixed >> np.uint64(29)
    return mixed
