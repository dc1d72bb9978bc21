"""Conversion between the ledger's MongoDB documents and the frozen domain models.

Documents have the fields of the models, for the queries of other tools, and a few fields of the ledger: `_id`, `writes`
(counts every write, for compare-and-set), `exact` (see `encoded`), `sort_at` (the time by which listings are sorted, in
milliseconds, because some servers compare dates by the second only), and the marks of unfinished writes (see
`run_writes`). `…_document` makes a document from a model, `…_from` a model from a document.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from app.models.api_key import ApiKey
from app.models.asset import Asset, Deletion, ParentInput
from app.models.manifests.delivery import Delivery, EventOutcome
from app.models.manifests.manifest import ManifestRecord, ManifestStatus
from app.models.runs.activity import Activity
from app.models.runs.run import Run, RunEvent
from app.storage.shared.deletion_rules import state_of
from app.storage.shared.ledger_rules import attempts_of, filterable, mirrored, plain_text, to_json, utc_milliseconds
from app.storage.shared.search_terms import Searchable, box_fields, searchable

Document = dict[str, Any]

# A server refuses documents nested deeper than 100 levels; ours sit a few levels down.
_MAX_DEPTH = 60
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_INT64 = range(-(2**63), 2**63)


def encoded(fields: Mapping[str, Any]) -> Document:
    """Return `fields` as BSON stores them. A value that BSON would change is also stored as JSON text in `exact`.

    These are integers over 64 bits, lone surrogates, keys that contain a dot or begin with a dollar sign, and deep
    nesting. The field itself then has the nearest value that BSON stores.

    Raises:
        ValueError: for NaN, infinity, and a time without zone.
    """
    document: Document = {}
    exact: dict[str, str] = {}
    for name, value in fields.items():
        if isinstance(value, datetime):
            document[name] = utc_milliseconds(value)
        elif isinstance(value, str):
            document[name] = plain_text(value)
        elif isinstance(value, dict | list) and not _is_exact(value):
            exact[name] = to_json(value)
            document[name] = _near(value)
        else:
            document[name] = value
    return document | {"exact": exact}


def decoded(document: Mapping[str, Any], names: Mapping[str, Any]) -> Document:
    """Return the fields called `names` as `encoded` was given them."""
    exact = {name: json.loads(text) for name, text in document["exact"].items()}
    return {name: exact.get(name, document[name]) for name in names}


def milliseconds(value: datetime) -> int:
    """Return the milliseconds since 1970, cut as `utc_milliseconds` does."""
    return (utc_milliseconds(value) - _EPOCH) // timedelta(milliseconds=1)


def moment(value: int) -> datetime:
    """Return the time of that many milliseconds since 1970."""
    return _EPOCH + timedelta(milliseconds=value)


def without(document: Document, name: str) -> Document:
    """Return the document without that field."""
    return {key: value for key, value in document.items() if key != name}


def removing(mark: str, **values: Any) -> Callable[[Document], Document | None]:
    """Return a change for `Collection.change` that removes a mark, if it is there and has these values."""

    def removed(document: Document) -> Document | None:
        found = document.get(mark)
        if found is None or any(found[name] != value for name, value in values.items()):
            return None
        return without(document, mark)

    return removed


def _is_exact(value: Any, depth: int = 0) -> bool:
    if isinstance(value, dict):
        return depth < _MAX_DEPTH and all(_is_key(key) and _is_exact(each, depth + 1) for key, each in value.items())
    if isinstance(value, list):
        return depth < _MAX_DEPTH and all(_is_exact(each, depth + 1) for each in value)
    if isinstance(value, str):
        return plain_text(value) == value
    if isinstance(value, float):
        return math.isfinite(value)
    return not isinstance(value, int) or value in _INT64


def _is_key(key: str) -> bool:
    return key != "" and not key.startswith("$") and "." not in key and plain_text(key) == key


def _near(value: Any, depth: int = 0) -> Any:
    if isinstance(value, dict | list) and depth >= _MAX_DEPTH:
        return to_json(value)
    if isinstance(value, dict):
        return {_near_key(key): _near(each, depth + 1) for key, each in value.items()}
    if isinstance(value, list):
        return [_near(each, depth + 1) for each in value]
    if isinstance(value, str):
        return plain_text(value)
    if isinstance(value, int) and not isinstance(value, bool) and value not in _INT64:
        return str(value)
    return value


def _near_key(key: str) -> str:
    """The full-width twins of dot and dollar sign, as MongoDB's manual advises."""
    return plain_text(key).replace(".", "\uff0e").replace("$", "\uff04") or "\ufffd"


