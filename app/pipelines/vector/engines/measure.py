"""What the steps of a recipe took from the geometries: area and length before and after, and what collapsed."""

from __future__ import annotations

from collections.abc import Mapping
from operator import is_not
from typing import Any

import numpy as np
import numpy.typing as npt
import shapely
from pyproj import CRS

from app.messages.vector import REPAIRED_MUCH, SIMPLIFIED_MUCH
from app.models.recipes.steps import Recipe, Simplify, SimplifyCoverage
from app.pipelines.common.findings import Findings
from app.pipelines.common.shapes import Geometries
from app.pipelines.contract.watch import Watch

Rows = npt.NDArray[np.intp]
Sizes = npt.NDArray[np.float64]


def changed_rows(before: Geometries, after: Geometries) -> Rows:
    """The rows whose geometry is another object."""
    if before is after:
        return np.empty(0, np.intp)
    return np.flatnonzero(np.fromiter(map(is_not, before, after), np.bool_, len(before)))


def sizes_of(geometries: Geometries) -> Sizes:
    """(n, 2) area and length of each, 0 where it is null or empty. The length of a polygon is that of its rings."""
    found: Sizes = np.nan_to_num(np.column_stack([shapely.area(geometries), shapely.length(geometries)]))
    return found


def measure(after: Geometries, rows: Rows, before: Sizes, first: int, findings: Findings) -> None:
    """Measure area and length before and after, in units of the CRS of the result: see `sizes_of`.

    Args:
        after: all geometries of a chunk after the last step.
        rows: those that were changed after the reprojection.
        before: sizes of these rows, as they were after the reprojection.
        first: number of the first row of the chunk within its file.
        findings: takes the sums, and counts `collapsed`: geometries that had an area, or a length, and now have none.
    """
    sizes = sizes_of(after)
    for at, name in enumerate(("area", "length")):
        total = sizes[:, at].sum()
        findings.sizes[f"{name}_after"] = float(total)
        findings.sizes[f"{name}_before"] = float(total + (before[:, at] - sizes[rows, at]).sum())
    findings.add("collapsed", rows[((before > 0) & (sizes[rows] == 0)).any(axis=1)], first)


def measured(total: Mapping[str, float], crs: CRS) -> dict[str, float | str]:
    """The sums as the statistics of a version have them. unit: of lengths; areas are in its square."""
    names = ("area_before", "area_after", "length_before", "length_after")
    unit = crs.axis_info[0].unit_name if crs.axis_info else "unknown"
    return {**{name: float(total.get(name, 0.0)) for name in names}, "unit": unit}


def warn_reduced(statistics: Mapping[str, Any], share: float, recipe: Recipe, watch: Watch) -> None:
    """Warn where the recipe took more than this share of the area or of the length.

    Args:
        statistics: of the product, with `geometry` as `measured` gives it.
        share: from 0 to 1.
        recipe: what was done.
        watch: takes the warning.
    """
    sizes = statistics["geometry"]
    area, length = (_taken(sizes[f"{name}_before"], sizes[f"{name}_after"]) for name in ("area", "length"))
    if max(area, length) > share:
        is_simplified = any(isinstance(step, Simplify | SimplifyCoverage) for step in recipe.steps)
        notice = SIMPLIFIED_MUCH if is_simplified else REPAIRED_MUCH
        watch.warn(notice(area=area, length=length, limit=share))


def _taken(before: float, after: float) -> float:
    return 1 - after / before if before > 0 else 0.0
