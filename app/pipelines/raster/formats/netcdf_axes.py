"""Where the coordinate variables of a netCDF variable place its cells, against where GDAL places them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from affine import Affine

from app.messages.raster import (
    AXES_NOT_EVEN,
    AXES_NOT_LAST,
    AXES_ROUNDED,
    AXES_TRANSPOSED,
    AXES_UNIT_UNKNOWN,
    GEOREFERENCE_BY_AXES,
)
from app.models.runs.run import RunWarning
from app.pipelines.raster.crs import FoundCrs
from app.pipelines.raster.multidim import Dimension, Floats, Variable

# How far, in pixels, a cell may lie from the even grid: without a word, and with a warning.
_NOTHING, _MOST = 0.1, 0.25
_TURN = 360.0
_X_NAMES = frozenset({"lon", "longitude", "long", "x", "rlon", "easting", "eastings", "xc"})
_Y_NAMES = frozenset({"lat", "latitude", "y", "rlat", "northing", "northings", "yc"})
_X_STANDARD = frozenset({"longitude", "grid_longitude", "projection_x_coordinate", "projection_x_angular_coordinate"})
_Y_STANDARD = frozenset({"latitude", "grid_latitude", "projection_y_coordinate", "projection_y_angular_coordinate"})
_X_UNITS = frozenset({"degrees_east", "degree_east", "degrees_e", "degree_e", "degreese", "degreee"})
_Y_UNITS = frozenset({"degrees_north", "degree_north", "degrees_n", "degree_n", "degreesn", "degreen"})
_DEGREES = _X_UNITS | _Y_UNITS | {"degrees", "degree", "deg", ""}
_METRES = {"m": 1.0, "metre": 1.0, "metres": 1.0, "meter": 1.0, "meters": 1.0, "km": 1000.0, "kilometre": 1000.0,
           "kilometres": 1000.0, "kilometer": 1000.0, "kilometers": 1000.0}  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Even:
    """An evenly spaced axis: the centre of its first cell, and the distance of its cells."""

    dimension: Dimension
    first: float
    step: float


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a variable lies. The other fields are those of `Reading`.

    Attributes:
        transform: from (column, row) of pixel corners to coordinates of the CRS, x before y.
        warnings: what a user should know about it.
    """

    transform: Affine
    bottom_up: bool
    transposed: bool
    flipped: bool
    warnings: tuple[RunWarning, ...]


def place(variable: Variable, found: Affine | None, crs: FoundCrs, file: str) -> Placement | None:
    """Place a variable by its coordinate variables.

    Args:
        variable: as in the file.
        found: GDAL's geotransform; None where it has none.
        crs: the CRS of the raster.
        file: the key in the landing zone, for messages.

    Returns:
        The placement, with GDAL's geotransform where it agrees with the coordinates; None where the variable has no
        two axes of at least two cells each that are known as x and y.

    Raises:
        RunRefused: georeference_not_affine when x and y are not its last two dimensions, or not evenly spaced.
    """
    kinds = [_kind(dimension) for dimension in variable.dimensions]
    if "x" not in kinds or "y" not in kinds:
        return None
    order = (len(kinds) - 1 - kinds[::-1].index("y"), len(kinds) - 1 - kinds[::-1].index("x"))
    y, x = (variable.dimensions[at] for at in order)
    names = ", ".join(dimension.name for dimension in variable.dimensions)
    last = (len(kinds) - 2, len(kinds) - 1)
    transposed = order == last[::-1]
    if not (transposed or order == last):
        raise AXES_NOT_LAST(file=file, dimensions=names, y=y.name, x=x.name)
    if x.values is None or y.values is None or min(x.size, y.size) < 2:
        if transposed:
            raise AXES_NOT_LAST(file=file, dimensions=names, y=y.name, x=x.name)
        return None
    warnings: list[RunWarning] = []
    across, down = _even(x, _unwrapped(x, crs), file, warnings), _even(y, y.values, file, warnings)
    ascending = down.step > 0
    if ascending:
        down = _Even(y, down.first + down.step * (y.size - 1), -down.step)
    transform = _transform((across, down), None if transposed else found, crs, file, warnings)
    if transposed:
        warnings.append(AXES_TRANSPOSED(file=file, dimensions=names))
    return Placement(transform, ascending and not transposed, transposed, ascending and transposed, tuple(warnings))


