"""What all engines share: how chunks flow from the sources to the product.

The calling thread reads and writes chunks in source order; a few other threads transform them.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Protocol, TypeVar

from pyproj import CRS

from app.errors import RunRefused
from app.jobs.shared_state import record_current_file
from app.messages.vector import CRS_DIFFERS, INVALID_KEPT
from app.models.recipes.steps import CountInvalid, EngineStep, Recipe, Reproject, Simplify
from app.models.runs.run import RunWarning
from app.pipelines.common.crs import crs_name, metres_per_unit, parse_crs, same_crs
from app.pipelines.common.findings import Findings
from app.pipelines.common.gc_paused import paused_collector
from app.pipelines.common.geoparquet_writer import GeoParquetWriter, bounds_of, one_type
from app.pipelines.common.malloc import return_large_blocks
from app.pipelines.common.profile import profile
from app.pipelines.common.reproject import Reprojector
from app.pipelines.common.world_box import degrees_statistic
from app.pipelines.contract.engine import Report
from app.pipelines.contract.watch import Watch
from app.pipelines.vector.engines import report as reports
from app.pipelines.vector.engines.chunks import WATCH_SECONDS, CleanChunk, TransformedChunk, complete
from app.pipelines.vector.engines.clean import STILL_INVALID
from app.pipelines.vector.engines.columns import product_columns
from app.pipelines.vector.engines.coverage import simplify_coverage
from app.pipelines.vector.engines.filter import FILTERED
from app.pipelines.vector.engines.measure import measured
from app.pipelines.vector.engines.order import rows_in_order
from app.pipelines.vector.engines.places import Places
from app.pipelines.vector.source import Chunk, VectorSource

T = TypeVar("T")
# Chunks that wait between reading, transforming and writing, besides those being transformed.
_SPARE_CHUNKS = 1


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

    def clean(self, chunk: Chunk) -> CleanChunk:
        """One chunk through the engine's steps. Runs in any thread. Rows in = rows out; nulls and empties stay."""
        ...


class EngineResources(Protocol):
    """What an engine computes with during one run."""

    @property
    def versions(self) -> Mapping[str, str]: ...
    @property
    def repairs_here(self) -> bool:
        """Whether the GEOS that repairs geometries is the one of this process, which checks products too."""
        ...

    def plan(self, source: VectorSource, recipe: Recipe) -> SourcePlan:
        """Raises RunRefused where the recipe cannot be run over this source."""
        ...

    def interrupt(self) -> None:
        """Stop transforming, where that is possible; called when the run ends before its last row."""
        ...


def bound_steps(source: VectorSource, recipe: Recipe) -> list[tuple[EngineStep, Reprojector | None]]:
    """The steps of an engine, each reprojection with a reprojector from the CRS that the geometries have before it.

    Tolerances are in units of the CRS at their step.

    Raises:
        RunRefused: crs_unknown for a CRS of the recipe that PROJ does not know, crs_not_transformable.
    """
    steps: list[tuple[EngineStep, Reprojector | None]] = []
    crs = source.crs
    for step in recipe.engine_steps:
        reprojector = None
        if isinstance(step, Reproject):
            target = parse_crs(step.crs, source.file, f"of the recipe of {recipe.name}") if step.crs else crs
            reprojector = Reprojector(crs, target, source.file, source.ignores_area)
            crs = target
        if isinstance(step, Simplify) and step.unit == "m":
            step = Simplify(step.tolerance / metres_per_unit(crs))  # noqa: PLW2901 # the same in the units of the CRS
        steps.append((step, reprojector))
    return steps


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
    reports.warn_before(sources, columns.beside([plans[id(source)].warnings for source in sources]), watch)
    total = None if any(s.rows is None for s in sources) else sum(s.rows or 0 for s in sources)
    findings, types, by_file = Findings(), Counter[str](), Counter[str]()
    places = Places(crs)
    done = 0
    with (
        paused_collector(),
        GeoParquetWriter(target, columns.attributes, columns.box, crs) as writer,
        rows_in_order(writer, recipe, target.parent, lambda: watch.advance(done, total)) as ordered,
        closing(_transformed(sources, plans, threads, resources.interrupt, recipe, crs, target.parent)) as stream,
    ):
        for item in stream:
            if item is None:
                watch.advance(done, total)
                continue
            ordered.write(item.attributes, item.wkb, item.boxes, set(item.types), item.heights)
            places.add(item.source, item.boxes, item.findings)
            findings.merge(item.findings, item.source.name)
            types.update(item.types)
            by_file[item.source.name] += len(item.wkb)
            done += len(item.wkb) + item.findings.counts[FILTERED]
            watch.advance(done, total)
    reports.check_rows(sources, writer.rows, done, findings.counts[FILTERED], recipe.where)
    for source in sources:
        findings.counts.update(source.counted)
    places.check()
    reports.warn_after(findings, watch)
    places.warn(watch)
    findings.counts.update(places.counts())
    still_invalid = findings.counts.pop(STILL_INVALID, 0)
    is_repaired = recipe.leaves_valid and resources.repairs_here and not still_invalid
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
        is_valid=is_repaired or (CountInvalid() in recipe.last_steps and not counts.get(INVALID_KEPT.code, 0)),
    )


