"""What a plan says about a join: its two versions and the columns of the result."""

from __future__ import annotations

from app.models.plan import PlannedColumn, PlannedParent
from app.models.products import GEOMETRY
from app.pipelines.common.geoparquet_writer import product_schema
from app.pipelines.common.plan_answers import schema_columns
from app.pipelines.join.layout import JoinColumns, JoinTable


def parent(table: JoinTable) -> PlannedParent:
    asset = table.asset
    return PlannedParent(
        role=table.role,
        dataset_id=asset.dataset_id,
        version=asset.version,
        kind=asset.kind,
        rows=table.rows,
        columns=tuple(table.attributes.names),
    )


def result_columns(layout: JoinColumns) -> tuple[PlannedColumn, ...]:
    """The attributes, the geometry and its bounding box."""
    schema = product_schema(layout.schema, layout.box)
    made = ((GEOMETRY, "geometry"), (layout.box, "bbox"))
    return schema_columns(layout.column_schema) + tuple(
        PlannedColumn(name=name, title=name, type_name=str(schema.field(name).type), logical_type=logical)
        for name, logical in made
    )
