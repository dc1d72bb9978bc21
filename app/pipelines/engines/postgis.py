"""The engine `postgis`: every chunk is copied into PostGIS, goes through one statement, and is copied out again.

Attributes never leave this process: PostgreSQL's types would bend some of them, and row numbers tie both together.
Reprojection is part of the statement where PostGIS provably places points as PROJ does in this process; else it is done
here, before the copy.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import shapely
from anyio.from_thread import start_blocking_portal

from app.errors import RunRefused, TimeLimitExceeded
from app.models.recipe import Recipe, Simplify
from app.pipelines.context import Watch
from app.pipelines.engines import Foresight, Report, local
from app.pipelines.engines.foresight import foresee
from app.pipelines.engines.postgis_copy import Answer, decode, encode
from app.pipelines.engines.postgis_sql import Cleaning, Flag, statement
from app.pipelines.engines.reproject import Reprojector
from app.pipelines.engines.stream import Done, bound_steps, finish, run_recipe
from app.pipelines.formats.crs import crs_name
from app.pipelines.formats.findings import Findings
from app.pipelines.formats.shapes import Coordinates, Geometries, Shapes, from_geometries, to_wkb
from app.pipelines.formats.source import Chunk, VectorSource
from app.storage.postgis import Postgis, RunSchema, StatementFailed
from app.storage.postgis_workspace import Workspace, open_workspace

# Coordinates of PostGIS and of this process may differ by so many degrees (a tenth of a millimetre) and count as equal.
SAME_DEGREES = 1e-9
# Vertices of each chunk that are transformed on both sides.
_SAMPLES = 32
_PROBE = -1


@dataclass(frozen=True, slots=True)
class PostgisEngine:
    """Runs a recipe in a schema that is this attempt's own."""

    server: Postgis
    schema: RunSchema

    def versions(self) -> dict[str, str]:
        with start_blocking_portal() as portal:
            return _versions(portal.call(self.server.versions, self.schema.application))

    def run(self, sources: Sequence[VectorSource], recipe: Recipe, target: Path, watch: Watch, threads: int) -> Report:
        """See VectorEngine. Rows are numbered from 0 in messages and samples; memory is bounded by chunks.

        Raises RunRefused as the local engine does, and postgis_failed for what PostGIS cannot compute;
        EngineUnavailable when it is away; TimeLimitExceeded for a statement over its time limit.
        """
        with open_workspace(self.server, self.schema, threads) as workspace:
            means = _Means(workspace)
            report = run_recipe(sources, recipe, target, watch, threads, means)
            reprojected = dict(sorted(means.reprojected.items()))
            return replace(report, statistics={**report.statistics, "rows_reprojected_in": reprojected})

    def foresee(self, sources: Sequence[VectorSource], recipe: Recipe) -> Foresight:
        """See VectorEngine. Computes sample points in a schema of its own, which is gone afterwards."""
        with open_workspace(self.server, self.schema, 1) as workspace:
            return foresee(sources, recipe, _Means(workspace))


def _versions(server: Mapping[str, str]) -> dict[str, str]:
    """Versions of the server's parts, and of those that work in this process."""
    here = local.versions()
    own = {"engine": "postgis", "geos_in_process": here["geos"], "proj_in_process": here["proj"]}
    return {**here, **server, **own}


@dataclass
class _Means:
    """See engines.stream.Means. reprojected: rows that were reprojected in PostGIS, and in this process."""

    workspace: Workspace
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
class _Part:
    """A reprojection, or none, and the cleaning steps up to the next one. srids: None to reproject in this process."""

    reprojector: Reprojector | None
    steps: list[Cleaning] = field(default_factory=list)
    srids: tuple[int, int] | None = None

    @property
    def margin(self) -> float:
        """How far simplification may have moved an edge, in units of the CRS."""
        return sum(step.tolerance for step in self.steps if isinstance(step, Simplify))


