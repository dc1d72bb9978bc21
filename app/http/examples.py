"""Examples for /docs. They work as they are when tried from top to bottom."""

from __future__ import annotations

from typing import Any

from fastapi import Path
from fastapi.openapi.models import Example

from app.services.intake.submit import run_id_for

_BATCH = "example-places"
_DATASET = "places"


def _collection(*features: tuple[dict[str, Any], str, list[Any]]) -> dict[str, Any]:
    """A GeoJSON document of (properties, geometry type, coordinates)."""
    return {
        "type": "FeatureCollection",
        "features": [
            {"type": "Feature", "properties": properties, "geometry": {"type": kind, "coordinates": coordinates}}
            for properties, kind, coordinates in features
        ],
    }


_PLACES = _collection(
    ({"name": "Zürich", "people": 443037}, "Point", [8.54, 47.37]),
    ({"name": "Łódź", "people": 655279}, "Point", [19.46, 51.77]),
    ({"name": "Ålesund", "people": 58509}, "Point", [6.15, 62.47]),
)
_BUILDINGS = _collection(
    (
        {"house_number": "12a"},
        "Polygon",
        [[[8.5401, 47.3701], [8.5403, 47.3701], [8.5403, 47.3702], [8.5401, 47.3702], [8.5401, 47.3701]]],
    ),
)
_ROADS = _collection(
    ({"name": "Seestraße", "lanes": 2}, "LineString", [[8.54, 47.37], [8.541, 47.3705], [8.543, 47.371]])
)
_AREAS = "name;area_km2\nZürich;87,88\nŁódź;293,25\n"

# Keys in the landing zone, by the name of the example.
_KEYS = {
    "places": "examples/places.geojson",
    "buildings": "examples/buildings.geojson",
    "roads": "examples/roads.geojson",
    "areas": "examples/areas.csv",
    "terrain": "examples/terrain.tif",
}

# Without a schema the documentation page sends the example; a binary string would make it ask for a file.
LANDING_BODY: dict[str, Any] = {
    "requestBody": {
        "required": False,
        "description": "The bytes of the object, of any media type; none for an empty one.",
        "content": {
            "application/geo+json": {
                "schema": {},
                "examples": {
                    "places": {"value": _PLACES},
                    "buildings": {"value": _BUILDINGS},
                    "roads": {"value": _ROADS},
                },
            },
            "text/csv": {"schema": {}, "examples": {"areas": {"value": _AREAS}}},
            "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
        },
    }
}

PRESIGN_EXAMPLE: dict[str, Any] = {"key": _KEYS["places"], "method": "PUT"}


def _manifest(
    name: str, intent: str, title: str, *, file: tuple[str, str] | None = None, join: dict[str, Any] | None = None
) -> dict[str, Any]:
    """file: type and format of the file that _KEYS names."""
    files = [] if file is None else [{"path": f"s3://landing-zone/{_KEYS[name]}", "type": file[0], "format": file[1]}]
    metadata = {
        "title": title,
        "description": "An example",
        "source": "",
        "license": "CC0-1.0",
        "attribution": "",
        "keywords": ["example"],
        "tags": {"dataset_id": name, "testing": True},
    }
    return {
        "batch_id": f"example-{name}",
        "uploader": "ada",
        "intent": intent,
        "files": files,
        "metadata": metadata if join is None else {**metadata, "join_config": join},
    }


def _upload_first(name: str) -> str:
    return f"Run PUT /landing/{_KEYS[name]} first, with the example `{name}`: it is the file that this manifest names."


MANIFEST_EXAMPLES: dict[str, Example] = {
    "places": {
        "summary": "ingest_vector: three places",
        "description": _upload_first("places"),
        "value": _manifest("places", "ingest_vector", "Three places", file=("vector", "GeoJSON")),
    },
    "buildings": {
        "summary": "ingest_building_footprints: one building",
        "description": _upload_first("buildings"),
        "value": _manifest("buildings", "ingest_building_footprints", "One building", file=("vector", "GeoJSON")),
    },
    "roads": {
        "summary": "ingest_road_network: one road",
        "description": _upload_first("roads"),
        "value": _manifest("roads", "ingest_road_network", "One road", file=("vector", "GeoJSON")),
    },
    "terrain": {
        "summary": "ingest_raster: a grid of heights",
        "description": f"Run PUT /landing/{_KEYS['terrain']} first, with `application/octet-stream` and the file "
        "samples/raster/terrain.tif of this project: bytes of a raster cannot be shown here.",
        "value": _manifest("terrain", "ingest_raster", "Heights", file=("raster", "GTiff")),
    },
    "areas": {
        "summary": "ingest_tabular: a table with areas",
        "description": _upload_first("areas"),
        "value": _manifest("areas", "ingest_tabular", "Areas", file=("tabular", "CSV")),
    },
    "areas-on-the-map": {
        "summary": "join_datasets: the areas with the points of the places",
        "description": "Run the examples `places` and `areas` to their end first: this one joins their results.",
        "value": _manifest(
            "areas-on-the-map",
            "join_datasets",
            "Areas on the map",
            join={
                "tabular_dataset_id": "areas",
                "left_key": "name",
                "spatial_dataset_id": "places",
                "right_key": "name",
                "how": "left",
                "spatial_columns": ["people"],
            },
        ),
    },
}

EXAMPLE_KEY = Path(
    description="Key in the landing zone; it may contain slashes.",
    openapi_examples={name: {"value": key} for name, key in _KEYS.items()},
)
EXAMPLE_BATCH = Path(openapi_examples={"places": {"value": _BATCH}})
EXAMPLE_RUN = Path(openapi_examples={"places": {"value": run_id_for(_BATCH)}})
EXAMPLE_LANE = Path(description="Name of the lane.", openapi_examples={"tabular": {"value": "tabular"}})
EXAMPLE_DATASET = Path(openapi_examples={"places": {"value": _DATASET}})
EXAMPLE_VERSION = Path(ge=1, openapi_examples={"first": {"value": 1}})
