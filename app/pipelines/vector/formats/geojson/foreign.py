"""JSON that is no GeoJSON, though it is often sent for it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from app.messages.vector_formats import ESRI_JSON, JSON_ERROR

# Members of feature sets and features in Esri's REST interface.
_ESRI = {"attributes", "geometryType", "spatialReference", "fieldAliases", "objectIdFieldName", "displayFieldName"}


def check_origin(document: Mapping[str, Any], file: str) -> None:
    """Name what is often sent for GeoJSON: Esri JSON, or a server's error message. Raises RunRefused content_mismatch.

    document: the members of a collection or of a feature.
    """
    if "type" in document:
        return
    if _ESRI.intersection(document):
        raise ESRI_JSON(file=file)
    if "error" in document:
        raise JSON_ERROR(file=file, error=json.dumps(document["error"], ensure_ascii=False)[:200])
