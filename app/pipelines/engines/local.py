"""The engine `local`: streams Arrow chunks through GEOS and PROJ in this process, some chunks at a time."""

from __future__ import annotations

import ctypes
from collections import Counter, deque
from collections.abc import Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyogrio
import pyproj
import shapely
from pyproj import CRS

from app.errors import RunRefused
from app.models.asset import Bounds, ColumnSchema
from app.models.recipe import MakeValid, Recipe, Reproject, Simplify, Step
from app.pipelines.context import Watch
from app.pipelines.engines import Report
from app.pipelines.engines.clean import make_valid, simplify
from app.pipelines.engines.reproject import FAR, FAR_DEGREES, Reprojector
from app.pipelines.engines.schemas import common_schema
from app.pipelines.formats.collector import paused_collector
from app.pipelines.formats.crs import crs_name, parse_crs
from app.pipelines.formats.findings import Findings
from app.pipelines.formats.geoparquet import GEOMETRY, GeoParquetWriter, column_names
from app.pipelines.formats.shapes import from_geometries
from app.pipelines.formats.source import Chunk, VectorSource
from app.settings import MiB

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


@dataclass(frozen=True, slots=True)
class _Done:
    """A transformed chunk, ready to be written."""

    source: VectorSource
    attributes: tuple[pa.Array, ...]
    wkb: pa.Array
    boxes: npt.NDArray[np.float64]
    types: Counter[str]
    heights: tuple[float, float] | None
    findings: Findings


_M_MMAP_THRESHOLD = -3
_MMAP_BYTES = 3 * MiB


def _return_memory() -> None:
    """Have glibc give large blocks back when they are freed.

    By itself it raises the size from which it does so to 32 MiB once such blocks were freed, and a run over large
    polygons then keeps twice the memory that it uses.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _MMAP_BYTES)


class LocalEngine:
    """Runs a recipe in this process: `threads` threads transform, the calling thread reads and writes, in order."""

    def run(self, sources: Sequence[VectorSource], recipe: Recipe, target: Path, watch: Watch, threads: int) -> Report:
        """Write all rows of all sources, in order, to `target`; see VectorEngine.

        Rows are numbered from 0 in messages and samples. Memory is bounded by chunks (16k rows, 4 MiB), not by input.
        Raises RunRefused: schema_mismatch, crs_not_transformable, coordinates_not_finite,
        coordinates_not_transformable, antimeridian_unsplittable, geometry_damaged, outside_area_of_use, no_features.
        """
        _return_memory()
        schema = common_schema(sources)
        crs = _output_crs(sources, recipe)
        names, box, renamed = column_names(schema.names)
        attributes = pa.schema([field.with_name(name) for field, name in zip(schema, names, strict=True)])
        plans = {id(source): _Plan(source, recipe) for source in sources}
        _warn_before(sources, plans, watch)
        total = None if any(s.rows is None for s in sources) else sum(s.rows or 0 for s in sources)
        findings, types, by_file = Findings(), Counter[str](), Counter[str]()
        far, placed = Counter[str](), Counter[str]()
        with paused_collector(), GeoParquetWriter(target, attributes, box, crs) as writer:
            done = 0
            with closing(_transformed(sources, plans, threads)) as stream:
                for item in stream:
                    writer.write(item.attributes, item.wkb, item.boxes, set(item.types), item.heights)
                    findings.merge(item.findings, item.source.file)
                    far[item.source.file] += item.findings.counts[FAR]
                    placed[item.source.file] += int(np.isfinite(item.boxes[:, 0]).sum())
                    types.update(item.types)
                    by_file[item.source.file] += len(item.wkb)
                    done += len(item.wkb)
                    watch.advance(done, total)
        _check_rows(sources, writer.rows, done)
        for source in sources:
            findings.counts.update(source.counted)
        _check_places(far, placed, findings)
        _warn_after(findings, watch)
        counts = {"rows_in": done, "rows_out": writer.rows, **dict(sorted(findings.counts.items()))}
        return Report(
            crs=crs_name(crs),
            bounds=_bounds(writer.bounds),
            geometry_type=_one_type(writer.geometry_types),
            column_schema=_column_schema(writer.schema, box, {new: old for old, new in renamed.items()}),
            header_mapping=renamed,
            counts=counts,
            statistics={
                "geometry_types": dict(sorted(types.items())),
                "rows_by_file": dict(by_file),
                "bytes": target.stat().st_size,
            },
            engine=versions(),
        )


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


class _Plan:
    """A recipe made ready for one source: each step bound to what it needs."""

    def __init__(self, source: VectorSource, recipe: Recipe) -> None:
        self.source = source
        self.steps: list[tuple[Step, Reprojector | None]] = []
        crs = source.crs
        for step in recipe.steps:
            reprojector = None
            if isinstance(step, Reproject):
                target = parse_crs(step.crs, source.file, f"of the recipe {recipe.name!r}")
                reprojector = Reprojector(crs, target, source.file)
                crs = target
            self.steps.append((step, reprojector))

    def transform(self, chunk: Chunk) -> _Done:
        """One chunk through all steps. Runs in any thread. Rows in = rows out; nulls and empties stay, counted."""
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
        findings.add("null_geometries", shapely.is_missing(geometries), first)
        findings.add("empty_geometries", shapely.is_empty(geometries), first)
        findings.counts["vertices_out"] += int(shapely.get_num_coordinates(geometries).sum())
        is_flat = shapes.coordinates.shape[1] == 2
        high = np.zeros(len(geometries), np.bool_) if is_flat else shapely.has_z(geometries)
        return _Done(
            source=self.source,
            attributes=attributes,
            wkb=pa.array(shapely.to_wkb(geometries, flavor="iso"), pa.binary()),
            boxes=shapely.bounds(geometries),
            types=_types(geometries, high),
            heights=_heights(geometries[high]) if high.any() else None,
            findings=findings,
        )


def _transformed(
    sources: Sequence[VectorSource], plans: dict[int, _Plan], threads: int
) -> Generator[_Done, None, None]:
    """Chunks in source order, transformed by `threads` threads; never more than a few in memory."""
    waiting: deque[Future[_Done]] = deque()
    with ThreadPoolExecutor(threads, thread_name_prefix="transform") as pool:
        try:
            for source in sources:
                plan = plans[id(source)]
                with closing(source.open_chunks()) as chunks:
                    for chunk in chunks:
                        waiting.append(pool.submit(plan.transform, chunk))
                        while len(waiting) > threads + _SPARE_CHUNKS or (waiting and waiting[0].done()):
                            yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def _types(geometries: npt.NDArray[np.object_], high: npt.NDArray[np.bool_]) -> Counter[str]:
    """Rows by geometry type, as GeoParquet names them; null geometries have none."""
    ids = shapely.get_type_id(geometries)
    numbers = np.bincount(ids[ids >= 0] * 2 + high[ids >= 0])
    return Counter({_TYPE_NAMES[i // 2] + " Z" * (i % 2): int(n) for i, n in enumerate(numbers) if n})


def _heights(geometries: npt.NDArray[np.object_]) -> tuple[float, float] | None:
    z = shapely.get_coordinates(geometries, include_z=True)[:, 2]
    z = z[np.isfinite(z)]
    return (float(z.min()), float(z.max())) if len(z) else None


def _output_crs(sources: Sequence[VectorSource], recipe: Recipe) -> CRS:
    """The CRS after the last reprojection; without one, the sources' own, which then must be the same."""
    targets = [step.crs for step in recipe.steps if isinstance(step, Reproject)]
    return CRS.from_user_input(targets[-1]) if targets else sources[0].crs


