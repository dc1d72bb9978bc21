"""Several rasters as parts of one grid: where each lies, what is covered twice or not at all, and what differs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from affine import Affine
from pyproj import CRS

from app.errors import RunRefused
from app.pipelines.formats.crs import crs_name, same_crs
from app.pipelines.formats.raster import RasterSource
from app.pipelines.formats.raster_georef import SAME_PIXELS, same_transform


@dataclass(frozen=True, slots=True)
class Part:
    """A source and its first column and row in the grid."""

    source: RasterSource
    column: int
    row: int


@dataclass(frozen=True, slots=True)
class Grid:
    """covered: pixels that any part covers; overlapping: those that more than one does."""

    crs: CRS
    transform: Affine
    width: int
    height: int
    parts: tuple[Part, ...]
    covered: int
    overlapping: int

    @property
    def gaps(self) -> int:
        return self.width * self.height - self.covered


def one_grid(sources: Sequence[RasterSource]) -> Grid:
    """The grid that holds all sources, pixel on pixel, in the first one's CRS. Raises RunRefused grid_mismatch."""
    first = sources[0]
    places = [(first, 0, 0)]
    for source in sources[1:]:
        x, y = ~first.transform @ (source.transform @ (0, 0))
        differences = _differences(first, source)
        if abs(x - round(x)) > SAME_PIXELS or abs(y - round(y)) > SAME_PIXELS:
            differences.append(f"its pixels lie {x - round(x):+.3g}, {y - round(y):+.3g} pixels beside the others'")
        if differences:
            raise RunRefused(
                f"{source.file} and {first.file} are not of one grid: {'; '.join(differences)}.",
                "Send files of one grid (gdalwarp -t_srs, -tr, -tap make one), or one manifest for each.",
                reason="grid_mismatch",
                file=source.file,
            )
        places.append((source, round(x), round(y)))
    left, top = min(x for _, x, _ in places), min(y for _, _, y in places)
    parts = tuple(Part(source, x - left, y - top) for source, x, y in places)
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


def _differences(first: RasterSource, other: RasterSource) -> list[str]:
    found = []
    if not same_crs(first.crs, other.crs):
        found.append(f"CRS {crs_name(other.crs)} instead of {crs_name(first.crs)}")
    a, b = first.transform, other.transform
    moved = Affine(b.a, b.b, a.c, b.d, b.e, a.f)
    if not same_transform(a, moved, (other.height, other.width)):
        found.append(f"pixels of {_pixel(b)} instead of {_pixel(a)}")
    pairs = {
        "bands": (len(first.bands), len(other.bands)),
        "data type": (first.dtype, other.dtype),
        "nodata": (repr(first.missing), repr(other.missing)),
        "colour table": (first.colours, other.colours),
    }
    for name, (one, two) in pairs.items():
        if one != two:
            found.append(f"another {name}" if name == "colour table" else f"{name} {two} instead of {one}")
    for index, (one, two) in enumerate(zip(first.bands, other.bands, strict=False), 1):
        for name in ("interpretation", "description", "unit", "scale", "offset"):
            mine, theirs = getattr(one, name), getattr(two, name)
            if mine != theirs:
                found.append(f"band {index} has the {name} {theirs!r} instead of {mine!r}")
    return found


def _pixel(transform: Affine) -> str:
    size = f"{transform.a:.10g} x {transform.e:.10g}"
    return f"{size}, turned ({transform.b:.10g}, {transform.d:.10g})" if transform.b or transform.d else size


def _coverage(parts: Sequence[Part]) -> tuple[int, int]:
    """(pixels covered, pixels covered more than once), exactly, from the edges alone."""
    columns = np.unique([edge for part in parts for edge in (part.column, part.column + part.source.width)])
    rows = np.unique([edge for part in parts for edge in (part.row, part.row + part.source.height)])
    times = np.zeros((len(rows) - 1, len(columns) - 1), np.int32)
    for part in parts:
        x = np.searchsorted(columns, (part.column, part.column + part.source.width))
        y = np.searchsorted(rows, (part.row, part.row + part.source.height))
        times[y[0] : y[1], x[0] : x[1]] += 1
    areas = np.outer(np.diff(rows), np.diff(columns)).astype(object)
    return int(areas[times > 0].sum()), int(areas[times > 1].sum())
