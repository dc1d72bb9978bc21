"""Examples of /docs: 'Try it out' runs them as they stand, from top to bottom."""

from __future__ import annotations

from typing import Any

from fastapi import Path
from fastapi.openapi.models import Example

from app.services.intake import run_id_for

_BATCH = "example-places"
_KEY = "examples/places.geojson"
_DATASET = "places"

_PLACES = {
    "type": "FeatureCollection",
    "features": [
        {
            "type": "Feature",
            "properties": {"name": name, "people": people},
            "geometry": {"type": "Point", "coordinates": xy},
        }
        for name, people, xy in (
            ("Zürich", 443037, [8.54, 47.37]),
            ("Łódź", 655279, [19.46, 51.77]),
            ("Ålesund", 58509, [6.15, 62.47]),
        )
    ],
}

# GeoJSON has no schema, so that the documentation page sends the example; a binary string would ask for a file.
LANDING_BODY: dict[str, Any] = {
    "requestBody": {
        "required": False,
        "description": "The bytes of the object, of any media type; none for an empty one.",
        "content": {
            "application/geo+json": {"schema": {}, "example": _PLACES},
            "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
        },
    }
}

PRESIGN_EXAMPLE: dict[str, Any] = {"key": _KEY, "method": "PUT"}

MANIFEST_EXAMPLES: dict[str, Example] = {
    "places": {
        "summary": "Three places",
        "description": f"Run PUT /landing/{_KEY} first: its example is the file that this manifest names.",
        "value": {
            "batch_id": _BATCH,
            "uploader": "ada",
            "intent": "ingest_vector",
            "files": [{"path": f"s3://landing-zone/{_KEY}", "type": "vector", "format": "GeoJSON"}],
            "metadata": {
                "title": "Three places",
                "description": "An example",
                "source": "",
                "license": "CC0-1.0",
                "attribution": "",
                "keywords": ["example"],
                "tags": {"dataset_id": _DATASET, "testing": True},
            },
        },
    }
}

EXAMPLE_KEY = Path(
    description="Key in the landing zone; it may contain slashes.", openapi_examples={"places": {"value": _KEY}}
)
EXAMPLE_BATCH = Path(openapi_examples={"places": {"value": _BATCH}})
EXAMPLE_RUN = Path(openapi_examples={"places": {"value": run_id_for(_BATCH)}})
EXAMPLE_LANE = Path(description="Name of the lane.", openapi_examples={"tabular": {"value": "tabular"}})
EXAMPLE_DATASET = Path(openapi_examples={"places": {"value": _DATASET}})
EXAMPLE_VERSION = Path(ge=1, openapi_examples={"first": {"value": 1}})