def _check_rows(sources: Sequence[VectorSource], written: int, read: int) -> None:
    files = ", ".join(source.file for source in sources)
    if read != written:
        raise RunRefused(
            f"{files}: {read} rows read, {written} written.", "This is an error of the service.", reason="rows_lost"
        )
    if read == 0:
        raise RunRefused(
            f"{files} has no features.", "Send at least one feature.", reason="no_features", file=sources[0].file
        )


def _warn_before(sources: Sequence[VectorSource], plans: dict[int, _Plan], watch: Watch) -> None:
    for source in sources:
        for note in source.notes:
            watch.warn("reader_note", note)
        for _, reprojector in plans[id(source)].steps:
            for code, message in reprojector.warnings() if reprojector else ():
                watch.warn(code, message)


_WARNINGS = {
    "null_geometries": "{n} rows have no geometry; they are kept.",
    "empty_geometries": "{n} rows have an empty geometry; they are kept.",
    "rings_closed": "{n} geometries had rings that were not closed; they were closed.",
    "m_dropped": "{n} geometries had M values, which were dropped.",
    "curved_linearized": "{n} curved geometries were converted to lines (GDAL's default step).",
    "longitudes_wrapped": "{n} geometries had longitudes beyond ±180° and were moved within.",
    "empty_parts_skipped": "{n} multi geometries had empty parts, which were left out.",
    "antimeridian_split": "{n} geometries cross the antimeridian and were split there.",
    "repaired": "{n} invalid geometries were repaired.",
    "repaired_type_changed": "{n} repaired geometries have another geometry type than before.",
    "simplify_kept": "{n} geometries were left unsimplified, because simplified they would not be valid.",
    "outside_area_of_use": "{n} geometries reach outside the area of use of their CRS.",
}


def _warn_after(findings: Findings, watch: Watch) -> None:
    for code, text in _WARNINGS.items():
        if number := findings.counts.get(code, 0):
            watch.warn(code, text.format(n=number), number, findings.samples.get(code, []))


def _check_places(far: Counter[str], placed: Counter[str], findings: Findings) -> None:
    """Refuse a file of which most features lie far from where its CRS is meant for: the CRS is wrong, or the axes."""
    findings.counts.pop(FAR, None)
    samples = findings.samples.pop(FAR, [])
    for file, number in far.items():
        if number * 2 > placed[file]:
            example = next((sample for sample in samples if sample["file"] == file), "none kept")
            raise RunRefused(
                f"{file}: {number} of {placed[file]} geometries lie more than {FAR_DEGREES:g} degrees outside the area "
                f"of use of their CRS, for example {example}.",
                "Check the CRS and the axis order of the source.",
                reason="outside_area_of_use",
                file=file,
            )


def _column_schema(schema: pa.Schema, box: str, old_names: dict[str, str]) -> dict[str, ColumnSchema]:
    columns = {}
    for field in schema:
        logical = (field.metadata or {}).get(b"logical_type", b"").decode() or None
        if field.name == GEOMETRY:
            logical = "geometry"
        elif field.name == box:
            logical = "bbox"
        title = old_names.get(field.name, field.name)
        columns[field.name] = ColumnSchema(title=title, type_name=str(field.type), logical_type=logical)
    return columns


def _bounds(bounds: tuple[float, float, float, float] | None) -> Bounds | None:
    return Bounds(minx=bounds[0], miny=bounds[1], maxx=bounds[2], maxy=bounds[3]) if bounds else None


def _one_type(names: Sequence[str]) -> str | None:
    """The one geometry type of the data set: the multi type where both occur, `Geometry` for a mixture."""
    flat = {name.removesuffix(" Z") for name in names}
    singles = {name.removeprefix("Multi") for name in flat}
    if len(flat) <= 1:
        return next(iter(flat), None)
    return f"Multi{singles.pop()}" if len(singles) == 1 else "Geometry"
