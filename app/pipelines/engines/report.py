"""What a run over vector sources says at its beginning and at its end, whichever engine computed it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import pyarrow as pa

from app.errors import RunRefused
from app.models.asset import Bounds, ColumnSchema
from app.pipelines.context import Watch
from app.pipelines.engines.reproject import FAR, FAR_DEGREES
from app.pipelines.formats.findings import Findings
from app.pipelines.formats.geoparquet import GEOMETRY
from app.pipelines.formats.source import VectorSource


def check_rows(sources: Sequence[VectorSource], written: int, read: int) -> None:
    """Raises RunRefused: rows_lost, no_features."""
    files = ", ".join(source.file for source in sources)
    if read != written:
        raise RunRefused(
            f"{files}: {read} rows read, {written} written.", "This is an error of the service.", reason="rows_lost"
        )
    if read == 0:
        raise RunRefused(
            f"{files} has no features.", "Send at least one feature.", reason="no_features", file=sources[0].file
        )


def warn_before(sources: Sequence[VectorSource], warnings: Sequence[list[tuple[str, str]]], watch: Watch) -> None:
    """What the readers and the plans of the sources say before a row is read."""
    for source, found in zip(sources, warnings, strict=True):
        for note in source.notes:
            watch.warn("reader_note", note)
        for code, message in found:
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
    "null_island": "{n} geometries lie at 0, 0: often the place of coordinates that are missing.",
    "outside_area_of_use": "{n} geometries reach outside the area of use of their CRS.",
}


def warn_after(findings: Findings, watch: Watch) -> None:
    """One warning for each kind of thing that was found or changed, with samples."""
    for code, text in _WARNINGS.items():
        if number := findings.counts.get(code, 0):
            watch.warn(code, text.format(n=number), number, findings.samples.get(code, []))


def check_places(far: Counter[str], placed: Counter[str], findings: Findings) -> None:
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


def column_schema(schema: pa.Schema, box: str, old_names: dict[str, str]) -> dict[str, ColumnSchema]:
    """What the catalogue says of each column; old_names: {new name: name in the source} where they differ."""
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


def bounds_of(bounds: tuple[float, float, float, float] | None) -> Bounds | None:
    """(minx, miny, maxx, maxy) as a model."""
    return Bounds(minx=bounds[0], miny=bounds[1], maxx=bounds[2], maxy=bounds[3]) if bounds else None


def one_type(names: Sequence[str]) -> str | None:
    """The one geometry type of the data set: the multi type where both occur, `Geometry` for a mixture."""
    flat = {name.removesuffix(" Z") for name in names}
    singles = {name.removeprefix("Multi") for name in flat}
    if len(flat) <= 1:
        return next(iter(flat), None)
    return f"Multi{singles.pop()}" if len(singles) == 1 else "Geometry"
