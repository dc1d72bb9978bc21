"""What a run over vector sources checks and warns of before it reads a row, the same for every engine."""

from __future__ import annotations

from collections.abc import Sequence

from app.models.recipe import Recipe
from app.pipelines.common.crs import crs_name
from app.pipelines.common.geoparquet_writer import product_schema
from app.pipelines.contract.engine import EngineDescription
from app.pipelines.vector.engines.columns import product_columns
from app.pipelines.vector.engines.report import column_schema
from app.pipelines.vector.engines.stream import EngineResources, output_crs
from app.pipelines.vector.source import VectorSource


def describe(sources: Sequence[VectorSource], recipe: Recipe, resources: EngineResources) -> EngineDescription:
    """See VectorEngine.describe. Raises RunRefused: schema_mismatch, crs_not_transformable, crs_unknown."""
    columns = product_columns(sources)
    plans = [resources.plan(source, recipe) for source in sources]
    product = product_schema(columns.attributes, columns.box)
    return EngineDescription(
        crs=crs_name(output_crs(sources, recipe)),
        schema=product,
        column_schema=column_schema(product, columns.box, columns.titles),
        header_mapping=columns.header_mapping,
        warnings=columns.beside([plan.warnings for plan in plans]),
        statements=tuple(dict.fromkeys(text for plan in plans for text in plan.statements)),
    )
