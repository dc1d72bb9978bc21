"""The table of intents: the files that an intent takes, its job and lane, and the pipeline that runs it.

What vector intents do is a recipe (`app/models/recipes/table.py`), which the operator can change. A new intent is one
more row. Pipelines are named by dotted path, so that reading this table imports no GDAL.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from app.models.formats import FileType
from app.models.recipes.steps import Recipe, clean_raster

LANES = ("spatial", "tabular", "join", "ingest")


@dataclass(frozen=True, slots=True)
class Intent:
    """One row of the table.

    file_types: what files[].type may be; empty when the intent takes no files. What takes vector files takes tables
    too, if they have coordinates (files[].options.geometry). max_files: None for no limit.
    recipe: of a raster intent; those of vector intents are in `app/models/recipes/table.py`.
    pipeline: dotted path `module:function`, or None while this release has no pipeline for the intent.
    """

    name: str
    job_name: str
    lane: str
    file_types: tuple[FileType, ...]
    result: str
    recipe: Recipe | None = None
    pipeline: str | None = None
    max_files: int | None = None
    needs_join_config: bool = False


_ANY = "app.pipelines.ingest.pipeline:run"
_CLEAN = "GeoParquet in EPSG:4326, invalid geometries repaired, every vertex kept, unless a recipe says otherwise"

INTENTS: tuple[Intent, ...] = (
    Intent(
        "ingest_vector",
        "spatial_asset_job",
        "spatial",
        ("vector",),
        _CLEAN,
        pipeline=_ANY,
    ),
    Intent(
        "ingest_building_footprints",
        "spatial_asset_job",
        "spatial",
        ("vector",),
        _CLEAN,
        pipeline=_ANY,
    ),
    Intent(
        "ingest_road_network",
        "spatial_asset_job",
        "spatial",
        ("vector",),
        _CLEAN,
        pipeline=_ANY,
    ),
    Intent(
        "ingest_raster",
        "spatial_asset_job",
        "spatial",
        ("raster",),
        "COG on the sources' own grid, with overviews and statistics",
        clean_raster("ingest_raster"),
        "app.pipelines.raster.pipeline:run",
    ),
    Intent(
        "ingest_tabular",
        "tabular_asset_job",
        "tabular",
        ("tabular",),
        "Parquet, headers cleaned to PostgreSQL identifiers",
        pipeline="app.pipelines.tabular.pipeline:run",
        max_files=1,
    ),
    Intent(
        "join_datasets",
        "join_asset_job",
        "join",
        (),
        "GeoParquet: all columns of the tabular side and `geom`",
        pipeline="app.pipelines.join.pipeline:run",
        max_files=0,
        needs_join_config=True,
    ),
)

_BY_NAME = {intent.name: intent for intent in INTENTS}
_OTHER_INGEST = re.compile(r"ingest_[a-z0-9_]+")


def find_intent(name: str) -> Intent | None:
    """The intent of that name; any other `ingest_*` is the default recipe on the `ingest` lane; else None.

    Vector files get the recipe for other intents, raster files that of `ingest_raster`.
    """
    known = _BY_NAME.get(name)
    if known is not None:
        return known
    if _OTHER_INGEST.fullmatch(name) is None:
        return None
    return Intent(name, "ingest_job", "ingest", ("vector", "raster"), "the default recipe", pipeline=_ANY)


def pipelines() -> frozenset[str]:
    """The dotted paths of all pipelines."""
    return frozenset({_ANY, *(intent.pipeline for intent in INTENTS if intent.pipeline)})


def is_known(name: str) -> bool:
    """Whether the name has a row in the table (other `ingest_*` names run with a warning)."""
    return name in _BY_NAME


def intent_names() -> tuple[str, ...]:
    return tuple(_BY_NAME)