def manifest_document(record: ManifestRecord, newest: Run | None = None) -> Document:
    """Return the document of a manifest. newest: its newest run; None for a rejected manifest."""
    fields = record.model_dump(mode="json")
    fields |= {"ingested_at": record.ingested_at, "completed_at": record.completed_at, **filterable(record)}
    own: Document = {"_id": plain_text(record.batch_id), "newest_run": newest and _run_key(newest), "writes": 1}
    return own | {"sort_at": milliseconds(record.ingested_at)} | encoded(fields)


def superseding_document(document: Document, record: ManifestRecord) -> Document:
    """Return the document of a manifest with the content of `record`: one that supersedes it, or was superseded."""
    made = manifest_document(record)
    return document | {name: value for name, value in made.items() if name not in ("_id", "writes", "newest_run")}


def manifest_from(document: Mapping[str, Any]) -> ManifestRecord:
    return ManifestRecord.model_validate(decoded(document, ManifestRecord.model_fields))


def _run_key(run: Run) -> Document:
    return {
        "created_at": utc_milliseconds(run.created_at),
        "run_id": plain_text(run.run_id),
        "revision": run.revision,
    }


def mirrored_document(document: Document, run: Run) -> Document | None:
    """Return the manifest's document with the status of `run`; None when it shows something newer."""
    ours, theirs = _run_key(run), document["newest_run"]
    if theirs is not None and tuple(theirs[name] for name in ours) >= tuple(ours.values()):
        return None
    return with_newest_run(document, run)


def with_newest_run(document: Document, run: Run) -> Document:
    """Return the manifest's document with the status of `run` in place of the one that it has."""
    fields = encoded({**mirrored(run), "status": run.status.value})
    return document | {name: fields[name] for name in mirrored(run)} | {"newest_run": _run_key(run)}


def removed_manifest(document: Document) -> Document:
    """Return what is kept of a removed manifest: its batch id, times and the object that it came from."""
    empty: Document = {"manifest": {}, "files_found": [], "earlier": [], "faults": [], "error_message": None}
    no_filters = {"intent": None, "uploader": None, "project": None}
    return document | encoded(empty) | no_filters | {"status": ManifestStatus.REMOVED.value}


def without_companion(document: Document, changed: Asset) -> Document:
    """Return the version's document with the companions of `changed`."""
    fields = encoded({"metadata": changed.model_dump(mode="json")["metadata"]})
    exact = {name: text for name, text in document["exact"].items() if name != "metadata"} | fields["exact"]
    return document | fields | {"exact": exact}


def run_document(run: Run) -> Document:
    own = {"_id": plain_text(run.run_id), "sort_at": milliseconds(run.created_at), "writes": 1, "log_removed": False}
    own["counted"] = "not_yet"
    return own | _due(run) | encoded(_run_fields(run))


def waiting_run_document(run: Run) -> Document:
    """Return the document of a run that is not in the queue of its dataset yet."""
    return run_document(run) | {"blocked": True}


def _due(run: Run) -> Document:
    """When the run may begin; 0: at any time."""
    return {"due_at": 0 if run.not_before is None else milliseconds(run.not_before)}


def _run_fields(run: Run) -> Document:
    fields = run.model_dump(mode="json", exclude={"lease"})
    fields |= {"created_at": run.created_at, "started_at": run.started_at, "completed_at": run.completed_at}
    fields["not_before"] = run.not_before
    lease = run.lease
    # Not as JSON: times within a document stay times.
    due = lease and {"owner": plain_text(lease.owner), "expires_at": utc_milliseconds(lease.expires_at)}
    return fields | {"lease": due, "attempts": attempts_of(run)}


def run_from(document: Mapping[str, Any]) -> Run:
    return Run.model_validate(decoded(document, Run.model_fields))