class _PostgisPlan:
    """A recipe made ready for one source."""

    def __init__(self, source: VectorSource, recipe: Recipe, means: _Means) -> None:
        self._source, self._means = source, means
        self._parts = [_Part(None)]
        self.warnings: list[tuple[str, str]] = []
        for step, reprojector in bound_steps(source, recipe):
            if reprojector is None:
                self._parts[-1].steps.append(step)  # type: ignore[arg-type] # what is no Reproject is one of these
                continue
            self.warnings += reprojector.warnings()
            self._parts.append(_Part(reprojector))
            self._parts[-1].srids = self._qualified(reprojector)

    @property
    def statements(self) -> tuple[str, ...]:
        """See engines.stream.Plan."""
        return tuple(statement(part.steps, part.srids) for part in self._parts if part.steps or part.srids)

    def transform(self, chunk: Chunk) -> Done:
        """See engines.stream.Plan."""
        findings = Findings()
        attributes, shapes = chunk.decode(findings)
        findings.counts["vertices_in"] += len(shapes.coordinates)
        is_flat = shapes.coordinates.shape[1] == 2
        geometries, wkb = None, None
        for part in self._parts:
            if part.reprojector is None and not part.steps:
                continue
            before = shapes if geometries is None else from_geometries(geometries)
            geometries, wkb = self._apply(part, before, chunk.first_row, findings)
        geometries = shapes.build(None) if geometries is None else geometries
        return finish(self._source, attributes, geometries, chunk.first_row, findings, is_flat=is_flat, wkb=wkb)

    def _apply(self, part: _Part, shapes: Shapes, first: int, findings: Findings) -> tuple[Geometries, pa.Array | None]:
        """(geometries after this part, the same as WKB where that is known)."""
        reprojector = part.reprojector
        if reprojector is not None and part.srids is not None and reprojector.is_plain_source(shapes.coordinates):
            found = self._in_one_statement(part, reprojector, shapes, first)
            if found is not None:
                self._means.count("postgis", shapes.size)
                _tell(found[1], first, findings)
                return found[0], found[1].wkb
        if reprojector is None:
            geometries = shapes.build(None)
        else:
            geometries = reprojector.apply(shapes, first, findings)
            reprojector.check_area(shapely.bounds(geometries), first, findings)
            self._means.count("process", shapes.size)
        if not part.steps:
            return geometries, None
        answer = self._ask(statement(part.steps, None), to_wkb(geometries), first)
        _tell(answer, first, findings)
        return _geometries(answer), answer.wkb

    def _in_one_statement(
        self, part: _Part, reprojector: Reprojector, shapes: Shapes, first: int
    ) -> tuple[Geometries, Answer] | None:
        """None when some row needs what SQL has no word for, or when PostGIS places the samples elsewhere."""
        samples = shapes.coordinates[np.linspace(0, len(shapes.coordinates) - 1, _SAMPLES).astype(np.intp)]
        try:
            answer = self._ask(statement(part.steps, part.srids), shapes.wkb(), first, samples)
        except RunRefused:  # a point that PostGIS cannot transform: which, and why, is told by the same work done here
            return None
        probe, answer = _without_probe(answer)
        geometries = _geometries(answer)
        boxes = shapely.bounds(geometries)
        if _away(probe, reprojector.move(samples)) > SAME_DEGREES or not reprojector.is_plain(boxes, part.margin):
            return None
        return geometries, answer

    def _ask(self, query: str, wkb: pa.Array, first: int, probe: Coordinates | None = None) -> Answer:
        """The answer for these rows, numbered from 0; with a row before them for the probe's points."""
        numbers = np.arange(len(wkb), dtype=np.int32)
        where = f"{self._source.file}, rows {first} to {first + len(wkb) - 1}"
        if probe is not None:
            wkb = pa.concat_arrays([to_wkb(np.array([shapely.multipoints(probe)])), wkb])
            numbers = np.concatenate([[_PROBE], numbers]).astype(np.int32)
        try:
            answer = decode(self._means.workspace.run(encode(numbers, wkb), query))
        except StatementFailed as err:
            raise RunRefused(
                f"{where}: PostGIS cannot compute them: {err}.",
                "Look at these rows; SPATIAL_ETL_ENGINE__NAME=local computes them without PostGIS.",
                reason="postgis_failed",
                file=self._source.file,
            ) from None
        except TimeLimitExceeded as err:
            raise TimeLimitExceeded(f"{where}: {err.detail}", err.fix) from None
        if not np.array_equal(answer.numbers, numbers):
            raise RuntimeError(f"{where}: PostGIS gave back other rows than it was given")
        return answer

    def _qualified(self, reprojector: Reprojector) -> tuple[int, int] | None:
        """The codes with which PostGIS transforms as PROJ does here, by points all over the area of use; else None."""
        codes = [crs.to_authority(min_confidence=70) for crs in (reprojector.source, reprojector.target)]
        points = reprojector.points_of_use()
        if reprojector.is_identity or not len(points) or not all(code and code[0] == "EPSG" for code in codes):
            return None
        srids = int(codes[0][1]), int(codes[1][1])
        here = reprojector.move(points)
        known = np.isfinite(here).all(axis=1)
        try:
            answer = self._ask(statement([], srids), to_wkb(np.empty(0, object)), 0, points[known])
        except RunRefused as err:
            away, why = np.inf, err.detail
        else:
            away = _away(_without_probe(answer)[0], here[known])
            why = f"it places points up to {away:.3g}° elsewhere"
        if away <= SAME_DEGREES:
            return srids
        self.warnings.append(
            (
                "reprojected_in_process",
                f"{self._source.file}: PostGIS transforms {crs_name(reprojector.source)} to "
                f"{crs_name(reprojector.target)} otherwise than PROJ does here ({why}); the rows are reprojected here.",
            )
        )
        return None


def _away(there: Coordinates, here: Coordinates) -> float:
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


def _tell(answer: Answer, first: int, findings: Findings) -> None:
    """What the statement did to the rows, counted as engines.clean does."""
    repaired = (answer.flags & Flag.REPAIRED) > 0
    findings.add("repaired", repaired, first, reason=answer.reasons[:5])
    findings.add("repaired_type_changed", (answer.flags & Flag.TYPE_CHANGED) > 0, first)
    findings.add("simplify_kept", (answer.flags & Flag.SIMPLIFY_KEPT) > 0, first)
    if (changed := answer.flags & (Flag.SIMPLIFIED | Flag.SIMPLIFY_KEPT)).any():
        findings.counts["simplified"] += int((changed == Flag.SIMPLIFIED).sum())
