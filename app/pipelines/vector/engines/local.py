"""The engine `local`: streams Arrow chunks through GEOS and PROJ in this process, some chunks at a time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyogrio
import pyproj
import shapely

from app.models.recipes.steps import DropZ, MakeValid, Recipe, Simplify
from app.models.runs.run import RunWarning
from app.pipelines.common.findings import Findings
from app.pipelines.common.grids import grids_version
from app.pipelines.common.shapes import from_geometries, without_heights
from app.pipelines.contract.engine import EngineDescription, Report
from app.pipelines.contract.watch import Watch
from app.pipelines.vector.engines.chunks import CleanChunk
from app.pipelines.vector.engines.clean import clean
from app.pipelines.vector.engines.dry_run import describe
from app.pipelines.vector.engines.measure import changed_rows, sizes_of
from app.pipelines.vector.engines.stream import bound_steps, run_recipe
from app.pipelines.vector.source import Chunk, VectorSource


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

    def describe(self, sources: Sequence[VectorSource], recipe: Recipe) -> EngineDescription:
        """See VectorEngine."""
        return describe(sources, recipe, _InProcess())


class _InProcess:
    """See EngineResources."""

    repairs_here = True

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
        **grids_version(),
    }


class _LocalPlan:
    """A recipe prepared for one source."""

    def __init__(self, source: VectorSource, recipe: Recipe) -> None:
        self.source = source
        self.steps = bound_steps(source, recipe)
        self.statements: tuple[str, ...] = ()

    @property
    def warnings(self) -> list[RunWarning]:
        return [warning for _, reprojector in self.steps if reprojector for warning in reprojector.warnings()]

    def clean(self, chunk: Chunk) -> CleanChunk:
        """See SourcePlan."""
        findings = Findings()
        attributes, shapes = chunk.decode(findings)
        first = chunk.first_row
        findings.counts["vertices_in"] += len(shapes.coordinates)
        geometries = before = None
        for step, reprojector in self.steps:
            if isinstance(step, DropZ) and geometries is None:
                shapes = without_heights(shapes)
                continue
            if reprojector is not None:
                given = shapes if geometries is None else from_geometries(geometries)
                geometries = before = reprojector.apply(given, first, findings)
                reprojector.check_places(given, geometries, first, findings)
                continue
            if geometries is None:
                geometries = before = shapes.build(None)
            if isinstance(step, MakeValid | Simplify):
                geometries = clean(step, geometries, first, findings)
        if geometries is None or before is None:
            geometries = before = shapes.build(None)
        changed = changed_rows(before, geometries)
        is_flat = shapes.coordinates.shape[1] == 2
        sizes = sizes_of(before[changed])
        return CleanChunk(self.source, attributes, geometries, first, findings, is_flat, changed, sizes)