def changed_run_document(document: Document, changed: Run, names: Mapping[str, Any]) -> Document:
    """Return the run's document with the fields called `names` of `changed`, and the next revision."""
    fields = encoded({name: value for name, value in _run_fields(changed).items() if name in names})
    exact = {name: text for name, text in document["exact"].items() if name not in names} | fields["exact"]
    if "not_before" in names:
        fields |= _due(changed)
    return document | fields | {"exact": exact, "revision": document["revision"] + 1}


def event_document(event: RunEvent) -> Document:
    own = {"_id": f"{plain_text(event.run_id)}:{event.seq}"}
    return own | encoded(event.model_dump(mode="json") | {"at": event.at})


def event_from(document: Mapping[str, Any]) -> RunEvent:
    return RunEvent.model_validate(decoded(document, RunEvent.model_fields))


def version_key(dataset_id: str, version: int) -> str:
    """Return the name of a version in `_id`, and in the `parents` of others."""
    return f"{plain_text(dataset_id)}@{version}"


def asset_document(asset: Asset) -> Document:
    """Return the document of a new version, which has the mark of the newest.

    Its `parents` repeat those in `inputs`, and `search` serves the catalogue.
    """
    parents = {version_key(each.dataset_id, each.version) for each in asset.inputs if isinstance(each, ParentInput)}
    own: Document = {"_id": version_key(asset.dataset_id, asset.version), "parents": sorted(parents)}
    own |= {"sort_at": milliseconds(asset.created_at), "search": search_document(searchable(asset))}
    own |= {"writes": 1, "state": state_of(asset.deletion), "is_newest": True, "counted": "not_yet"}
    fields = asset.model_dump(mode="json") | {"created_at": asset.created_at}
    return own | encoded(fields | {"deletion": asset.deletion and deletion_document(asset.deletion)})


def deletion_document(deletion: Deletion) -> Document:
    """Return the field `deletion` of a version. Not as JSON: times within a document stay times."""
    removed = deletion.removed_at and utc_milliseconds(deletion.removed_at)
    names = {"by": plain_text(deletion.by), "reason": plain_text(deletion.reason)}
    return {"at": utc_milliseconds(deletion.at), **names, "removed_at": removed}


def search_document(found: Searchable) -> Document:
    return {"terms": list(found.terms), "testing": found.testing, **box_fields(found.box)}


def asset_from(document: Mapping[str, Any]) -> Asset:
    return Asset.model_validate(decoded(document, Asset.model_fields))


def activity_document(entry: Activity, number: int) -> Document:
    """Return the document of an audit entry. number: counts all entries, so that those of one time keep their order."""
    own = {"_id": f"{number:020d}", "number": number, "sort_at": milliseconds(entry.timestamp)}
    return own | encoded(entry.model_dump(mode="json") | {"timestamp": entry.timestamp})


def activity_from(document: Mapping[str, Any]) -> Activity:
    return Activity.model_validate(decoded(document, Activity.model_fields))


def delivery_document(delivery: Delivery) -> Document:
    fields = delivery.model_dump(mode="json")
    fields |= {"received_at": delivery.received_at, "processed_at": delivery.processed_at}
    own = {"_id": plain_text(delivery.delivery_id), "sort_at": milliseconds(delivery.received_at), "writes": 1}
    return own | encoded(fields)


def delivery_from(document: Mapping[str, Any]) -> Delivery:
    return Delivery.model_validate(decoded(document, Delivery.model_fields))


def finished_delivery_document(document: Document, outcomes: tuple[EventOutcome, ...], at: datetime) -> Document:
    fields = encoded({"outcomes": [each.model_dump(mode="json") for each in outcomes], "processed_at": at})
    exact = {name: text for name, text in document["exact"].items() if name != "outcomes"} | fields["exact"]
    return document | fields | {"status": "done", "exact": exact}


def api_key_document(key: ApiKey) -> Document:
    own = {"_id": plain_text(key.name), "sort_at": milliseconds(key.created_at), "writes": 1}
    return own | encoded(key.model_dump() | {"scope": key.scope.value, "prefixes": list(key.prefixes)})


def api_key_from(document: Mapping[str, Any]) -> ApiKey:
    return ApiKey.model_validate(decoded(document, ApiKey.model_fields))
