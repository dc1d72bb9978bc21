"""THE table of intents: which files an intent takes, which job and lane carry it, which recipe and pipeline run it.

A new intent is one more row. Pipelines are named by dotted path, so that reading this table imports no GDAL.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from app.models.formats import FileType
from app.models.recipe import Recipe, clean_raster, clean_vector

LANES = ("spatial", "tabular", "join", "ingest")


@dataclass(frozen=True, slots=True)
class Intent:
    """One row of the table.

    file_types: what files[].type may be; empty when the intent takes no files. max_files: None for no limit.
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


_VECTOR = "app.pipelines.vector:run"
_ANY = "app.pipelines.ingest:run"
_DEFAULT_TOLERANCE = 0.0001

INTENTS: tuple[Intent, ...] = (
    Intent(
        "ingest_vector",
        "spatial_asset_job",
        "spatial",
        ("vector",),
        "GeoParquet, EPSG:4326, valid, simplified by 0.0001° keeping topology",
        clean_vector("ingest_vector", _DEFAULT_TOLERANCE),
        _VECTOR,
    ),
    Intent(
        "ingest_building_footprints",
        "spatial_asset_job",
        "spatial",
        ("vector",),
        "GeoParquet, EPSG:4326, valid, simplified by 0.001° keeping topology",
        clean_vector("ingest_building_footprints", 0.001),
        _VECTOR,
    ),
    Intent(
        "ingest_road_network",
        "spatial_asset_job",
        "spatial",
        ("vector",),
        "GeoParquet, EPSG:4326, valid, simplified by 0.0001° keeping topology",
        clean_vector("ingest_road_network", 0.0001),
        _VECTOR,
    ),
    Intent(
        "ingest_raster",
        "spatial_asset_job",
        "spatial",
        ("raster",),
        "COG on the sources' own grid, with overviews and statistics",
        clean_raster("ingest_raster"),
        "app.pipelines.raster:run",
    ),
    Intent(
        "ingest_tabular",
        "tabular_asset_job",
        "tabular",
        ("tabular",),
        "Parquet, headers cleaned to PostgreSQL identifiers",
        pipeline="app.pipelines.tabular:run",
        max_files=1,
    ),
    Intent(
        "join_datasets",
        "join_asset_job",
        "join",
        (),
        "GeoParquet: all columns of the tabular side and `geom`",
        pipeline="app.pipelines.join:run",
        max_files=0,
        needs_join_config=True,
    ),
)

_BY_NAME = {intent.name: intent for intent in INTENTS}
_OTHER_INGEST = re.compile(r"ingest_[a-z0-9_]+")


def find_intent(name: str) -> Intent | None:
    """The intent of that name; any other `ingest_*` is the default recipe on the `ingest` lane; else None.

    Its recipe is the one for vector files; raster files get that of `ingest_raster`.
    """
    known = _BY_NAME.get(name)
    if known is not None:
        return known
    if _OTHER_INGEST.fullmatch(name) is None:
        return None
    recipe = clean_vector(name, _DEFAULT_TOLERANCE)
    return Intent(name, "ingest_job", "ingest", ("vector", "raster"), "the default recipe", recipe, _ANY)


def pipelines() -> frozenset[str]:
    """The dotted paths of all there are."""
    return frozenset({_ANY, *(intent.pipeline for intent in INTENTS if intent.pipeline)})


def is_known(name: str) -> bool:
    """Whether the name has a row of its own (other `ingest_*` names run, with a warning)."""
    return name in _BY_NAME


def intent_names() -> tuple[str, ...]:
    return tuple(_BY_NAME)
