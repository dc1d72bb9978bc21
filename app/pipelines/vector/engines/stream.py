"""What all engines share: how chunks flow from the sources to the product.

The calling thread reads and writes chunks in source order; a few other threads transform them.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import shapely
from pyproj import CRS

from app.jobs.shared_state import record_current_file
from app.messages.vector import CRS_DIFFERS
from app.models.recipe import GeometryStep, Recipe, Reproject, Simplify
from app.models.run import RunWarning
from app.pipelines.common.crs import crs_name, metres_per_unit, parse_crs, same_crs
from app.pipelines.common.findings import Findings
from app.pipelines.common.gc_paused import paused_collector
from app.pipelines.common.geoparquet_writer import GeoParquetWriter, bounds_of, one_type
from app.pipelines.common.malloc import return_large_blocks
from app.pipelines.common.profile import profile
from app.pipelines.common.reproject import FAR, Reprojector
from app.pipelines.common.shapes import Geometries, to_wkb
from app.pipelines.common.world_box import degrees_statistic
from app.pipelines.contract.engine import Report
from app.pipelines.contract.watch import Watch
from app.pipelines.vector.engines import report as reports
from app.pipelines.vector.engines.columns import product_columns
from app.pipelines.vector.engines.filter import FILTERED
from app.pipelines.vector.engines.measure import measured
from app.pipelines.vector.engines.order import rows_in_order
from app.pipelines.vector.source import Chunk, VectorSource

_TYPE_NAMES = np.array(
    [
        "Point",
        "LineString",
        "LinearRing",
        "Polygon",
        "MultiPoint",
        "MultiLineString",
        "MultiPolygon",
        "GeometryCollection",
    ]
)
# Chunks that wait between reading, transforming and writing, besides those being transformed.
_SPARE_CHUNKS = 1
# A geometry within so many units of 0, 0 probably has no coordinates.
NULL_ISLAND = 1e-6
# Seconds between two calls of the watch while one chunk takes long.
_WATCH_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class TransformedChunk:
    """A transformed chunk, ready to be written."""

    source: VectorSource
    attributes: tuple[pa.Array, ...]
    wkb: pa.Array
    boxes: npt.NDArray[np.float64]
    types: Counter[str]
    heights: tuple[float, float] | None
    findings: Findings


class SourcePlan(Protocol):
    """A recipe prepared for one source."""

    @property
    def warnings(self) -> list[RunWarning]:
        """What a user should know before a row is read."""
        ...

    @property
    def statements(self) -> tuple[str, ...]:
        """The SQL statements that each batch of rows goes through, in order; empty where no SQL is used."""
        ...

    def transform(self, chunk: Chunk) -> TransformedChunk:
        """One chunk through all steps. Runs in any thread. Rows in = rows out; nulls and empties stay, counted."""
        ...


class EngineResources(Protocol):
    """What an engine computes with during one run."""

    @property
    def versions(self) -> Mapping[str, str]: ...
    def plan(self, source: VectorSource, recipe: Recipe) -> SourcePlan:
        """Raises RunRefused where the recipe cannot be run over this source."""
        ...

    def interrupt(self) -> None:
        """Stop transforming, where that is possible; called when the run ends before its last row."""
        ...


def bound_steps(source: VectorSource, recipe: Recipe) -> list[tuple[GeometryStep, Reprojector | None]]:
    """The recipe's steps, each reprojection with a reprojector from the CRS that the geometries have before it.

    Tolerances are in units of the CRS at their step.

    Raises:
        RunRefused: crs_unknown for a CRS of the recipe that PROJ does not know, crs_not_transformable.
    """
    steps: list[tuple[GeometryStep, Reprojector | None]] = []
    crs = source.crs
    for step in recipe.geometry_steps:
        reprojector = None
        if isinstance(step, Reproject):
            target = parse_crs(step.crs, source.file, f"of the recipe of {recipe.name}") if step.crs else crs
            reprojector = Reprojector(crs, target, source.file)
            crs = target
        if isinstance(step, Simplify) and step.unit == "m":
            step = Simplify(step.tolerance / metres_per_unit(crs))  # noqa: PLW2901 # the same in the units of the CRS
        steps.append((step, reprojector))
    return steps


def finish(
    source: VectorSource,
    attributes: tuple[pa.Array, ...],
    geometries: Geometries,
    first: int,
    findings: Findings,
    *,
    is_flat: bool,
    wkb: pa.Array | None = None,
) -> TransformedChunk:
    """Count what is left to count in a transformed chunk, and prepare it for writing.

    Args:
        source: where the chunk comes from.
        attributes: in the order of the source's schema.
        geometries: after all steps, null and empty ones included.
        first: number of the first row within the source.
        findings: of the steps so far; this adds to them.
        is_flat: whether no geometry has z.
        wkb: the geometries as ISO WKB, where the caller has them.
    """
    findings.add("null_geometries", shapely.is_missing(geometries), first)
    findings.add("empty_geometries", shapely.is_empty(geometries), first)
    findings.counts["vertices_out"] += int(shapely.get_num_coordinates(geometries).sum())
    boxes = shapely.bounds(geometries)
    findings.add("null_island", (np.abs(boxes) < NULL_ISLAND).all(axis=1), first)
    high = np.zeros(len(geometries), np.bool_) if is_flat else shapely.has_z(geometries)
    return TransformedChunk(
        source=source,
        attributes=attributes,
        wkb=to_wkb(geometries) if wkb is None else wkb,
        boxes=boxes,
        types=_types(geometries, high),
        heights=_heights(geometries[high]) if high.any() else None,
        findings=findings,
    )


def run_recipe(
    sources: Sequence[VectorSource],
    recipe: Recipe,
    target: Path,
    watch: Watch,
    threads: int,
    resources: EngineResources,
) -> Report:
    """Transform every chunk of every source and write it to `target`, in order; see VectorEngine.run."""
    return_large_blocks()
    columns = product_columns(sources)
    crs = output_crs(sources, recipe)
    plans = {id(source): resources.plan(source, recipe) for source in sources}
    reports.warn_before(sources, [plans[id(source)].warnings for source in sources], watch)
    total = None if any(s.rows is None for s in sources) else sum(s.rows or 0 for s in sources)
    findings, types, by_file = Findings(), Counter[str](), Counter[str]()
    far, placed = Counter[str](), Counter[str]()
    done = 0
    with (
        paused_collector(),
        GeoParquetWriter(target, columns.attributes, columns.box, crs) as writer,
        rows_in_order(writer, recipe, target.parent, lambda: watch.advance(done, total)) as ordered,
        closing(_transformed(sources, plans, threads, resources.interrupt)) as stream,
    ):
        for item in stream:
            if item is None:
                watch.advance(done, total)
                continue
            ordered.write(item.attributes, item.wkb, item.boxes, set(item.types), item.heights)
            findings.merge(item.findings, item.source.file)
            far[item.source.file] += item.findings.counts[FAR]
            placed[item.source.file] += int(np.isfinite(item.boxes[:, 0]).sum())
            types.update(item.types)
            by_file[item.source.file] += len(item.wkb)
            done += len(item.wkb) + item.findings.counts[FILTERED]
            watch.advance(done, total)
    reports.check_rows(sources, writer.rows, done, findings.counts[FILTERED], recipe.where)
    for source in sources:
        findings.counts.update(source.counted)
    reports.check_places(far, placed, findings)
    reports.warn_after(findings, watch)
    counts = {"rows_in": done, "rows_out": writer.rows, **dict(sorted(findings.counts.items()))}
    bounds = bounds_of(writer.bounds)
    return Report(
        crs=crs_name(crs),
        bounds=bounds,
        geometry_type=one_type(writer.geometry_types),
        column_schema=reports.column_schema(writer.schema, columns.box, columns.titles),
        header_mapping=columns.header_mapping,
        counts=counts,
        statistics={
            "geometry_types": dict(sorted(types.items())),
            "rows_by_file": dict(by_file),
            **degrees_statistic(bounds, crs),
            "geometry": measured(findings.sizes, crs),
            "bytes": target.stat().st_size,
            "columns": profile(target, columns.attributes, writer.rows, threads),
        },
        engine=resources.versions,
    )


def _transformed(
    sources: Sequence[VectorSource], plans: Mapping[int, SourcePlan], threads: int, interrupt: Callable[[], None]
) -> Generator[TransformedChunk | None, None, None]:
    """Chunks in source order, transformed by `threads` threads; never more than a few in memory.

    Yields None every `_WATCH_SECONDS` while a chunk takes long, so that the caller can call its watch.
    """
    waiting: deque[Future[TransformedChunk]] = deque()
    with ThreadPoolExecutor(threads, thread_name_prefix="transform") as pool:
        try:
            for source in sources:
                plan = plans[id(source)]
                record_current_file(source.file)
                with closing(source.open_chunks()) as chunks:
                    for chunk in chunks:
                        waiting.append(pool.submit(plan.transform, chunk))
                        while len(waiting) > threads + _SPARE_CHUNKS or (waiting and waiting[0].done()):
                            yield from _first_of(waiting)
            while waiting:
                yield from _first_of(waiting)
        except BaseException:
            for future in waiting:
                future.cancel()
            interrupt()
            raise


def _first_of(waiting: deque[Future[TransformedChunk]]) -> Generator[TransformedChunk | None, None, None]:
    while not wait([waiting[0]], _WATCH_SECONDS).done:
        yield None
    yield waiting.popleft().result()


def _types(geometries: npt.NDArray[np.object_], high: npt.NDArray[np.bool_]) -> Counter[str]:
    """Rows by geometry type, as GeoParquet names them; null geometries have none."""
    ids = shapely.get_type_id(geometries)
    numbers = np.bincount(ids[ids >= 0] * 2 + high[ids >= 0])
    return Counter({_TYPE_NAMES[i // 2] + " Z" * (i % 2): int(n) for i, n in enumerate(numbers) if n})


def _heights(geometries: npt.NDArray[np.object_]) -> tuple[float, float] | None:
    z = shapely.get_coordinates(geometries, include_z=True)[:, 2]
    z = z[np.isfinite(z)]
    return (float(z.min()), float(z.max())) if len(z) else None


def output_crs(sources: Sequence[VectorSource], recipe: Recipe) -> CRS:
    """The CRS after the last reprojection; without one, the sources' own.

    Raises:
        RunRefused: crs_unknown; crs_differs for sources of several CRSs that are to be kept.
    """
    targets = [step.crs for step in recipe.steps if isinstance(step, Reproject) and step.crs]
    first = sources[0]
    if targets:
        return parse_crs(targets[-1], first.file, f"of the recipe of {recipe.name}")
    other = next((source for source in sources if not same_crs(source.crs, first.crs)), None)
    if other is not None:
        raise CRS_DIFFERS(file=other.file, crs=crs_name(other.crs), first=first.file, first_crs=crs_name(first.crs))
    return first.crs
