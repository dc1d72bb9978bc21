"""Heights that are not known: GEOS takes z away where the first is NaN, and puts invented values in place of others."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import shapely

Geometries = npt.NDArray[np.object_]


def has_unknown_heights(geometries: Geometries) -> npt.NDArray[np.bool_]:
    """Which geometries have z that is not finite at some vertex; null and two-dimensional ones do not."""
    found: npt.NDArray[np.bool_] = np.asarray(shapely.has_z(geometries)).copy()
    high = np.flatnonzero(found)
    vertices, index = shapely.get_coordinates(geometries[high], include_z=True, return_index=True)
    found[high] = False
    found[high[np.unique(index[~np.isfinite(vertices[:, 2])])]] = True
    return found


def keep_heights(before: Geometries, after: Geometries) -> None:
    """Give the vertices of `after` the heights that they have in `before`, in place.

    Only for rows with heights that are not finite; with others, GEOS keeps z itself. A new vertex has the height that
    GEOS has interpolated for it, NaN where GEOS took z away.

    Args:
        before: geometries as they were.
        after: what GEOS made of them, row by row.
    """
    for row in np.flatnonzero(has_unknown_heights(before)):
        known: dict[tuple[float, float], float] = {}
        for x, y, z in shapely.get_coordinates(before[row], include_z=True).tolist():
            known.setdefault((x, y), z)
        vertices = shapely.get_coordinates(after[row], include_z=True)
        vertices[:, 2] = [known.get((x, y), z) for x, y, z in vertices.tolist()]
        after[row] = shapely.set_coordinates(shapely.force_3d(after[row]), vertices)
