"""The engine `local`: streams Arrow chunks through GEOS and PROJ in this process, some chunks at a time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyogrio
import pyproj
import shapely

from app.models.recipe import MakeValid, Recipe, Simplify
from app.pipelines.context import Watch
from app.pipelines.engines import Foresight, Report
from app.pipelines.engines.clean import make_valid, simplify
from app.pipelines.engines.foresight import foresee
from app.pipelines.engines.stream import Done, bound_steps, finish, run_recipe
from app.pipelines.formats.findings import Findings
from app.pipelines.formats.shapes import from_geometries
from app.pipelines.formats.source import Chunk, VectorSource


class LocalEngine:
    """Runs a recipe in this process: `threads` threads transform, the calling thread reads and writes, in order."""

    def versions(self) -> dict[str, str]:
        return versions()

    def run(self, sources: Sequence[VectorSource], recipe: Recipe, target: Path, watch: Watch, threads: int) -> Report:
        """Write all rows of all sources, in order, to `target`; see VectorEngine.

        Rows are numbered from 0 in messages and samples. Memory is bounded by chunks (16k rows, 4 MiB), not by input.
        Raises RunRefused: schema_mismatch, crs_not_transformable, coordinates_not_finite,
        coordinates_not_transformable, antimeridian_unsplittable, geometry_damaged, outside_area_of_use, no_features.
        """
        return run_recipe(sources, recipe, target, watch, threads, _InProcess())

    def foresee(self, sources: Sequence[VectorSource], recipe: Recipe) -> Foresight:
        """See VectorEngine."""
        return foresee(sources, recipe, _InProcess())


class _InProcess:
    """See Means."""

    @property
    def versions(self) -> dict[str, str]:
        return versions()

    def plan(self, source: VectorSource, recipe: Recipe) -> _LocalPlan:
        return _LocalPlan(source, recipe)

    def interrupt(self) -> None:
        """GEOS cannot be interrupted: a chunk that has begun is finished."""


def versions() -> dict[str, str]:
    """Names and versions of what computes geometries here."""
    return {
        "engine": "local",
        "geos": ".".join(map(str, shapely.geos_version)),
        "proj": pyproj.proj_version_str,
        "gdal": str(pyogrio.__gdal_version_string__),
        "shapely": shapely.__version__,
        "pyogrio": pyogrio.__version__,
        "pyarrow": pa.__version__,
    }


class _LocalPlan:
    """A recipe made ready for one source: each step bound to what it needs."""

    def __init__(self, source: VectorSource, recipe: Recipe) -> None:
        self.source = source
        self.steps = bound_steps(source, recipe)
        self.statements: tuple[str, ...] = ()

    @property
    def warnings(self) -> list[tuple[str, str]]:
        return [warning for _, reprojector in self.steps if reprojector for warning in reprojector.warnings()]

    def transform(self, chunk: Chunk) -> Done:
        """See Plan."""
        findings = Findings()
        first = chunk.first_row
        attributes, shapes = chunk.decode(findings)
        findings.counts["vertices_in"] += len(shapes.coordinates)
        geometries = None
        for step, reprojector in self.steps:
            if reprojector is not None:
                geometries = reprojector.apply(
                    shapes if geometries is None else from_geometries(geometries), first, findings
                )
                reprojector.check_area(shapely.bounds(geometries), first, findings)
                continue
            geometries = shapes.build(None) if geometries is None else geometries
            match step:
                case MakeValid():
                    geometries = make_valid(geometries, first, findings)
                case Simplify(tolerance):
                    geometries = simplify(geometries, tolerance, first, findings)
        geometries = shapes.build(None) if geometries is None else geometries
        is_flat = shapes.coordinates.shape[1] == 2
        return finish(self.source, attributes, geometries, first, findings, is_flat=is_flat)
