"""What a run over vector sources says at its beginning and at its end, whichever engine computed it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pyarrow as pa

from app.messages.message import Notice
from app.messages.vector import (
    ANTIMERIDIAN_SPLIT,
    COLLAPSED,
    COVERAGE_INVALID_EDGES,
    COVERAGE_NOT_POLYGONS,
    CURVES_LINEARIZED,
    EMPTY_GEOMETRIES,
    EMPTY_PARTS_SKIPPED,
    INVALID_KEPT,
    LONGITUDES_WRAPPED,
    M_DROPPED,
    NO_FEATURES,
    NULL_GEOMETRIES,
    NULL_ISLAND,
    REPAIRED,
    REPAIRED_TYPE_CHANGED,
    RINGS_CLOSED,
    ROWS_FILTERED_NULL,
    ROWS_LOST,
    SIMPLIFY_KEPT,
    SURFACES_CONVERTED,
    WHERE_NO_ROWS,
)
from app.models.asset import ColumnSchema
from app.models.products import GEOMETRY
from app.models.runs.run import RunWarning
from app.pipelines.common.crs import crs_name
from app.pipelines.common.findings import Findings
from app.pipelines.contract.watch import Watch
from app.pipelines.vector.source import VectorSource


def check_rows(sources: Sequence[VectorSource], written: int, read: int, filtered: int, where: str | None) -> None:
    """Raises RunRefused: rows_lost, no_features, where_no_rows. filtered: rows that the condition left out."""
    files = ", ".join(source.file for source in sources)
    if read != written + filtered:
        raise ROWS_LOST(file=files, read=read, written=written + filtered)
    if read == 0:
        raise NO_FEATURES(file=sources[0].file)
    if written == 0:
        raise WHERE_NO_ROWS(file=files, read=read, where=where, crs=crs_name(sources[0].crs))


def warn_before(sources: Sequence[VectorSource], warnings: Sequence[list[RunWarning]], watch: Watch) -> None:
    """Give the warnings of each source, then those of its plan, before a row is read."""
    for source, of_plan in zip(sources, warnings, strict=True):
        for warning in (*source.warnings, *of_plan):
            watch.warn(warning)


# The code of each is the name of its finding.
_WARNINGS: tuple[Notice, ...] = (
    ROWS_FILTERED_NULL,
    NULL_GEOMETRIES,
    EMPTY_GEOMETRIES,
    RINGS_CLOSED,
    M_DROPPED,
    CURVES_LINEARIZED,
    SURFACES_CONVERTED,
    LONGITUDES_WRAPPED,
    EMPTY_PARTS_SKIPPED,
    ANTIMERIDIAN_SPLIT,
    REPAIRED,
    REPAIRED_TYPE_CHANGED,
    INVALID_KEPT,
    SIMPLIFY_KEPT,
    COVERAGE_INVALID_EDGES,
    COVERAGE_NOT_POLYGONS,
    COLLAPSED,
    NULL_ISLAND,
)


def warn_after(findings: Findings, watch: Watch) -> None:
    """One warning for each kind of thing that was found or changed, with samples."""
    for notice in _WARNINGS:
        if number := findings.counts.get(notice.code, 0):
            watch.warn(notice(count=number, samples=findings.samples.get(notice.code, [])))


def column_schema(schema: pa.Schema, box: str, old_names: Mapping[str, str]) -> dict[str, ColumnSchema]:
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
