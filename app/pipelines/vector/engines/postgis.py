"""The engine `postgis`: every chunk is copied into PostGIS, transformed by one statement, and copied out again.

Attributes stay in this process, because PostgreSQL's types would change some of them; row numbers relate them to the
geometries. Reprojection is part of the statement where sample points show that PostGIS transforms as PROJ does in this
process; otherwise it is done here, before the copy.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import shapely

from app.errors import RunRefused, TimeLimitExceeded
from app.messages.vector import POSTGIS_FAILED, REPROJECTED_IN_PROCESS
from app.models.recipes.steps import DropZ, Recipe, Simplify
from app.models.runs.run import RunWarning
from app.pipelines.common.crs import crs_name
from app.pipelines.common.findings import Findings, KeptRows
from app.pipelines.common.reproject import Reprojector
from app.pipelines.common.shapes import Coordinates, Geometries, Shapes, from_geometries, to_wkb, without_heights
from app.pipelines.contract.engine import EngineDescription, Report
from app.pipelines.contract.watch import Watch
from app.pipelines.vector.engines import local
from app.pipelines.vector.engines.chunks import CleanChunk
from app.pipelines.vector.engines.clean import clean
from app.pipelines.vector.engines.dry_run import describe
from app.pipelines.vector.engines.heights import has_unknown_heights
from app.pipelines.vector.engines.measure import Rows, changed_rows, sizes_of
from app.pipelines.vector.engines.postgis_access import PostgisAccess, StatementRunner
from app.pipelines.vector.engines.postgis_copy import Answer, decode, encode
from app.pipelines.vector.engines.postgis_sql import Cleaning, Flag, statement
from app.pipelines.vector.engines.stream import bound_steps, run_recipe
from app.pipelines.vector.source import Chunk, VectorSource
from app.storage.postgis.server import StatementFailed

# Coordinates of PostGIS and of this process may differ by so many degrees (a tenth of a millimetre) and count as equal.
SAME_DEGREES = 1e-9
# Vertices of each chunk that are transformed on both sides.
_SAMPLES = 32
_PROBE = -1


@dataclass(frozen=True, slots=True)
class PostgisEngine:
    """Runs a recipe in a database schema that only this attempt uses."""

    access: PostgisAccess

    def versions(self) -> dict[str, str]:
        return _versions(self.access.versions())

    def run(self, sources: Sequence[VectorSource], recipe: Recipe, target: Path, watch: Watch, threads: int) -> Report:
        """See VectorEngine. Rows are numbered from 0 in messages and samples; memory is bounded by chunks.

        Raises RunRefused as the local engine does, and postgis_failed for what PostGIS cannot compute;
        EngineUnavailable when it is away; TimeLimitExceeded for a statement over its time limit.
        """
        with self.access.workspace(threads) as workspace:
            resources = _PostgisResources(workspace)
            report = run_recipe(sources, recipe, target, watch, threads, resources)
            reprojected = dict(sorted(resources.reprojected.items()))
            return replace(report, statistics={**report.statistics, "rows_reprojected_in": reprojected})

    def describe(self, sources: Sequence[VectorSource], recipe: Recipe) -> EngineDescription:
        """See VectorEngine. Computes sample points in a temporary schema."""
        with self.access.workspace(1) as workspace:
            return describe(sources, recipe, _PostgisResources(workspace))


def _versions(server: Mapping[str, str]) -> dict[str, str]:
    """Versions of the server's parts, and of those that work in this process."""
    here = local.versions()
    own = {"engine": "postgis", "geos_in_process": here["geos"], "proj_in_process": here["proj"]}
    return {**here, **server, **own}


@dataclass
class _PostgisResources:
    """See EngineResources. reprojected: numbers of rows that were reprojected in PostGIS and in this process."""

    repairs_here: ClassVar[bool] = False

    workspace: StatementRunner
    reprojected: Counter[str] = field(default_factory=Counter)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def versions(self) -> dict[str, str]:
        return _versions(self.workspace.versions)

    def plan(self, source: VectorSource, recipe: Recipe) -> _PostgisPlan:
        return _PostgisPlan(source, recipe, self)

    def interrupt(self) -> None:
        self.workspace.interrupt()

    def count(self, place: str, rows: int) -> None:
        with self._lock:
            self.reprojected[place] += rows


@dataclass
class _Stage:
    """A reprojection, or none, and the cleaning steps up to the next one. srids: None to reproject in this process."""

    reprojector: Reprojector | None
    steps: list[Cleaning] = field(default_factory=list)
    srids: tuple[int, int] | None = None

    @property
    def margin(self) -> float:
        """How far simplification may have moved an edge, in units of the CRS."""
        return sum(step.tolerance for step in self.steps if isinstance(step, Simplify))


