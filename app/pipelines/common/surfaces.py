"""Triangulated and polyhedral surfaces as polygons: GEOS has no objects for them, and GeoParquet no name."""

from __future__ import annotations

import struct
from typing import Any

import shapely

TRIANGLE, POLYHEDRAL, TIN = 17, 15, 16
# What each becomes, and what it may consist of.
_BECOMES = {POLYHEDRAL: 6, TIN: 6, TRIANGLE: 3}
_FACES = (3, TRIANGLE)
_COLLECTIONS = (4, 5, 6, 7, POLYHEDRAL, TIN)
_EWKB_Z, _EWKB_M, _EWKB_SRID = 0x80000000, 0x40000000, 0x20000000


def as_polygons(wkb: bytes) -> bytes | None:
    """The same geometry with polygons in place of surfaces, vertex by vertex.

    Args:
        wkb: ISO WKB or EWKB in any byte order.

    Returns:
        Of a TIN or polyhedral surface a multi polygon with a polygon for each face, of a triangle a polygon, of a
        collection one with those; None where there is no surface, or the bytes are no WKB.
    """
    found = bytearray(wkb)
    try:
        return bytes(found) if _rewrite(found) else None
    except (struct.error, IndexError):
        return None


def merged(geometry: Any) -> Any:
    """A collection of nothing but polygons as one multi polygon, as GDAL divides a MultiPatch; others as they are."""
    if geometry is None or geometry.geom_type != "GeometryCollection":
        return geometry
    faces = [face for part in geometry.geoms for face in (part.geoms if part.geom_type == "MultiPolygon" else [part])]
    is_one = faces and all(face.geom_type == "Polygon" and not face.is_empty for face in faces)
    return shapely.MultiPolygon(faces) if is_one else geometry


def _rewrite(wkb: bytearray) -> bool:
    """Write the types of polygons over those of surfaces. Returns whether there was one, in WKB to its last byte."""
    at, changed = 0, False
    # (how many geometries are still to come, whether they are faces of a surface) of each collection around
    waiting = [(1, False)]
    while waiting:
        left, is_surface = waiting.pop()
        if left == 0:
            continue
        waiting.append((left - 1, is_surface))
        order = "<" if wkb[at] == 1 else ">"
        (code,) = struct.unpack_from(f"{order}I", wkb, at + 1)
        kind, thousands = (code & 0x0FFFFFFF) % 1000, (code & 0x0FFFFFFF) // 1000
        if is_surface and kind not in _FACES:
            return False
        if kind in _BECOMES:
            struct.pack_into(f"{order}I", wkb, at + 1, code - kind + _BECOMES[kind])
            changed = True
        at += 9 if code & _EWKB_SRID else 5
        width = 8 * (2 + bool(code & _EWKB_Z or thousands in (1, 3)) + bool(code & _EWKB_M or thousands >= 2))
        if kind == 1:
            at += width
            continue
        (count,) = struct.unpack_from(f"{order}I", wkb, at)
        at += 4
        if kind in _COLLECTIONS:
            waiting.append((count, kind in (POLYHEDRAL, TIN)))
        elif kind == 2:
            at += count * width
        elif kind in _FACES:
            for _ in range(count):
                (points,) = struct.unpack_from(f"{order}I", wkb, at)
                at += 4 + points * width
        else:
            return False
    return changed and at == len(wkb)
