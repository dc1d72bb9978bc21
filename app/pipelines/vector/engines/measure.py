"""What the steps of a recipe took from the geometries: area and length before and after, and what collapsed."""

from __future__ import annotations

from collections.abc import Mapping
from operator import is_not
from typing import Any

import numpy as np
import numpy.typing as npt
import shapely
from pyproj import CRS

from app.messages.vector import GEOMETRY_REDUCED
from app.pipelines.common.findings import Findings
from app.pipelines.common.shapes import Geometries
from app.pipelines.contract.watch import Watch

Rows = npt.NDArray[np.intp]


def changed_rows(before: Geometries, after: Geometries) -> Rows:
    """The rows whose geometry is another object."""
    if before is after:
        return np.empty(0, np.intp)
    return np.flatnonzero(np.fromiter(map(is_not, before, after), np.bool_, len(before)))


def measure(after: Geometries, rows: Rows, before: Geometries, first: int, findings: Findings) -> None:
    """Measure area and length before and after, in units of the CRS of the result.

    The length of a polygon is that of its rings. What is null or empty counts as nothing.

    Args:
        after: all geometries of a chunk after the last step.
        rows: those that were changed after the reprojection.
        before: of these rows, as they were after the reprojection.
        first: number of the first row of the chunk within its file.
        findings: takes the sums, and counts `collapsed`: geometries that had an area, or a length, and now have none.
    """
    gone = np.zeros(len(rows), np.bool_)
    for name, size in (("area", shapely.area), ("length", shapely.length)):
        total = np.nan_to_num(size(after))
        old = np.nan_to_num(size(before))
        findings.sizes[f"{name}_after"] = float(total.sum())
        findings.sizes[f"{name}_before"] = float(total.sum() + (old - total[rows]).sum())
        gone |= (old > 0) & (total[rows] == 0)
    findings.add("collapsed", rows[gone], first)


def measured(total: Mapping[str, float], crs: CRS) -> dict[str, float | str]:
    """The sums as the statistics of a version have them. unit: of lengths; areas are in its square."""
    names = ("area_before", "area_after", "length_before", "length_after")
    unit = crs.axis_info[0].unit_name if crs.axis_info else "unknown"
    return {**{name: float(total.get(name, 0.0)) for name in names}, "unit": unit}


def warn_reduced(statistics: Mapping[str, Any], share: float, watch: Watch) -> None:
    """Warn where the recipe took more than this share of the area or of the length.

    Args:
        statistics: of the product, with `geometry` as `measured` gives it.
        share: from 0 to 1.
        watch: takes the warning.
    """
    sizes = statistics["geometry"]
    area, length = (_taken(sizes[f"{name}_before"], sizes[f"{name}_after"]) for name in ("area", "length"))
    if max(area, length) > share:
        watch.warn(GEOMETRY_REDUCED(area=area, length=length, limit=share))


def _taken(before: float, after: float) -> float:
    return 1 - after / before if before > 0 else 0.0
