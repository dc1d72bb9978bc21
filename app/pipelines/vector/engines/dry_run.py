"""What a run over vector sources checks and warns of before it transforms a row, the same for every engine."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing

import shapely

from app.models.recipes.steps import DropZ, Recipe
from app.pipelines.common.crs import crs_name
from app.pipelines.common.findings import Findings
from app.pipelines.common.geoparquet_writer import product_schema
from app.pipelines.common.shapes import from_geometries, without_heights
from app.pipelines.contract.engine import EngineDescription
from app.pipelines.vector.engines.columns import product_columns
from app.pipelines.vector.engines.places import Places
from app.pipelines.vector.engines.report import column_schema
from app.pipelines.vector.engines.stream import EngineResources, bound_steps, chunks_of, output_crs
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


def look_through(source: VectorSource, recipe: Recipe, places: Places) -> Findings:
    """Reproject all rows of a source as its run does, and keep none.

    Args:
        source: one whose rows were all read before, so that a plan may read them again.
        recipe: the steps; those after the last reprojection change no place.
        places: takes what is found of them.

    Returns:
        What the run will count until then, with the file in the samples.

    Raises:
        RunRefused: coordinates_not_finite, coordinates_not_transformable, antimeridian_unsplittable, result_misplaced,
            outside_area_of_use.
    """
    steps = [each for step, each in bound_steps(source, recipe) if each is not None or isinstance(step, DropZ)]
    found = Findings()
    with closing(chunks_of(source)) as chunks:
        for chunk in chunks:
            findings = Findings()
            _, shapes = chunk.decode(findings)
            for reprojector in steps:
                if reprojector is None:
                    shapes = without_heights(shapes)
                    continue
                geometries = reprojector.apply(shapes, chunk.first_row, findings)
                reprojector.check_places(shapes, geometries, chunk.first_row, findings)
                shapes = from_geometries(geometries)
            places.add(source, shapely.bounds(shapes.build(None)), findings)
            found.merge(findings, source.name)
    places.check(source.name)
    return found
