"""What a run over vector sources checks and warns of before it reads a row, the same for every engine."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from app.models.recipe import Recipe
from app.pipelines.common.crs import crs_name
from app.pipelines.common.geoparquet_writer import column_names, product_schema
from app.pipelines.contract.engine import EngineDescription
from app.pipelines.vector.engines.report import column_schema, titles_of
from app.pipelines.vector.engines.schemas import common_schema
from app.pipelines.vector.engines.stream import EngineResources, output_crs
from app.pipelines.vector.source import VectorSource


def describe(sources: Sequence[VectorSource], recipe: Recipe, resources: EngineResources) -> EngineDescription:
    """See VectorEngine.describe. Raises RunRefused: schema_mismatch, crs_not_transformable, crs_unknown."""
    schema = common_schema(sources)
    names, box, _ = column_names(schema.names)
    titles = titles_of(sources, schema.names, names)
    attributes = pa.schema([field.with_name(name) for field, name in zip(schema, names, strict=True)])
    plans = [resources.plan(source, recipe) for source in sources]
    product = product_schema(attributes, box)
    return EngineDescription(
        crs=crs_name(output_crs(sources, recipe)),
        schema=product,
        column_schema=column_schema(product, box, titles),
        header_mapping={old: new for new, old in titles.items() if old != new},
        warnings=[plan.warnings for plan in plans],
        statements=tuple(dict.fromkeys(text for plan in plans for text in plan.statements)),
    )
