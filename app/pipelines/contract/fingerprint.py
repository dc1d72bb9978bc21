"""Whether two runs would make the same version: one hash over all that the content of a version depends on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from app import __version__
from app.models.manifests.manifest import Manifest
from app.pipelines.contract.context import FetchedAsset, FetchedFile

# What reads, computes and writes in this process, besides what an engine says of itself.
_LIBRARIES = ("antimeridian", "duckdb", "numpy", "pyarrow", "pyogrio", "pyproj", "rasterio", "shapely")


def fingerprint(
    manifest: Manifest, inputs: Sequence[FetchedFile | FetchedAsset], recipe: Sequence[str], engine: Mapping[str, str]
) -> str:
    """Return the hash (`sha256:…`) of all that the content of a version depends on.

    The content and order of files count, their names and the batch do not.

    Args:
        manifest: for its intent and metadata.
        inputs: all inputs, in order.
        recipe: the steps, as text.
        engine: names and versions of the software that computes.
    """
    parts: dict[str, Any] = {
        "intent": manifest.intent,
        "metadata": manifest.metadata.model_dump(mode="json", exclude_defaults=True),
        "inputs": [_asset(each) if isinstance(each, FetchedAsset) else _file(each) for each in inputs],
        "recipe": list(recipe),
        "engine": dict(engine),
        "service": __version__,
        "libraries": {name: found for name in _LIBRARIES if (found := _version(name))},
    }
    if manifest.checks:
        # Without it, checks that are new to the dataset would never be made.
        parts["checks"] = [check.model_dump(mode="json") for check in manifest.checks]
    text = json.dumps(parts, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def _file(file: FetchedFile) -> dict[str, Any]:
    return {
        "declared": file.declared.model_dump(mode="json", exclude={"path"}, exclude_defaults=True),
        "content": [each.model_dump(mode="json", exclude={"s3_key", "etag"}) for each in file.inputs],
    }


def _asset(parent: FetchedAsset) -> dict[str, Any]:
    """A version counts by its number, not by its content: the lineage of the result names it."""
    return {"dataset_id": parent.asset.dataset_id, "version": parent.asset.version}


def _version(library: str) -> str | None:
    try:
        return version(library)
    except PackageNotFoundError:
        return None
