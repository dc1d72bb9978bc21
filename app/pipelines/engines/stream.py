"""What engines share: the calling thread reads and writes chunks in source order, a few others transform them."""

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

from app.jobs.notes import file_at_hand
from app.models.recipe import Recipe, Reproject, Step
from app.pipelines.context import Watch
from app.pipelines.engines import Report
from app.pipelines.engines import report as reports
from app.pipelines.engines.reproject import FAR, Reprojector
from app.pipelines.engines.schemas import common_schema
from app.pipelines.formats.collector import paused_collector
from app.pipelines.formats.crs import crs_name, parse_crs
from app.pipelines.formats.findings import Findings
from app.pipelines.formats.geoparquet import GeoParquetWriter, column_names
from app.pipelines.formats.profile import profile
from app.pipelines.formats.shapes import Geometries, to_wkb
from app.pipelines.formats.source import Chunk, VectorSource
from app.pipelines.memory import return_large_blocks

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
# Seconds between two looks at the watch while one chunk takes long.
_LOOK_EVERY = 0.5


@dataclass(frozen=True, slots=True)
class Done:
    """A transformed chunk, ready to be written."""

    source: VectorSource
    attributes: tuple[pa.Array, ...]
    wkb: pa.Array
    boxes: npt.NDArray[np.float64]
    types: Counter[str]
    heights: tuple[float, float] | None
    findings: Findings


class Plan(Protocol):
    """A recipe made ready for one source."""

    @property
    def warnings(self) -> list[tuple[str, str]]:
        """(code, message) of what a reader should know before a row is read."""
        ...

    @property
    def statements(self) -> tuple[str, ...]:
        """The SQL that each batch of rows goes through, in order; none where no SQL is used."""
        ...

    def transform(self, chunk: Chunk) -> Done:
        """One chunk through all steps. Runs in any thread. Rows in = rows out; nulls and empties stay, counted."""
        ...


class Means(Protocol):
    """What an engine computes with, for one run."""

    @property
    def versions(self) -> Mapping[str, str]: ...
    def plan(self, source: VectorSource, recipe: Recipe) -> Plan:
        """Raises RunRefused where the recipe cannot be run over this source."""
        ...

    def interrupt(self) -> None:
        """Called when the run ends before its last row: chunks that are being transformed give up where they can."""
        ...


def bound_steps(source: VectorSource, recipe: Recipe) -> list[tuple[Step, Reprojector | None]]:
    """The recipe's steps, each reprojection bound to the CRS that it finds. Raises RunRefused crs_not_transformable."""
    steps: list[tuple[Step, Reprojector | None]] = []
    crs = source.crs
    for step in recipe.steps:
        reprojector = None
        if isinstance(step, Reproject):
            target = parse_crs(step.crs, source.file, f"of the recipe {recipe.name!r}")
            reprojector = Reprojector(crs, target, source.file)
            crs = target
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
) -> Done:
    """The chunk as it is written. is_flat: no geometry of it has z. wkb: the geometries as ISO WKB, where known."""
    findings.add("null_geometries", shapely.is_missing(geometries), first)
    findings.add("empty_geometries", shapely.is_empty(geometries), first)
    findings.counts["vertices_out"] += int(shapely.get_num_coordinates(geometries).sum())
    boxes = shapely.bounds(geometries)
    findings.add("null_island", (np.abs(boxes) < NULL_ISLAND).all(axis=1), first)
    high = np.zeros(len(geometries), np.bool_) if is_flat else shapely.has_z(geometries)
    return Done(
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
    means: Means,
) -> Report:
    """Every chunk of every source through its plan, in order, into `target`; see VectorEngine."""
    return_large_blocks()
    schema = common_schema(sources)
    crs = output_crs(sources, recipe)
    names, box, renamed = column_names(schema.names)
    attributes = pa.schema([field.with_name(name) for field, name in zip(schema, names, strict=True)])
    plans = {id(source): means.plan(source, recipe) for source in sources}
    reports.warn_before(sources, [plans[id(source)].warnings for source in sources], watch)
    total = None if any(s.rows is None for s in sources) else sum(s.rows or 0 for s in sources)
    findings, types, by_file = Findings(), Counter[str](), Counter[str]()
    far, placed = Counter[str](), Counter[str]()
    with paused_collector(), GeoParquetWriter(target, attributes, box, crs) as writer:
        done = 0
        with closing(_transformed(sources, plans, threads, means.interrupt)) as stream:
            for item in stream:
                if item is None:
                    watch.advance(done, total)
                    continue
                writer.write(item.attributes, item.wkb, item.boxes, set(item.types), item.heights)
                findings.merge(item.findings, item.source.file)
                far[item.source.file] += item.findings.counts[FAR]
                placed[item.source.file] += int(np.isfinite(item.boxes[:, 0]).sum())
                types.update(item.types)
                by_file[item.source.file] += len(item.wkb)
                done += len(item.wkb)
                watch.advance(done, total)
    reports.check_rows(sources, writer.rows, done)
    for source in sources:
        findings.counts.update(source.counted)
    reports.check_places(far, placed, findings)
    reports.warn_after(findings, watch)
    counts = {"rows_in": done, "rows_out": writer.rows, **dict(sorted(findings.counts.items()))}
    return Report(
        crs=crs_name(crs),
        bounds=reports.bounds_of(writer.bounds),
        geometry_type=reports.one_type(writer.geometry_types),
        column_schema=reports.column_schema(writer.schema, box, {new: old for old, new in renamed.items()}),
        header_mapping=renamed,
        counts=counts,
        statistics={
            "geometry_types": dict(sorted(types.items())),
            "rows_by_file": dict(by_file),
            "bytes": target.stat().st_size,
            "columns": profile(target, attributes, writer.rows, threads),
        },
        engine=means.versions,
    )


def _transformed(
    sources: Sequence[VectorSource], plans: Mapping[int, Plan], threads: int, interrupt: Callable[[], None]
) -> Generator[Done | None, None, None]:
    """Chunks in source order, transformed by `threads` threads; never more than a few in memory.

    None now and then while a chunk takes long, for the caller to look at its watch.
    """
    waiting: deque[Future[Done]] = deque()
    with ThreadPoolExecutor(threads, thread_name_prefix="transform") as pool:
        try:
            for source in sources:
                plan = plans[id(source)]
                file_at_hand(source.file)
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


def _first_of(waiting: deque[Future[Done]]) -> Generator[Done | None, None, None]:
    while not wait([waiting[0]], _LOOK_EVERY).done:
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
    """The CRS after the last reprojection; without one, the sources' own, which then must be the same."""
    targets = [step.crs for step in recipe.steps if isinstance(step, Reproject)]
    return CRS.from_user_input(targets[-1]) if targets else sources[0].crs