def _transformed(
    sources: Sequence[VectorSource],
    plans: Mapping[int, SourcePlan],
    threads: int,
    interrupt: Callable[[], None],
    recipe: Recipe,
    crs: CRS,
    scratch: Path,
) -> Generator[TransformedChunk | None, None, None]:
    """Chunks in source order, through all steps; None now and then, so that the caller can call its watch."""
    last = recipe.last_steps
    if (step := recipe.coverage) is None:
        yield from _in_threads(sources, lambda id_, chunk: complete(plans[id_].clean(chunk), last), threads, interrupt)
        return
    cleaned = _in_threads(sources, lambda id_, chunk: plans[id_].clean(chunk), threads, interrupt)
    if step.unit == "m":
        step = replace(step, tolerance=step.tolerance / metres_per_unit(crs), unit="crs")
    with closing(simplify_coverage(cleaned, step, scratch)) as chunks:
        for chunk in chunks:
            yield None if chunk is None else complete(chunk, last)


def _in_threads(
    sources: Sequence[VectorSource], work: Callable[[int, Chunk], T], threads: int, interrupt: Callable[[], None]
) -> Generator[T | None, None, None]:
    """work(id of the source, chunk) for all chunks, in source order; never more than a few in memory.

    Yields None every `WATCH_SECONDS` while a chunk takes long.
    """
    waiting: deque[Future[T]] = deque()
    with ThreadPoolExecutor(threads, thread_name_prefix="transform") as pool:
        try:
            for source in sources:
                record_current_file(source.file)
                with closing(chunks_of(source)) as chunks:
                    for chunk in chunks:
                        waiting.append(pool.submit(_of_part, source, work, id(source), chunk))
                        while len(waiting) > threads + _SPARE_CHUNKS or (waiting and waiting[0].done()):
                            yield from _first_of(waiting)
            while waiting:
                yield from _first_of(waiting)
        except BaseException:
            for future in waiting:
                future.cancel()
            interrupt()
            raise


def chunks_of(source: VectorSource) -> Generator[Chunk, None, None]:
    with _named_part(source), closing(source.open_chunks()) as chunks:
        yield from chunks


def _of_part(source: VectorSource, work: Callable[[int, Chunk], T], number: int, chunk: Chunk) -> T:
    with _named_part(source):
        return work(number, chunk)


@contextmanager
def _named_part(source: VectorSource) -> Iterator[None]:
    """Refusals inside say which part of its file the source is."""
    try:
        yield
    except RunRefused as err:
        if not source.part:
            raise
        raise err.within(source.part) from err


def _first_of(waiting: deque[Future[T]]) -> Generator[T | None, None, None]:
    while not wait([waiting[0]], WATCH_SECONDS).done:
        yield None
    yield waiting.popleft().result()


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