class _PostgisPlan:
    """A recipe prepared for one source."""

    def __init__(self, source: VectorSource, recipe: Recipe, resources: _PostgisResources) -> None:
        self._source, self._resources = source, resources
        self._stages = [_Stage(None)]
        self.warnings: list[RunWarning] = []
        self._drops_z = any(isinstance(step, DropZ) for step in recipe.steps)
        for step, reprojector in bound_steps(source, recipe):
            if isinstance(step, DropZ):
                continue
            if reprojector is None:
                self._stages[-1].steps.append(step)  # type: ignore[arg-type] # what is no Reproject is one of these
                continue
            self.warnings += reprojector.warnings()
            self._stages.append(_Stage(reprojector))
            # Neighbours in two chunks have to stay equal to the last bit, so one PROJ transforms all of them.
            self._stages[-1].srids = None if recipe.coverage else self._equivalent_srids(reprojector)

    @property
    def statements(self) -> tuple[str, ...]:
        """See SourcePlan."""
        return tuple(statement(stage.steps, stage.srids) for stage in self._stages if stage.steps or stage.srids)

    def clean(self, chunk: Chunk) -> CleanChunk:
        """See SourcePlan."""
        findings = Findings()
        attributes, shapes = chunk.decode(findings)
        findings.counts["vertices_in"] += len(shapes.coordinates)
        if self._drops_z:
            shapes = without_heights(shapes)
        is_flat = shapes.coordinates.shape[1] == 2
        geometries, wkb = None, None
        rows, old = np.empty(0, np.intp), np.empty(0, object)
        for stage in self._stages:
            if not shapes.size or (stage.reprojector is None and not stage.steps):
                continue
            before = shapes if geometries is None else from_geometries(geometries)
            geometries, wkb, rows, old = self._apply(stage, before, chunk.first_row, findings)
        geometries = shapes.build(None) if geometries is None else geometries
        first, sizes = chunk.first_row, sizes_of(old)
        return CleanChunk(self._source, attributes, geometries, first, findings, is_flat, rows, sizes, wkb)

    def _apply(
        self, stage: _Stage, shapes: Shapes, first: int, findings: Findings
    ) -> tuple[Geometries, pa.Array | None, Rows, Geometries]:
        """(geometries after this stage, as WKB where that is known, rows that its steps changed, those before that)."""
        reprojector = stage.reprojector
        if reprojector is not None and stage.srids is not None and reprojector.is_plain_source(shapes.coordinates):
            found = self._reproject_in_postgis(stage, reprojector, shapes, first)
            if found is not None:
                self._resources.count("postgis", shapes.size)
                _count_changes(found[1], first, findings)
                rows = np.flatnonzero(found[1].flags)
                return found[0], found[1].wkb, rows, _moved(shapes, rows, reprojector)
        if reprojector is None:
            geometries = shapes.build(None)
        else:
            geometries = reprojector.apply(shapes, first, findings)
            reprojector.check_places(shapes, geometries, first, findings)
            self._resources.count("process", shapes.size)
        if not stage.steps:
            return geometries, None, np.empty(0, np.intp), np.empty(0, object)
        unknown = has_unknown_heights(geometries)
        if unknown.any():
            return self._in_both(stage.steps, geometries, unknown, first, findings)
        answer = self._query(stage.steps, None, to_wkb(geometries), first)
        _count_changes(answer, first, findings)
        rows = np.flatnonzero(answer.flags)
        return _geometries(answer), answer.wkb, rows, geometries[rows]

    def _in_both(
        self,
        steps: Sequence[Cleaning],
        geometries: Geometries,
        unknown: npt.NDArray[np.bool_],
        first: int,
        findings: Findings,
    ) -> tuple[Geometries, None, Rows, Geometries]:
        """As `_apply`, with the rows of unknown heights cleaned in this process: PostGIS loses vertices of them."""
        there, here = np.flatnonzero(~unknown), np.flatnonzero(unknown)
        result, changed = geometries.copy(), [np.empty(0, np.intp)]
        parts = Findings(), Findings()
        if len(there):
            numbers = KeptRows.of(first, there)
            answer = self._query(steps, None, to_wkb(geometries[there]), numbers)
            _count_changes(answer, numbers, parts[0])
            result[there] = _geometries(answer)
            changed.append(there[answer.flags != 0])
        cleaned = geometries[here]
        for step in steps:
            cleaned = clean(step, cleaned, KeptRows.of(first, here), parts[1])
        result[here] = cleaned
        changed.append(here[changed_rows(geometries[here], cleaned)])
        findings.merge_rows(*parts)
        rows = np.sort(np.concatenate(changed))
        return result, None, rows, geometries[rows]

    def _reproject_in_postgis(
        self, stage: _Stage, reprojector: Reprojector, shapes: Shapes, first: int
    ) -> tuple[Geometries, Answer] | None:
        """None when some row needs what SQL cannot do, or when PostGIS gives other coordinates for the samples."""
        samples = shapes.coordinates[np.linspace(0, len(shapes.coordinates) - 1, _SAMPLES).astype(np.intp)]
        try:
            answer = self._query(stage.steps, stage.srids, shapes.wkb(), first, samples)
        except RunRefused:  # a point that PostGIS cannot transform; the same work in this process names it
            return None
        probe, answer = _without_probe(answer)
        geometries = _geometries(answer)
        boxes = shapely.bounds(geometries)
        difference = _largest_difference(probe, reprojector.move(samples))
        if difference > SAME_DEGREES or not reprojector.is_plain(boxes, stage.margin):
            return None
        return geometries, answer

    def _query(
        self,
        steps: Sequence[Cleaning],
        srids: tuple[int, int] | None,
        wkb: pa.Array,
        first: int,
        probe: Coordinates | None = None,
    ) -> Answer:
        """Run the steps over these rows, numbered from 0; the points of `probe` go as one more row before them."""
        numbers = np.arange(len(wkb), dtype=np.int32)
        where = f"{self._source.file}, rows {first} to {first + (len(wkb) - 1)}"
        if probe is not None:
            wkb = pa.concat_arrays([to_wkb(np.array([shapely.multipoints(probe)])), wkb])
            numbers = np.concatenate([[_PROBE], numbers]).astype(np.int32)
        try:
            answer = decode(self._resources.workspace.run(encode(numbers, wkb), steps, srids))
        except StatementFailed as err:
            raise POSTGIS_FAILED(file=self._source.file, place=where, error=err) from None
        except TimeLimitExceeded as err:
            raise TimeLimitExceeded(f"{where}: {err.detail}", err.fix) from None
        if not np.array_equal(answer.numbers, numbers):
            raise RuntimeError(f"{where}: PostGIS returned other rows than it received")
        return answer

    def _equivalent_srids(self, reprojector: Reprojector) -> tuple[int, int] | None:
        """The EPSG codes between which PostGIS transforms sample points as PROJ does here; None if it does not."""
        codes = [crs.to_authority(min_confidence=70) for crs in (reprojector.source, reprojector.target)]
        points = reprojector.points_of_use()
        if reprojector.is_identity or not len(points) or not all(code and code[0] == "EPSG" for code in codes):
            return None
        srids = int(codes[0][1]), int(codes[1][1])
        here = reprojector.move(points)
        known = np.isfinite(here).all(axis=1)
        try:
            answer = self._query([], srids, to_wkb(np.empty(0, object)), 0, points[known])
        except RunRefused as err:
            difference, why = np.inf, err.detail
        else:
            difference = _largest_difference(_without_probe(answer)[0], here[known])
            why = f"by up to {difference:.3g}°"
        if difference <= SAME_DEGREES:
            return srids
        self.warnings.append(
            REPROJECTED_IN_PROCESS(
                file=self._source.file,
                source=crs_name(reprojector.source),
                target=crs_name(reprojector.target),
                why=why,
            )
        )
        return None


