"""Conversion between the rows of the ledger's tables and the frozen domain models.

`…_values` makes the columns of a row from a model, `…_from` a model from a row.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from app.models.api_key import ApiKey
from app.models.asset import Asset, Deletion, ParentInput
from app.models.manifests.delivery import Delivery
from app.models.manifests.manifest import ManifestRecord, ManifestSummary
from app.models.runs.activity import Activity
from app.models.runs.run import Lease, Run, RunEvent
from app.storage.shared.deletion_rules import state_of
from app.storage.shared.ledger_rules import FAULTS_SHOWN, attempts_of, filterable, summary, utc_milliseconds
from app.storage.shared.search_terms import box_fields, searchable
from app.storage.sql.tables import Row

Values = dict[str, Any]


def _times(values: Values) -> Values:
    return {name: utc_milliseconds(value) if isinstance(value, datetime) else value for name, value in values.items()}


def manifest_values(record: ManifestRecord) -> Values:
    values = record.model_dump(mode="json") | {"ingested_at": record.ingested_at, "completed_at": record.completed_at}
    return _times(values | filterable(record))


def manifest_from(row: Row) -> ManifestRecord:
    return ManifestRecord.model_validate({name: row[name] for name in ManifestRecord.model_fields})


def summary_from(row: Row) -> ManifestSummary:
    """Return a manifest as listings show it, from the columns of `summary_columns`."""
    names = ManifestSummary.model_fields.keys() - {"faults"}
    fields = {name: row[name] for name in names}
    fields |= {name: row[name] or 0 for name in ("file_count", "fault_count")}
    found = [row[f"fault_{number}"] for number in range(FAULTS_SHOWN)]
    return summary(fields, [json.loads(text) for text in found if text is not None])


def run_values(run: Run) -> Values:
    values = run.model_dump(mode="json", exclude={"lease"})
    values |= {"created_at": run.created_at, "started_at": run.started_at, "completed_at": run.completed_at}
    values["not_before"] = run.not_before
    lease = run.lease
    values |= {"lease_owner": lease and lease.owner, "lease_expires_at": lease and lease.expires_at}
    values["attempts"] = [
        {name: value.isoformat() if isinstance(value, datetime) else value for name, value in each.items()}
        for each in attempts_of(run)
    ]
    return _times(values)


def run_changes(changed: Run, fields: Mapping[str, Any]) -> Values:
    """Return the columns of these fields of the run."""
    names = set(fields)
    if "lease" in names:
        names |= {"lease_owner", "lease_expires_at"}
    return {name: value for name, value in run_values(changed).items() if name in names}


def run_from(row: Row) -> Run:
    lease = None
    if row["lease_owner"] is not None:
        lease = Lease(owner=row["lease_owner"], expires_at=row["lease_expires_at"])
    fields = {name: row[name] for name in Run.model_fields if name != "lease"}
    return Run.model_validate(fields | {"lease": lease})


def event_values(event: RunEvent) -> Values:
    return _times(event.model_dump(mode="json") | {"at": event.at})


def event_from(row: Row) -> RunEvent:
    return RunEvent.model_validate(dict(row))


def asset_values(asset: Asset) -> Values:
    found = searchable(asset)
    values = asset.model_dump(mode="json", exclude={"deletion"})
    values |= {"created_at": asset.created_at, "testing": found.testing}
    return _times(values | box_fields(found.box)) | deletion_values(asset.deletion)


def deletion_values(deletion: Deletion | None) -> Values:
    """Return the columns of a version's deletion."""
    values = {
        "state": state_of(deletion),
        "deleted_at": deletion and deletion.at,
        "deleted_by": deletion and deletion.by,
        "deleted_reason": deletion and deletion.reason,
        "removed_at": deletion and deletion.removed_at,
    }
    return _times(values)


def asset_from(row: Row) -> Asset:
    deletion = None
    if row["deleted_at"] is not None:
        known = {"at": row["deleted_at"], "by": row["deleted_by"], "reason": row["deleted_reason"]}
        deletion = Deletion(**known, removed_at=row["removed_at"])
    fields = {name: row[name] for name in Asset.model_fields if name != "deletion"}
    return Asset.model_validate(fields | {"deletion": deletion})


def term_values(asset: Asset) -> list[Values]:
    """Return the rows of asset_terms."""
    own = {"dataset_id": asset.dataset_id, "version": asset.version, "created_at": utc_milliseconds(asset.created_at)}
    return [own | {"term": term} for term in searchable(asset).terms]


def parent_values(asset: Asset) -> list[Values]:
    """Return the rows of asset_inputs: one for each parent, none for source objects."""
    own = {"dataset_id": asset.dataset_id, "version": asset.version}
    parents = [entry for entry in asset.inputs if isinstance(entry, ParentInput)]
    return [
        own | {"position": position, "parent_dataset_id": p.dataset_id, "parent_version": p.version, "role": p.role}
        for position, p in enumerate(parents)
    ]


def activity_values(entry: Activity) -> Values:
    return _times(entry.model_dump(mode="json") | {"timestamp": entry.timestamp})


def activity_from(row: Row) -> Activity:
    return Activity.model_validate({name: row[name] for name in Activity.model_fields})


def delivery_values(delivery: Delivery) -> Values:
    times = {"received_at": delivery.received_at, "processed_at": delivery.processed_at}
    return _times(delivery.model_dump(mode="json") | times)


def delivery_from(row: Row) -> Delivery:
    return Delivery.model_validate(dict(row))


def api_key_values(key: ApiKey) -> Values:
    return _times(key.model_dump() | {"scope": key.scope.value, "prefixes": list(key.prefixes)})


def api_key_from(row: Row) -> ApiKey:
    return ApiKey.model_validate(dict(row))
