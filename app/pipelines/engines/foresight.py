"""What a run over vector sources would check and say before it reads a row, whichever engine is to compute it."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from app.models.recipe import Recipe
from app.pipelines.engines import Foresight
from app.pipelines.engines import report as reports
from app.pipelines.engines.schemas import common_schema
from app.pipelines.engines.stream import Means, output_crs
from app.pipelines.formats.crs import crs_name
from app.pipelines.formats.geoparquet import column_names, product_schema
from app.pipelines.formats.source import VectorSource


def foresee(sources: Sequence[VectorSource], recipe: Recipe, means: Means) -> Foresight:
    """Raises RunRefused: schema_mismatch, crs_not_transformable, crs_unknown."""
    schema = common_schema(sources)
    names, box, renamed = column_names(schema.names)
    attributes = pa.schema([field.with_name(name) for field, name in zip(schema, names, strict=True)])
    plans = [means.plan(source, recipe) for source in sources]
    return Foresight(
        crs=crs_name(output_crs(sources, recipe)),
        column_schema=reports.column_schema(
            product_schema(attributes, box), box, {new: old for old, new in renamed.items()}
        ),
        header_mapping=renamed,
        warnings=[plan.warnings for plan in plans],
        statements=tuple(dict.fromkeys(text for plan in plans for text in plan.statements)),
    )
