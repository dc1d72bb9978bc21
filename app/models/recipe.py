"""Recipes: what happens to geometries or pixels between load and export, as ordered, declarative steps.

An engine (in process, PostGIS) runs a recipe; both give the same result because both read the same steps.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class Reproject:
    """Transform to `crs`, x before y whatever the CRS's own axis order says."""

    crs: str = "EPSG:4326"

    def describe(self) -> str:
        return f"reproject to {self.crs} (x,y)"


@dataclass(frozen=True, slots=True)
class MakeValid:
    """Repair the geometries that are not valid (OGC rules, GEOS `linework` method); leave all others untouched."""

    def describe(self) -> str:
        return "repair invalid geometries (linework)"


@dataclass(frozen=True, slots=True)
class Simplify:
    """Topology-preserving Douglas-Peucker simplification.

    tolerance: largest distance that the line may move, in units of the CRS at that step (degrees after EPSG:4326).
    """

    tolerance: float

    def describe(self) -> str:
        return f"simplify, keeping topology, tolerance {self.tolerance:g}"


@dataclass(frozen=True, slots=True)
class Overviews:
    """Smaller copies of a raster, each half the size of the one before; classes are chosen, measurements averaged."""

    def describe(self) -> str:
        return "statistics and overviews, pixels as they are"


Step: TypeAlias = Reproject | MakeValid | Simplify | Overviews


@dataclass(frozen=True, slots=True)
class Recipe:
    """Named, ordered steps."""

    name: str
    steps: tuple[Step, ...]

    def describe(self) -> list[str]:
        return [step.describe() for step in self.steps]


def clean_vector(name: str, tolerance: float) -> Recipe:
    """The house recipe: EPSG:4326, valid, simplified by `tolerance` degrees."""
    return Recipe(name, (Reproject(), MakeValid(), Simplify(tolerance)))


def clean_raster(name: str, warp: str | None = None) -> Recipe:
    """Pixels on their own grid, or on a north-up grid in the CRS `warp`."""
    return Recipe(name, (Reproject(warp), Overviews()) if warp else (Overviews(),))
