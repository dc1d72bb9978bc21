"""What the plan of a run contains about a vector source."""

from __future__ import annotations

from app.models.formats import find_format
from app.models.manifests.file_options import FileOptions
from app.models.plan import Answers, PlannedColumn, PlannedFile, options_of
from app.pipelines.common.plan_answers import (
    AS_DECLARED,
    AS_THERE,
    crs_answer,
    declared_options,
    layer_answer,
    planned_crs,
)
from app.pipelines.contract.context import FetchedFile
from app.pipelines.vector.formats.reader import reader_of
from app.pipelines.vector.source import VectorSource


def vector_file(fetched: FetchedFile, source: VectorSource) -> PlannedFile:
    """The entry of a plan for one file: its layer, CRS, encoding and columns as `inspect` found them."""
    declared = fetched.declared
    options = declared.options or FileOptions()
    columns = tuple(
        PlannedColumn(
            name=each.name,
            title=each.name,
            type_name=str(each.type),
            reason=AS_DECLARED if each.name in (options.types or {}) else AS_THERE,
        )
        for each in source.schema
    )
    fmt = find_format(source.format)
    # A format with one standard encoding has no answer to give, unless the manifest declares another encoding.
    found_encoding = source.encoding if fmt is not None and fmt.detects_encoding else options.encoding
    return PlannedFile(
        file=declared.key,
        format=source.format,
        driver=source.driver,
        size=fetched.inputs[0].size,
        sha256=fetched.inputs[0].sha256,
        layer=source.layer,
        layers=reader_of(fmt).list_layers(source) if fmt is not None else (),
        crs=planned_crs(declared, source.crs, carried=source.carries_crs),
        encoding=source.encoding,
        geometry_type=source.geometry_type,
        rows=source.rows,
        columns=columns,
        editable=Answers(
            member=declared.member,
            layer=None if declared.layers else layer_answer(source.layer),
            layers=declared.layers,
            crs=crs_answer(declared, source.crs),
            options=options_of(
                declared_options(declared),
                encoding=found_encoding,
                types=options.types,
                union=options.union,
                area_of_use=options.area_of_use,
            ),
        ),
    )
