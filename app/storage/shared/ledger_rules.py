"""Rules that all ledgers share: legal changes of a run, what its manifest shows, values, and cursors."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from app.errors import BatchConflict, InvalidRequest, VersionTaken
from app.ledger import Guard
from app.messages.request import CURSOR_INVALID
from app.models.asset import Asset
from app.models.base import utcnow
from app.models.manifests.manifest import (
    EarlierManifest,
    ManifestFault,
    ManifestRecord,
    ManifestStatus,
    ManifestSummary,
)
from app.models.runs.run import TRANSITIONS, Run, RunStatus

T = TypeVar("T")

MAX_INTEGER = 2**63 - 1
# Of a manifest in a listing.
FAULTS_SHOWN, LONGEST_SHOWN = 3, 1000
FIXED_FIELDS = frozenset(
    {"run_id", "batch_id", "partition_key", "lane", "blocked", "reserved_version", "created_at", "revision"}
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
# Any run: it has the fields that a change does not set, so that the model can validate those it sets.
_SOME_RUN: Mapping[str, Any] = Run(
    run_id="-", batch_id="-", job_name="-", lane="-", partition_key="-", created_at=utcnow()
).model_dump()


def checked_change(guard: Guard, changes: Mapping[str, Any]) -> tuple[Run, tuple[RunStatus, ...]]:
    """Check a change of a run; see `RunLedger.change_run`.

    Returns:
        A run with the changed fields, and the statuses of the guard from which the change is legal.

    Raises:
        ValueError: a field is unknown or fixed, a value is invalid, or no status of the guard allows the new one.
    """
    if fixed := FIXED_FIELDS & changes.keys():
        raise ValueError(f"change_run cannot set {', '.join(sorted(fixed))}.")
    changed = Run.model_validate({**_SOME_RUN, **changes})
    statuses = tuple(sorted(guard.statuses))
    if "status" not in changes:
        return changed, statuses
    new = changed.status
    legal = tuple(old for old in statuses if new in TRANSITIONS[old] or (new is old and not old.is_final))
    if statuses and not legal:
        table = "; ".join(f"from {old} to {', '.join(sorted(TRANSITIONS[old])) or 'nothing'}" for old in statuses)
        raise ValueError(f"A run cannot go from {' or '.join(statuses)} to {new}. It goes {table}.")
    return changed, legal


def mirrored(run: Run) -> dict[str, Any]:
    """Return the fields of a manifest that show its newest run."""
    message = f"{run.error.detail} {run.error.fix}".strip() if run.error else None
    return {
        "status": ManifestStatus(run.status.value),
        "error_message": message,
        "completed_at": run.completed_at if run.status.is_final else None,
    }


def attempts_of(run: Run) -> list[dict[str, Any]]:
    """Return the finished attempts as values that every database stores. Times stay times."""
    return [
        {
            "number": each.number,
            "worker": plain_text(each.worker),
            "started_at": utc_milliseconds(each.started_at),
            "ended_at": utc_milliseconds(each.ended_at),
            "outcome": each.outcome.value,
            "reason": plain_text(each.reason),
        }
        for each in run.attempts
    ]


def check_further_run(run: Run) -> None:
    """Raise ValueError for a further run that names no earlier run."""
    if run.retry_of is None:
        raise ValueError(f"Run {run.run_id} has no retry_of. Use accept for the first run of a batch.")


def check_younger(run: Run, newest: Run) -> None:
    """Raise ValueError unless this run becomes the newest of its batch."""
    if (utc_milliseconds(run.created_at), run.run_id) <= (newest.created_at, newest.run_id):
        raise ValueError(
            f"Run {run.run_id} of {run.created_at.isoformat()} is not younger than {newest.run_id} of "
            f"{newest.created_at.isoformat()}, the newest of its batch."
        )


def superseding(new: ManifestRecord, stored: ManifestRecord, run: Run) -> ManifestRecord:
    """Return the manifest that supersedes the stored one. run: its first run."""
    kept = EarlierManifest.model_fields.keys() - {"superseded_at"}
    fields = {name: getattr(stored, name) for name in kept}
    earlier = EarlierManifest(**fields, superseded_at=utc_milliseconds(run.created_at))
    return new.model_copy(update={"earlier": (*stored.earlier, earlier), **mirrored(run)})


def not_superseding(record: ManifestRecord, newest: Run) -> ManifestRecord:
    """Return the manifest whose run will not be stored: the superseded one, where that would have been its first run.

    Args:
        record: the manifest as it waits for that run.
        newest: the newest run that the batch has without it.
    """
    if not record.earlier or newest.created_at >= record.earlier[-1].superseded_at:
        return record
    *earlier, last = record.earlier
    fields = {name: getattr(last, name) for name in EarlierManifest.model_fields.keys() - {"superseded_at"}}
    return ManifestRecord(batch_id=record.batch_id, earlier=tuple(earlier), **{**fields, **mirrored(newest)})


def check_amounts(amounts: Mapping[str, int]) -> None:
    """Raise ValueError for a negative amount."""
    if wrong := {name: amount for name, amount in amounts.items() if amount < 0}:
        raise ValueError(f"Counters only grow; found {wrong}.")


def version_taken(asset: Asset, owner: Asset) -> VersionTaken:
    """Return the error for a version or key that another run registered."""
    detail = (
        f"Run {asset.run_id} cannot register version {asset.version} of {asset.dataset_id} at {asset.s3_key}: "
        f"run {owner.run_id} registered version {owner.version} of {owner.dataset_id} at {owner.s3_key}."
    )
    return VersionTaken(detail, "Reserve a version for this run and publish under that number.")


def name_without_run(manifest: ManifestRecord) -> BatchConflict:
    """Return the error for the batch id of a manifest that has no run."""
    what = "a manifest that was removed" if manifest.status is ManifestStatus.REMOVED else "a rejected manifest"
    return BatchConflict(f"The batch id {manifest.batch_id!r} belongs to {what}.", "Choose a new batch_id.")


def summary(fields: Mapping[str, Any], faults: Sequence[Any]) -> ManifestSummary:
    """Return a manifest as listings show it.

    Args:
        fields: of `ManifestSummary`, without faults.
        faults: the first of its faults, at least `FAULTS_SHOWN` where there are so many.
    """
    shown = tuple(ManifestFault(**{name: _cut(text) for name, text in each.items()}) for each in faults[:FAULTS_SHOWN])
    return ManifestSummary.model_validate({name: _cut(value) for name, value in fields.items()} | {"faults": shown})


def summary_of(record: ManifestRecord) -> ManifestSummary:
    """Return the summary of a manifest that was read as a whole."""
    files = record.manifest.get("files")
    names = ManifestRecord.model_fields.keys() & ManifestSummary.model_fields.keys() - {"faults"}
    own = {name: getattr(record, name) for name in names}
    counts = {"file_count": len(files) if isinstance(files, list | tuple) else 0, "fault_count": len(record.faults)}
    return summary(own | filterable(record) | counts, [each.model_dump() for each in record.faults[:FAULTS_SHOWN]])


def _cut(value: Any) -> Any:
    if isinstance(value, str) and len(value) > LONGEST_SHOWN:
        return value[: LONGEST_SHOWN - 1] + "…"
    return value


def filterable(record: ManifestRecord) -> dict[str, Any]:
    """Return the fields by which manifests are filtered. A rejected document may have any type anywhere."""
    document = record.manifest
    metadata = document.get("metadata")
    metadata = metadata if isinstance(metadata, Mapping) else {}
    tags = metadata.get("tags")
    found = {"intent": document.get("intent"), "uploader": document.get("uploader"), "project": metadata.get("project")}
    values: dict[str, Any] = {name: value if isinstance(value, str) else None for name, value in found.items()}
    return values | {"testing": isinstance(tags, Mapping) and tags.get("testing") is True}


def utc_milliseconds(value: datetime) -> datetime:
    """Return the time in UTC, cut to the millisecond. Raises ValueError for a time without zone."""
    if value.tzinfo is None:
        raise ValueError(f"{value!r} has no time zone; ledger times are in UTC with zone.")
    value = value.astimezone(UTC)
    return value.replace(microsecond=value.microsecond // 1000 * 1000)


def to_json(value: Any) -> str:
    """Return JSON in ASCII, so that every database stores NUL and lone surrogates of a hostile manifest."""
    return json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))


def plain_text(value: str) -> str:
    """Replace characters that databases do not store in text (NUL, lone surrogates) by U+FFFD."""
    if value.isascii() and "\0" not in value:
        return value
    return value.replace("\0", "\ufffd").encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def encode_cursor(listing: str, key: tuple[datetime | str | int, ...]) -> str:
    """Return an opaque text, safe in a URL, of the listing's name and the sort key of the last item."""
    parts = [(part - _EPOCH) // _MILLISECOND if isinstance(part, datetime) else part for part in key]
    return base64.urlsafe_b64encode(json.dumps([listing, *parts]).encode()).decode().rstrip("=")


def decode_cursor(
    listing: str, cursor: str, types: tuple[type[datetime | str | int], ...]
) -> tuple[datetime | str | int, ...]:
    """Return the sort key in a cursor of `encode_cursor`.

    Raises:
        InvalidRequest: the text is not a cursor, or one of another listing.
    """
    try:
        raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        name, *parts = json.loads(raw)
        if name != listing:
            raise ValueError(name)
        return tuple(_decoded(part, kind) for part, kind in zip(parts, types, strict=True))
    except (ValueError, TypeError, OverflowError, RecursionError, binascii.Error):
        fault = CURSOR_INVALID("/cursor", cursor=cursor[:80])
        raise InvalidRequest(fault.detail, fault.fix, (fault,)) from None


def _decoded(part: object, kind: type[datetime | str | int]) -> datetime | str | int:
    if kind is str and isinstance(part, str):
        return part
    if kind is not str and isinstance(part, int) and not isinstance(part, bool) and abs(part) < 2**63:
        return _EPOCH + part * _MILLISECOND if kind is datetime else part
    raise TypeError(part)


def each_of(wanted: T | tuple[T, ...] | None) -> tuple[T, ...]:
    """The different values of a filter that takes one or several; none when it is not checked."""
    if wanted is None:
        return ()
    return tuple(dict.fromkeys(wanted)) if isinstance(wanted, tuple) else (wanted,)
