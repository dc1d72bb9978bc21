"""What a user should know about the intent of a manifest, before its pipeline begins."""

from __future__ import annotations

from app.messages.common import INTENT_UNKNOWN
from app.models.manifests.manifest import Manifest
from app.models.recipes.table import RecipeTable
from app.models.runs.run import RunWarning


def intent_warnings(manifest: Manifest, recipes: RecipeTable) -> list[RunWarning]:
    """A warning where the intent is neither shipped nor the operator's: it may be a spelling mistake."""
    known = recipes.names
    if manifest.intent in known:
        return []
    kind = "raster" if any(file.type == "raster" for file in manifest.files) else "vector"
    return [INTENT_UNKNOWN(intent=manifest.intent, recipe=f"ingest_{kind}", known=", ".join(known))]
