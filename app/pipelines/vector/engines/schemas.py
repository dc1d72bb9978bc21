"""Comparing the schemas of several sources, field by field, before a row is read."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from app.messages.vector import SCHEMA_MISMATCH
from app.pipelines.vector.source import VectorSource


def common_schema(sources: Sequence[VectorSource]) -> pa.Schema:
    """The schema that all sources share. Raises RunRefused schema_mismatch, with the first differences."""
    first = sources[0]
    found = [(source.file, each) for source in sources[1:] for each in _differences(first, source)]
    if found:
        raise SCHEMA_MISMATCH(file=found[0][0], differences=" ".join(each for _, each in found[:5]))
    return first.schema


def _differences(first: VectorSource, other: VectorSource) -> list[str]:
    a = {field.name: field.type for field in first.schema}
    b = {field.name: field.type for field in other.schema}
    found = [f"{other.name} lacks column {name!r} of {first.name}." for name in a if name not in b]
    found += [f"{other.name} has column {name!r}, which {first.name} lacks." for name in b if name not in a]
    found += [
        f"Column {name!r} is {a[name]} in {first.name} and {b[name]} in {other.name}."
        for name in a
        if name in b and a[name] != b[name]
    ]
    if not found and list(a) != list(b):
        found = [f"The columns of {other.name} are in another order than those of {first.name}."]
    families = {_family(first.geometry_type), _family(other.geometry_type)} - {None}
    if not found and len(families) > 1:
        found = [f"{first.name} holds {first.geometry_type} and {other.name} holds {other.geometry_type} geometries."]
    return found


def _family(name: str) -> str | None:
    """Polygon for Polygon, MultiPolygon and their Z forms; None for a type that only the rows show."""
    flat = name.removesuffix(" Z").removeprefix("2.5D ").removeprefix("Multi")
    return None if flat in ("Unknown", "GeometryCollection", "Geometry") else flat
