"""Areas of use in degrees: what lies outside of one, and how far."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from pyproj import CRS

from app.models.manifests.manifest import ManifestFile
from app.pipelines.common.crs import Box, area_of_use

Coordinates = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

# What rounding may add to the edge of an area of use.
EDGE_DEGREES = 1e-6
# Data farther than this outside may have coordinates of another CRS: one UTM zone.
FAR_DEGREES = 6.0
WORLD: Box = (-180.0, -90.0, 180.0, 90.0)
_EARTH_KM = 6371.0


def known_area(crs: CRS) -> Box | None:
    """(west, south, east, north) in degrees; the world for a geographic CRS of which PROJ knows no area."""
    return area_of_use(crs) or (WORLD if crs.is_geographic else None)


def ignores_area(declared: ManifestFile) -> bool:
    """Whether the manifest states that the data of a file are meant to lie outside the area of use."""
    return declared.options is not None and declared.options.area_of_use == "ignore"


def degrees_of(crs: CRS) -> tuple[float, float] | None:
    """(factor, offset) from longitudes of a geographic CRS to degrees from Greenwich; None for any other CRS."""
    geodetic = crs.geodetic_crs
    if not crs.is_geographic or geodetic is None or not geodetic.axis_info:
        return None
    meridian = geodetic.prime_meridian
    offset = math.degrees(meridian.longitude * float(meridian.unit_conversion_factor)) if meridian is not None else 0.0
    return math.degrees(geodetic.axis_info[0].unit_conversion_factor), offset


def is_outside(points: Coordinates, area: Box, margin: float = EDGE_DEGREES) -> Mask:
    """Which (n, 2) points in degrees lie more than `margin` degrees outside the area; one that is not finite does."""
    west, south, east, north = area
    x, y = points.T
    inside: Mask = (y >= south - margin) & (y <= north + margin)
    if west <= east:
        inside &= (x >= west - margin) & (x <= east + margin)
    else:  # the area crosses the antimeridian
        inside &= (x >= west - margin) | (x <= east + margin)
    return ~inside


def kilometres_outside(points: Coordinates, area: Box) -> float:
    """How far the farthest of (n, 2) points in degrees lies outside the area, on a sphere; 0 without finite points."""
    west, south, east, north = area
    x, y = points[np.isfinite(points).all(axis=1)].T
    y = np.clip(y, -90, 90)
    width = 360.0 if east - west == 360 else (east - west) % 360
    along = np.where((x - west) % 360 <= width, 0.0, np.minimum(_apart(x, west), _apart(x, east)))
    here, there = np.radians(y), np.radians(np.clip(y, south, north))
    half = np.sin((here - there) / 2) ** 2 + np.cos(here) * np.cos(there) * np.sin(np.radians(along) / 2) ** 2
    return float((2 * _EARTH_KM * np.arcsin(np.sqrt(np.clip(half, 0, 1)))).max(initial=0.0))


def degrees_beyond(points: Coordinates, area: Box) -> float:
    """How many degrees the farthest of (n, 2) points lies beyond the edges of an area that crosses no antimeridian."""
    west, south, east, north = area
    x, y = points.T
    return float(np.max([west - x, x - east, south - y, y - north], initial=0.0))


def shown_area(area: Box) -> str:
    """For messages: `6°E to 12°E, 38.8°N to 84.3°N`."""
    west, south, east, north = area
    return f"{_shown(west, 'WE')} to {_shown(east, 'WE')}, {_shown(south, 'SN')} to {_shown(north, 'SN')}"


def shown_distance(kilometres: float) -> str:
    """For messages, with its unit: `712 km`, `3.4 km`, `20 m`."""
    if kilometres >= 10:
        return f"{kilometres:,.0f} km"
    return f"{kilometres:.1f} km" if kilometres >= 1 else f"{kilometres * 1000:.2g} m"


def _apart(x: Coordinates, meridian: float) -> Coordinates:
    found: Coordinates = np.abs((x - meridian + 180) % 360 - 180)
    return found


def _shown(degrees: float, letters: str) -> str:
    return f"{abs(degrees):.4g}°{letters[degrees > 0] if degrees else ''}"