def _kind(dimension: Dimension) -> str:
    """`x`, `y`, or nothing for any other dimension."""
    attributes = dimension.attributes
    if (axis := attributes.get("axis", "").lower()) in ("x", "y", "z", "t"):
        return axis
    named = attributes.get("standard_name", "").lower()
    unit, name = attributes.get("units", "").lower(), dimension.name.lower()
    for kind, standard, units, names in (
        ("x", _X_STANDARD, _X_UNITS, _X_NAMES),
        ("y", _Y_STANDARD, _Y_UNITS, _Y_NAMES),
    ):
        if named in standard or unit in units or (not named and name in names):
            return kind
    return ""


def _unwrapped(x: Dimension, crs: FoundCrs) -> Floats:
    """Longitudes that go on past 180 instead of jumping to -180."""
    values = np.asarray(x.values, np.float64)
    return np.unwrap(values, period=_TURN) if crs.crs.is_geographic and np.isfinite(values).all() else values


def _even(axis: Dimension, values: Floats, file: str, warnings: list[RunWarning]) -> _Even:
    step = float(values[-1] - values[0]) / (axis.size - 1)
    steps = np.diff(values)
    off = np.abs(values - (values[0] + step * np.arange(axis.size))).max()
    if not np.isfinite(off) or step == 0 or off - 2 * axis.precision > _MOST * abs(step):
        raise AXES_NOT_EVEN(
            file=file, axis=axis.name, least=f"{steps.min():.6g}", most=f"{steps.max():.6g}",
            pixels=f"{off / abs(step) if step else np.inf:.3g}",
        )  # fmt: skip
    if off - 2 * axis.precision > _NOTHING * abs(step):
        warnings.append(AXES_ROUNDED(file=file, axis=axis.name, pixels=f"{off / abs(step):.2g}"))
    return _Even(axis, float(values[0]), step)


def _transform(
    axes: tuple[_Even, _Even], found: Affine | None, crs: FoundCrs, file: str, warnings: list[RunWarning]
) -> Affine:
    x, y = (axis.dimension for axis in axes)
    factor = _factor((x, y), crs)
    if factor is None and found is not None:  # an angle of a satellite's view: GDAL knows how many metres it is
        factor = abs(found.a / axes[0].step)
    if factor is None:
        raise AXES_UNIT_UNKNOWN(file=file, x=x.name, y=y.name, unit=x.attributes.get("units", ""), crs=crs.crs.name)
    (x0, dx), (y0, dy) = ((factor * axis.first, factor * axis.step) for axis in axes)
    if crs.crs.is_geographic and min(x0, x0 + dx * (x.size - 1)) > _TURN / 2:
        x0 -= _TURN
    expected = Affine(dx, 0, x0 - dx / 2, 0, dy, y0 - dy / 2)
    if found is None:
        return expected
    turn = round((found.c - expected.c) / _TURN) * _TURN if crs.crs.is_geographic else 0.0
    precision = factor * max(x.precision / abs(dx), y.precision / abs(dy))
    if _apart(Affine.translation(turn, 0) @ expected, found, (y.size, x.size)) <= _NOTHING + 4 * precision:
        return found
    warnings.append(GEOREFERENCE_BY_AXES(file=file, x=x.name, y=y.name, inside=_text(found), used=_text(expected)))
    return expected


def _factor(axes: Sequence[Dimension], crs: FoundCrs) -> float | None:
    """By what the coordinates have to be multiplied to be in units of the CRS; None for a unit that is not known."""
    units = {axis.attributes.get("units", "").lower() for axis in axes}
    if units <= _DEGREES and (crs.crs.is_geographic or units == {""}):
        return 1.0
    metres = _METRES.get(units.pop()) if len(units) == 1 else None
    if metres is not None and not crs.crs.is_geographic:
        return metres / crs.metres_per_unit
    return None


def _apart(a: Affine, b: Affine, shape: tuple[int, int]) -> float:
    """The largest distance of a corner between two transforms, in pixels of the first."""
    corners = [(column, row) for column in (0, shape[1]) for row in (0, shape[0])]
    moved = [~a @ (b @ corner) for corner in corners]
    return float(np.abs(np.subtract(moved, corners)).max())


def _text(transform: Affine) -> str:
    return "(" + ", ".join(f"{value:.10g}" for value in transform[:6]) + ")"
