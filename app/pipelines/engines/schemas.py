"""Do several sources have one schema? Compared field by field before a row is loaded."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from app.errors import Fault, RunRefused
from app.pipelines.formats.source import VectorSource


def common_schema(sources: Sequence[VectorSource]) -> pa.Schema:
    """The schema that all sources have. Raises RunRefused schema_mismatch, a fault for each difference."""
    first = sources[0]
    faults = [fault for index, source in enumerate(sources[1:], 1) for fault in _differences(first, source, index)]
    if faults:
        raise RunRefused(
            f"The files differ in their columns: {' '.join(fault.detail for fault in faults[:5])}",
            "Give all files the same columns in the same order, or send one manifest for each.",
            faults,
            reason="schema_mismatch",
            file=next(s.file for s in sources[1:] if list(_differences(first, s, 0))),
        )
    return first.schema


def _differences(first: VectorSource, other: VectorSource, index: int) -> list[Fault]:
    a = {field.name: field.type for field in first.schema}
    b = {field.name: field.type for field in other.schema}
    found = [f"{other.file} lacks column {name!r} of {first.file}." for name in a if name not in b]
    found += [f"{other.file} has column {name!r}, which {first.file} lacks." for name in b if name not in a]
    found += [
        f"Column {name!r} is {a[name]} in {first.file} and {b[name]} in {other.file}."
        for name in a
        if name in b and a[name] != b[name]
    ]
    if not found and list(a) != list(b):
        found = [f"The columns of {other.file} are in another order than those of {first.file}."]
    families = {_family(first.geometry_type), _family(other.geometry_type)} - {None}
    if not found and len(families) > 1:
        found = [f"{first.file} holds {first.geometry_type} and {other.file} holds {other.geometry_type} geometries."]
    fix = "Make the column the same in all files."
    return [Fault(f"/files/{index}", "schema_mismatch", text, fix) for text in found]


def _family(name: str) -> str | None:
    """Polygon for Polygon, MultiPolygon and their Z forms; None for a type that only the rows tell."""
    flat = name.removesuffix(" Z").removeprefix("2.5D ").removeprefix("Multi")
    return None if flat in ("Unknown", "GeometryCollection", "Geometry") else flat
