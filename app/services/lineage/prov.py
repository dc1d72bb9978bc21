"""Lineage as W3C PROV-JSON: versions and source objects are entities, runs are activities, uploaders are agents."""

from __future__ import annotations

import io
from collections.abc import Sequence
from datetime import datetime
from typing import Any
from urllib.parse import quote

from prov.identifier import QualifiedName
from prov.model import PROV, ProvDocument

from app import __version__
from app.models.asset import Asset, AssetInput, ParentInput
from app.models.manifests.manifest import LAKE_BUCKET
from app.services.lineage.graph import Lineage, Provenance

_PREFIXES = {name: f"urn:spatial-etl:{name}:" for name in ("asset", "source", "run", "agent", "term")}


def encode(_lineage: Lineage, provenances: Sequence[Provenance]) -> str:
    document = ProvDocument()
    names = _Names(document)
    software = names.of("agent", f"spatial-etl/{__version__}")
    document.agent(software, {PROV["type"]: PROV["SoftwareAgent"], PROV["label"]: f"spatial-etl {__version__}"})
    described = {(provenance.asset.dataset_id, provenance.asset.version) for provenance in provenances}
    seen: set[QualifiedName] = set()
    for provenance in provenances:
        _version(document, names, provenance, software)
        for item in provenance.asset.inputs:
            entity = names.of_input(item)
            known = isinstance(item, ParentInput) and (item.dataset_id, item.version) in described
            if not known and entity not in seen:
                document.entity(entity, _input_attributes(names, item))
            seen.add(entity)
    text = io.StringIO()
    document.serialize(text, format="json", ensure_ascii=False, allow_nan=False)
    return text.getvalue()


class _Names:
    """Qualified names: what an identifier may not hold is percent-encoded."""

    def __init__(self, document: ProvDocument) -> None:
        self._spaces = {name: document.add_namespace(name, uri) for name, uri in _PREFIXES.items()}

    def of(self, space: str, name: str) -> QualifiedName:
        return self._spaces[space][quote(name, safe="/")]

    def of_asset(self, dataset_id: str, version: int) -> QualifiedName:
        return self.of("asset", f"{dataset_id}/v{version}")

    def of_input(self, item: AssetInput) -> QualifiedName:
        if isinstance(item, ParentInput):
            return self.of_asset(item.dataset_id, item.version)
        return self.of("source", f"{item.s3_key}@{item.sha256}")


def _version(document: ProvDocument, names: _Names, provenance: Provenance, software: QualifiedName) -> None:
    asset, run, record = provenance.asset, provenance.run, provenance.manifest
    entity = document.entity(names.of_asset(asset.dataset_id, asset.version), _asset_attributes(names, asset))
    activity = document.activity(
        names.of("run", asset.run_id),
        _time(run.started_at) if run else None,
        _time(run.completed_at) if run else None,
        {PROV["type"]: names.of("term", run.job_name), names.of("term", "batch_id"): run.batch_id} if run else None,
    )
    document.generation(entity, activity, _time(asset.created_at))
    document.association(activity, software)
    if record is not None and record.manifest.get("uploader"):
        uploader = str(record.manifest["uploader"])
        person = document.agent(names.of("agent", f"user/{uploader}"), {PROV["label"]: uploader})
        document.delegation(software, person, activity)
        document.attribution(entity, person)
    for item in asset.inputs:
        used = names.of_input(item)
        role = item.role if isinstance(item, ParentInput) else "source"
        document.usage(activity, used, None, None, {PROV["role"]: names.of("term", role)})
        document.derivation(entity, used, activity)


def _time(value: datetime | None) -> str | None:
    return None if value is None else value.isoformat(timespec="milliseconds")


def _asset_attributes(names: _Names, asset: Asset) -> dict[Any, Any]:
    found: dict[Any, Any] = {
        PROV["type"]: names.of("term", asset.kind),
        PROV["label"]: str(asset.metadata.manifest.get("title") or asset.dataset_id),
        PROV["location"]: f"s3://{LAKE_BUCKET}/{asset.s3_key}",
        names.of("term", "content_hash"): asset.content_hash,
        names.of("term", "size"): asset.size,
        names.of("term", "format"): asset.format,
    }
    if asset.crs:
        found[names.of("term", "crs")] = asset.crs
    return found


def _input_attributes(names: _Names, item: AssetInput) -> dict[Any, Any]:
    if isinstance(item, ParentInput):
        return {PROV["label"]: f"{item.dataset_id} v{item.version}"}
    return {
        PROV["type"]: names.of("term", "source"),
        PROV["label"]: item.s3_key.rpartition("/")[2],
        PROV["location"]: f"s3://{item.s3_key}",
        names.of("term", "content_hash"): f"sha256:{item.sha256}",
        names.of("term", "size"): item.size,
    }
