"""Recipes: what happens to geometries or pixels between load and export, as ordered, declarative steps.

An engine (in process, PostGIS) runs a recipe; both give the same result because both read the same steps.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias


@dataclass(frozen=True, slots=True)
class Reproject:
    """Transform to `crs`, x before y even if the CRS declares another axis order. None keeps the CRS of the source."""

    crs: str | None = "EPSG:4326"

    def describe(self) -> str:
        return f"reproject to {self.crs} (x,y)" if self.crs else "keep the CRS of the source (x,y)"


@dataclass(frozen=True, slots=True)
class MakeValid:
    """Repair the geometries that are not valid (OGC rules) by a method of GEOS; leave all others untouched."""

    method: Literal["linework", "structure"] = "linework"

    def describe(self) -> str:
        return f"repair invalid geometries ({self.method})"


@dataclass(frozen=True, slots=True)
class Simplify:
    """Topology-preserving Douglas-Peucker simplification.

    tolerance: largest distance that the line may move, in metres or in units of the CRS at that step (degrees after
    EPSG:4326).
    """

    tolerance: float
    unit: Literal["m", "crs"] = "crs"

    def describe(self) -> str:
        return f"simplify, keeping topology, tolerance {self.tolerance:g}{' m' if self.unit == 'm' else ''}"


@dataclass(frozen=True, slots=True)
class SimplifyCoverage:
    """Simplify all polygons together, so that neighbours keep the borders that they share (Visvalingam-Whyatt).

    tolerance: the root of the largest area of a triangle that a corner may lose, in metres or in units of the CRS at
    that step. most_vertices: more than these are refused.
    """

    tolerance: float
    unit: Literal["m", "crs"] = "crs"
    most_vertices: int = 10_000_000

    def describe(self) -> str:
        return f"simplify, keeping shared borders, tolerance {self.tolerance:g}{' m' if self.unit == 'm' else ''}"


@dataclass(frozen=True, slots=True)
class DropZ:
    """Drop the heights, before anything else is done."""

    def describe(self) -> str:
        return "drop heights"


@dataclass(frozen=True, slots=True)
class CountInvalid:
    """Count the geometries that are not valid, and keep them as they are."""

    def describe(self) -> str:
        return "keep and count invalid geometries"


@dataclass(frozen=True, slots=True)
class Promote:
    """Make single geometries multi geometries of one part."""

    def describe(self) -> str:
        return "make single geometries multi geometries"


@dataclass(frozen=True, slots=True)
class Columns:
    """Which columns of the sources go on, in which order and by which names; rows and geometries stay.

    kept: names in the sources, in the order of the result; None keeps all but those of `dropped`. renamed: (name in
    the sources, name in the result).
    """

    kept: tuple[str, ...] | None = None
    dropped: tuple[str, ...] = ()
    renamed: tuple[tuple[str, str], ...] = ()

    def describe(self) -> str:
        kept = "keep no columns but the geometry" if self.kept == () else None
        parts = [
            kept or (f"keep the columns {_quoted(self.kept)}" if self.kept else None),
            f"leave out the columns {_quoted(self.dropped)}" if self.dropped else None,
            "rename " + ", ".join(f"{old!r} to {new!r}" for old, new in self.renamed) if self.renamed else None,
        ]
        return "; ".join(filter(None, parts))


@dataclass(frozen=True, slots=True)
class Where:
    """Leave out the rows for which a condition is false or null. text: CQL2."""

    text: str

    def describe(self) -> str:
        return f"keep the rows where {self.text}"


@dataclass(frozen=True, slots=True)
class HilbertOrder:
    """Order the rows along a Hilbert curve over the bounds of all of them, by the centres of their boxes."""

    def describe(self) -> str:
        return "order the rows along a Hilbert curve"


@dataclass(frozen=True, slots=True)
class Overviews:
    """Smaller copies of a raster, each half the size of the one before; classes are chosen, measurements averaged."""

    def describe(self) -> str:
        return "statistics and overviews, pixels as they are"


EngineStep: TypeAlias = Reproject | MakeValid | Simplify | DropZ
LastStep: TypeAlias = CountInvalid | Promote
RowStep: TypeAlias = Where | Columns | HilbertOrder
Step: TypeAlias = EngineStep | SimplifyCoverage | LastStep | RowStep | Overviews


@dataclass(frozen=True, slots=True)
class Recipe:
    """Named, ordered steps."""

    name: str
    steps: tuple[Step, ...]

    def describe(self) -> list[str]:
        return [step.describe() for step in self.steps]

    @property
    def columns(self) -> Columns:
        """The step that chooses columns; one that keeps all where there is none."""
        return next((step for step in self.steps if isinstance(step, Columns)), Columns())

    @property
    def where(self) -> str | None:
        """The condition for the rows of the sources; None without one."""
        return next((step.text for step in self.steps if isinstance(step, Where)), None)

    @property
    def engine_steps(self) -> tuple[EngineStep, ...]:
        """What an engine does to each chunk of geometries, in order."""
        return tuple(step for step in self.steps if isinstance(step, EngineStep))

    @property
    def coverage(self) -> SimplifyCoverage | None:
        """What is done to all geometries together after that."""
        return next((step for step in self.steps if isinstance(step, SimplifyCoverage)), None)

    @property
    def leaves_valid(self) -> bool:
        """Whether geometries are repaired, and no later step can make a valid one invalid."""
        repaired = False
        for step in self.steps:
            repaired = isinstance(step, MakeValid) or (repaired and not isinstance(step, Reproject))
        return repaired

    @property
    def last_steps(self) -> tuple[LastStep, ...]:
        """What is done to each chunk after that, the same for all engines."""
        return tuple(step for step in self.steps if isinstance(step, LastStep))


def _quoted(names: tuple[str, ...]) -> str:
    return ", ".join(map(repr, names))


def clean_raster(name: str, warp: str | None = None) -> Recipe:
    """Pixels on their own grid, or on a north-up grid in the CRS `warp`."""
    return Recipe(name, (Reproject(warp), Overviews()) if warp else (Overviews(),))
