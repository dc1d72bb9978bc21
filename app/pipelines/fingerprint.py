"""Whether two runs would make the same version: one hash over all that the content of a version depends on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from app import __version__
from app.models.asset import AssetInput
from app.models.manifest import Manifest, ManifestFile
from app.pipelines.context import FetchedFile

# What reads, computes and writes in this process, besides what an engine says of itself.
_LIBRARIES = ("antimeridian", "duckdb", "numpy", "pyarrow", "pyogrio", "pyproj", "rasterio", "shapely")


def fingerprint(
    manifest: Manifest, files: Sequence[FetchedFile], recipe: Sequence[str], engine: Mapping[str, str]
) -> str:
    """`sha256:…`; names of files and of the batch do not count, their content and order do."""
    parts: dict[str, Any] = {
        "intent": manifest.intent,
        "metadata": manifest.metadata.model_dump(mode="json", exclude_defaults=True),
        "files": [_file(file.declared, file.inputs) for file in files],
        "recipe": list(recipe),
        "engine": dict(engine),
        "service": __version__,
        "libraries": {name: found for name in _LIBRARIES if (found := _version(name))},
    }
    text = json.dumps(parts, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def _file(declared: ManifestFile, inputs: Sequence[AssetInput]) -> dict[str, Any]:
    return {
        "declared": declared.model_dump(mode="json", exclude={"path"}, exclude_defaults=True),
        "content": [each.model_dump(mode="json", exclude={"s3_key", "etag"}) for each in inputs],
    }


def _version(library: str) -> str | None:
    try:
        return version(library)
    except PackageNotFoundError:
        return None