def _moved(shapes: Shapes, rows: Rows, reprojector: Reprojector) -> Geometries:
    """These rows in the CRS of the result, without the steps after that. No row needs a check: see `is_plain`."""
    if not len(rows):
        return np.empty(0, object)
    chosen = from_geometries(shapes.build(None)[rows])
    return chosen.build(reprojector.move(chosen.coordinates))


def _largest_difference(there: Coordinates, here: Coordinates) -> float:
    """The largest difference; infinite where the two cannot be compared."""
    if there.shape != here.shape or not np.isfinite(there).all():
        return float("inf")
    return float(np.abs(there - here).max(initial=0))


def _geometries(answer: Answer) -> Geometries:
    found: Geometries = shapely.from_wkb(answer.wkb.to_numpy(zero_copy_only=False))
    return found


def _without_probe(answer: Answer) -> tuple[npt.NDArray[np.float64], Answer]:
    """(coordinates of the probe, the other rows)."""
    probe = shapely.get_coordinates(shapely.from_wkb(answer.wkb[0].as_py()))
    return probe, Answer(answer.numbers[1:], answer.flags[1:], answer.wkb[1:], answer.reasons)


def _count_changes(answer: Answer, first: int, findings: Findings) -> None:
    """What the statement did to the rows, counted as engines.clean does."""
    repaired = (answer.flags & Flag.REPAIRED) > 0
    findings.add("repaired", repaired, first, reason=answer.reasons[:5])
    findings.add("repaired_type_changed", (answer.flags & Flag.TYPE_CHANGED) > 0, first)
    findings.add("simplify_kept", (answer.flags & Flag.SIMPLIFY_KEPT) > 0, first)
    if (changed := answer.flags & (Flag.SIMPLIFIED | Flag.SIMPLIFY_KEPT)).any():
        findings.counts["simplified"] += int((changed == Flag.SIMPLIFIED).sum())
