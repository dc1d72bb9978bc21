"""Repair and simplification: only what needs it is touched, and nothing comes out invalid."""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt
import shapely

from app.models.recipes.steps import MakeValid, Simplify
from app.pipelines.common.findings import Findings
from app.pipelines.vector.engines.heights import keep_heights

Geometries = npt.NDArray[np.object_]

# GEOS' type ids of the multi geometries that simplification unwraps → (id of their parts, what wraps a part)
_MULTI = {
    shapely.GeometryType.MULTILINESTRING: (shapely.GeometryType.LINESTRING, shapely.multilinestrings),
    shapely.GeometryType.MULTIPOLYGON: (shapely.GeometryType.POLYGON, shapely.multipolygons),
}

_WRAPS = {shapely.GeometryType.POINT: shapely.multipoints, **dict(_MULTI.values())}

# Count of geometries that no repair makes valid.
STILL_INVALID = "still_invalid"
Method = Literal["linework", "structure"]


def clean(step: MakeValid | Simplify, geometries: Geometries, first_row: int, findings: Findings) -> Geometries:
    """One step of a recipe: see `make_valid` and `simplify`. A row that it does not change stays the same object."""
    if isinstance(step, MakeValid):
        return make_valid(geometries, first_row, findings, step.method)
    return simplify(geometries, step.tolerance, first_row, findings)


def make_valid(geometries: Geometries, first_row: int, findings: Findings, method: Method = "linework") -> Geometries:
    """Repair the invalid geometries by a method of GEOS; nulls, empties and valid ones stay. Rows in = rows out.

    What a multi geometry becomes stays a multi geometry, if of one part, as PostGIS does it. Counts `repaired`, with
    the reason of the first few, and `repaired_type_changed` where the repair took another geometry type (a bow tie
    becomes a MultiPolygon, a spike a GeometryCollection). Vertices keep their heights, also unknown ones.
    """
    invalid = ~shapely.is_valid(geometries) & ~shapely.is_missing(geometries)
    if not invalid.any():
        return geometries
    broken = geometries[invalid]
    findings.add("repaired", invalid, first_row, reason=[str(reason) for reason in shapely.is_valid_reason(broken[:5])])
    fixed = _repaired(broken, method)
    _wrap_singles(broken, fixed)
    keep_heights(broken, fixed)
    if still := int((~shapely.is_valid(fixed)).sum()):
        findings.counts[STILL_INVALID] += still
    changed = shapely.get_type_id(fixed) != shapely.get_type_id(broken)
    findings.add("repaired_type_changed", np.flatnonzero(invalid)[changed], first_row)
    result = geometries.copy()
    result[invalid] = fixed
    return result


def simplify(geometries: Geometries, tolerance: float, first_row: int, findings: Findings) -> Geometries:
    """Topology-preserving simplification; `tolerance` in units of the coordinates. Nulls stay. Rows in = rows out.

    A geometry whose simplification is not valid stays as it was, counted as `simplify_kept`; the others that lost
    vertices are counted as `simplified`. A multi geometry of one part stays one (GEOS makes a single geometry of it),
    and vertices keep their heights, also unknown ones.
    """
    simple: Geometries = shapely.simplify(geometries, tolerance, preserve_topology=True)
    before, after = shapely.get_num_coordinates(geometries), shapely.get_num_coordinates(simple)
    changed = np.flatnonzero(before != after)
    if not len(changed):
        return geometries
    made = simple[changed]
    _keep_multi(geometries[changed], made)
    keep_heights(geometries[changed], made)
    is_valid = _is_valid(made, after[changed])
    findings.add("simplify_kept", changed[~is_valid], first_row)
    findings.counts["simplified"] += int(is_valid.sum())
    # GEOS makes anew what it does not simplify, and makes a point of a multi point of one.
    result = geometries.copy()
    result[changed[is_valid]] = made[is_valid]
    return result


def count_invalid(geometries: Geometries, first_row: int, findings: Findings) -> None:
    """Count the geometries that are not valid as `invalid_kept`, with the reason of the first few."""
    invalid = ~shapely.is_valid(geometries) & ~shapely.is_missing(geometries)
    if invalid.any():
        reasons = shapely.is_valid_reason(geometries[invalid][:5])
        findings.add("invalid_kept", invalid, first_row, reason=[str(reason) for reason in reasons])


def promote(geometries: Geometries) -> Geometries:
    """Points, lines and polygons as multi geometries of one part, without a part where they are empty."""
    kinds = shapely.get_type_id(geometries)
    result = geometries.copy()
    for single, wrap in _WRAPS.items():
        rows = np.flatnonzero((kinds == single) & ~shapely.is_empty(geometries))
        if len(rows):
            result[rows] = wrap(geometries[rows], indices=np.arange(len(rows)))
        empty = np.flatnonzero((kinds == single) & shapely.is_empty(geometries))
        if len(empty):
            result[empty] = shapely.from_wkt(f"MULTI{shapely.GeometryType(single).name} EMPTY")
    return result


def _is_valid(geometries: Geometries, vertices: npt.NDArray[np.int32]) -> npt.NDArray[np.bool_]:
    """As shapely.is_valid, faster for simplified footprints: a triangle that has an area cannot cross itself."""
    valid: npt.NDArray[np.bool_] = (vertices == 4) & (shapely.get_type_id(geometries) == shapely.GeometryType.POLYGON)
    valid[valid] = shapely.area(geometries[valid]) > 0
    valid[~valid] = shapely.is_valid(geometries[~valid])
    return valid


def _repaired(broken: Geometries, method: Method) -> Geometries:
    fixed: Geometries
    if method == "structure":
        fixed = shapely.make_valid(broken, method="structure", keep_collapsed=True)
        return fixed
    try:
        fixed = shapely.make_valid(broken, method="linework")
    except shapely.errors.GEOSException:
        # GEOS 3.14 knows no linework of a multi polygon with a part that is a mere point.
        fixed = broken.copy()
        for row, geometry in enumerate(broken):
            try:
                fixed[row] = shapely.make_valid(geometry, method="linework")
            except shapely.errors.GEOSException:
                fixed[row] = shapely.make_valid(geometry, method="structure", keep_collapsed=True)
    return fixed


def _wrap_singles(before: Geometries, after: Geometries) -> None:
    """Wrap the single geometries that were multi geometries or collections, in place."""
    was_many = shapely.get_type_id(before) >= shapely.GeometryType.MULTIPOINT
    now = shapely.get_type_id(after)
    for single, wrap in _WRAPS.items():
        rows = np.flatnonzero(was_many & (now == single))
        if len(rows):
            after[rows] = wrap(after[rows], indices=np.arange(len(rows)))


def _keep_multi(before: Geometries, after: Geometries) -> None:
    """Wrap what was a multi geometry and is now its only part, in place."""
    kinds = shapely.get_type_id(before)
    if (kinds < shapely.GeometryType.MULTILINESTRING).all():
        return
    now = shapely.get_type_id(after)
    for multi, (single, wrap) in _MULTI.items():
        rows = np.flatnonzero((kinds == multi) & (now == single))
        if len(rows):
            after[rows] = wrap(after[rows], indices=np.arange(len(rows)))
