"""One pixel grid for all files of a mosaic: the position of each file, overlaps and gaps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from affine import Affine
from pyproj import CRS

from app.messages.raster import GRID_MISMATCH
from app.pipelines.common.crs import crs_name, same_crs
from app.pipelines.raster.georef import SAME_PIXELS, same_transform
from app.pipelines.raster.source import RasterSource


@dataclass(frozen=True, slots=True)
class RasterPart:
    """A source and its first column and row in the grid."""

    source: RasterSource
    column: int
    row: int


@dataclass(frozen=True, slots=True)
class Grid:
    """The grid of a mosaic; of a single file its own.

    Attributes:
        crs: that of the first file.
        transform: from (column, row) of pixel corners to coordinates of the CRS, x before y.
        width: in pixels.
        height: in pixels.
        parts: the files, in the order of the manifest.
        covered: pixels that at least one part covers.
        overlapping: pixels that more than one part covers.
    """

    crs: CRS
    transform: Affine
    width: int
    height: int
    parts: tuple[RasterPart, ...]
    covered: int
    overlapping: int

    @property
    def gaps(self) -> int:
        """Pixels that no part covers."""
        return self.width * self.height - self.covered


def common_grid(sources: Sequence[RasterSource]) -> Grid:
    """The smallest grid that contains all sources without resampling.

    Raises:
        RunRefused: grid_mismatch when a source differs from the first in CRS, pixel size, alignment, bands, data type,
            nodata value or colour table.
    """
    sources = _side_by_side(sources)
    first = sources[0]
    positions = [(first, 0, 0)]
    for source in sources[1:]:
        x, y = ~first.transform @ (source.transform @ (0, 0))
        differences = _differences(first, source)
        if abs(x - round(x)) > SAME_PIXELS or abs(y - round(y)) > SAME_PIXELS:
            differences.append(f"its pixels are shifted by {x - round(x):+.3g}, {y - round(y):+.3g} pixels")
        if differences:
            raise GRID_MISMATCH(file=source.file, first=first.file, differences="; ".join(differences))
        positions.append((source, round(x), round(y)))
    left, top = min(x for _, x, _ in positions), min(y for _, _, y in positions)
    parts = tuple(RasterPart(source, x - left, y - top) for source, x, y in positions)
    covered, overlapping = _coverage(parts)
    return Grid(
        crs=first.crs,
        transform=first.transform @ Affine.translation(left, top) if left or top else first.transform,
        width=max(part.column + part.source.width for part in parts),
        height=max(part.row + part.source.height for part in parts),
        parts=parts,
        covered=covered,
        overlapping=overlapping,
    )


def _side_by_side(sources: Sequence[RasterSource]) -> Sequence[RasterSource]:
    """The sources, some of them moved by whole turns, if that makes a mosaic in degrees narrower: across 180°."""
    first = sources[0]
    if len(sources) == 1 or not first.crs.is_geographic or first.transform.b or first.transform.d:
        return sources
    turn = 2 * math.pi / first.crs.axis_info[0].unit_conversion_factor
    spans = [sorted(source.transform @ (x, 0) for x in (0, source.width)) for source in sources]
    wests, widths = [west for (west, _), _ in spans], [east - west for (west, _), (east, _) in spans]
    moved = _within_a_turn(wests, widths, turn)
    if _span(moved, widths) > _span(wests, widths) - abs(first.transform.a) / 2:
        return sources
    return [
        replace(source, transform=Affine.translation(round((to - west) / turn) * turn, 0) @ source.transform)
        for source, west, to in zip(sources, wests, moved, strict=True)
    ]


def _within_a_turn(wests: Sequence[float], widths: Sequence[float], turn: float) -> list[float]:
    """The western edges, moved by whole turns so that the widest gap on the circle is outside; the first is from
    -half a turn on."""
    arcs = sorted((west % turn, width) for west, width in zip(wests, widths, strict=True))
    reached, gaps = arcs[0][0], []
    for west, width in [*arcs, (arcs[0][0] + turn, 0.0)]:
        gaps.append((west - reached, west % turn))
        reached = max(reached, west + width)
    _, origin = max(gaps)
    origin -= turn if origin >= turn / 2 else 0.0
    return [origin + (west - origin) % turn for west in wests]


def _span(wests: Sequence[float], widths: Sequence[float]) -> float:
    return max(west + width for west, width in zip(wests, widths, strict=True)) - min(wests)


def _differences(first: RasterSource, other: RasterSource) -> list[str]:
    found = []
    if not same_crs(first.crs, other.crs):
        found.append(f"CRS {crs_name(other.crs)} instead of {crs_name(first.crs)}")
    a, b = first.transform, other.transform
    moved = Affine(b.a, b.b, a.c, b.d, b.e, a.f)
    if not same_transform(a, moved, (other.height, other.width)):
        found.append(f"pixels of {_pixel(b)} instead of {_pixel(a)}")
    properties = {
        "bands": (len(first.bands), len(other.bands)),
        "data type": (first.dtype, other.dtype),
        "coordinate epoch": (_or_none(first.epoch), _or_none(other.epoch)),
        "white": (_white(first), _white(other)),
        "nodata": (_or_none(first.nodata_value), _or_none(other.nodata_value)),
    }
    found += [f"{name} {theirs} instead of {mine}" for name, (mine, theirs) in properties.items() if mine != theirs]
    if first.colours != other.colours:
        found.append("another colour table")
    for index, (one, two) in enumerate(zip(first.bands, other.bands, strict=False), 1):
        for name in ("interpretation", "description", "unit", "scale", "offset"):
            mine, theirs = getattr(one, name), getattr(two, name)
            if mine != theirs:
                found.append(f"band {index} has the {name} {_or_none(theirs)} instead of {_or_none(mine)}")
    return found


def _white(source: RasterSource) -> str:
    return "0" if source.white_is_zero else "the largest value"


def _or_none(value: object) -> str:
    return "none" if value is None else repr(value)


def _pixel(transform: Affine) -> str:
    size = f"{transform.a:.10g} x {transform.e:.10g}"
    return f"{size}, rotated ({transform.b:.10g}, {transform.d:.10g})" if transform.b or transform.d else size


def _coverage(parts: Sequence[RasterPart]) -> tuple[int, int]:
    """(pixels covered, pixels covered more than once), counted exactly from the edges of the parts."""
    columns = np.unique([edge for part in parts for edge in (part.column, part.column + part.source.width)])
    rows = np.unique([edge for part in parts for edge in (part.row, part.row + part.source.height)])
    times = np.zeros((len(rows) - 1, len(columns) - 1), np.int32)
    for part in parts:
        x = np.searchsorted(columns, (part.column, part.column + part.source.width))
        y = np.searchsorted(rows, (part.row, part.row + part.source.height))
        times[y[0] : y[1], x[0] : x[1]] += 1
    areas = np.outer(np.diff(rows), np.diff(columns)).astype(object)
    return int(areas[times > 0].sum()), int(areas[times > 1].sum())
