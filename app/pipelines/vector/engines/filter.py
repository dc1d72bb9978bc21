"""Leaving out the rows for which the condition of a recipe is not true, before an engine gets them."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import cache

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import shapely

from app.messages.vector import WHERE_CRS_DIFFERS, WHERE_GEOMETRY, WHERE_TYPES
from app.models.products import GEOMETRY
from app.models.recipes.where import Node, Property, Shape, listed, parse, walk
from app.models.recipes.where_types import type_problems
from app.pipelines.common.conditions import Condition, Rows, geometry_of, kind_of
from app.pipelines.common.crs import crs_name, same_crs
from app.pipelines.common.findings import Findings, KeptRows
from app.pipelines.common.shapes import Shapes, from_geometries
from app.pipelines.vector.engines.columns import check_known
from app.pipelines.vector.source import Chunk, VectorSource

# Counts of the rows that are left out, and of those among them for which the condition is null.
FILTERED, FILTERED_NULL = "rows_filtered", "rows_filtered_null"


def keep_rows(source: VectorSource, where: str | None) -> VectorSource:
    """The source with the rows for which the condition is true; attributes and geometries stay as they are.

    Args:
        source: with all of its columns.
        where: CQL2 text over the columns of the source and `geom`, its geometry, with coordinates in the CRS of the
            source, x before y. None keeps all rows.

    Raises:
        RunRefused: column_unknown, where_types, where_geometry.
    """
    if where is None:
        return source
    node, schema = parse(where), source.schema
    asked = [each.name for each in walk(node) if isinstance(each, Property) and each.name != GEOMETRY]
    check_known(asked, [*schema.names, *({GEOMETRY} - set(schema.names))], source.file, "recipe.where")
    kinds = {column.name: kind_of(column.type) for column in schema}
    if problems := type_problems(node, kinds.get):
        raise WHERE_TYPES(file=source.file, problems=listed(problems))
    _check_shapes(node, source.file)
    condition = Condition(node, schema)
    return replace(source, open_chunks=lambda: _kept(source, condition))


def check_one_crs(sources: Sequence[VectorSource], where: str | None) -> None:
    """Raise RunRefused crs_differs where a condition has coordinates and the sources have several CRSs."""
    first = sources[0]
    other = next((source for source in sources if not same_crs(source.crs, first.crs)), None)
    if where is not None and other is not None and any(isinstance(each, Shape) for each in walk(parse(where))):
        raise WHERE_CRS_DIFFERS(
            file=other.file, crs=crs_name(other.crs), first=first.file, first_crs=crs_name(first.crs)
        )


def _check_shapes(node: Node, file: str) -> None:
    for each in walk(node):
        if isinstance(each, Shape):
            try:
                geometry = geometry_of(each)
            except ValueError as err:
                raise WHERE_GEOMETRY(file=file, problem=err) from None
            if not shapely.is_valid(geometry) or geometry.is_empty:
                problem = "it is empty" if geometry.is_empty else shapely.is_valid_reason(geometry)
                raise WHERE_GEOMETRY(file=file, problem=problem)


@dataclass(slots=True)
class _KeptChunk:
    """The rows of a chunk for which the condition is true."""

    chunk: Chunk
    condition: Condition
    first_row: int = field(init=False)

    def __post_init__(self) -> None:
        self.first_row = self.chunk.first_row

    def decode(self, findings: Findings) -> tuple[tuple[pa.Array, ...], Shapes]:
        """See Chunk. Counts the rows that are left out."""
        attributes, shapes = self.chunk.decode(findings)
        geometries = cache(lambda: shapes.build(None))
        found = self.condition.evaluate(Rows(shapes.size, attributes, geometries))
        keep = pc.fill_null(found, False)
        rows = np.flatnonzero(keep.to_numpy(zero_copy_only=False))
        findings.counts[FILTERED] += shapes.size - len(rows)
        findings.add(FILTERED_NULL, pc.is_null(found).to_numpy(zero_copy_only=False), self.chunk.first_row)
        if len(rows) == shapes.size:
            return attributes, shapes
        self.first_row = KeptRows.of(self.chunk.first_row, rows)
        return tuple(array.filter(keep) for array in attributes), from_geometries(geometries()[rows])


def _kept(source: VectorSource, condition: Condition) -> Generator[Chunk, None, None]:
    with closing(source.open_chunks()) as chunks:
        for chunk in chunks:
            yield _KeptChunk(chunk, condition)
