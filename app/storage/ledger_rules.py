"""What every ledger decides the same way: which changes of a run are legal, what its manifest mirrors, cursors."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from app.errors import BatchConflict, Fault, InvalidRequest, VersionTaken
from app.ledger import Guard
from app.models.asset import Asset
from app.models.base import utcnow
from app.models.manifest import ManifestRecord, ManifestStatus
from app.models.run import TRANSITIONS, Run, RunStatus

MAX_INTEGER = 2**63 - 1
FIXED_FIELDS = frozenset(
    {"run_id", "batch_id", "partition_key", "lane", "blocked", "reserved_version", "created_at", "revision"}
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
# Any run will do: it only lends the fields that a change does not name, so that the model can check those it names.
_SOME_RUN: Mapping[str, Any] = Run(
    run_id="-", batch_id="-", job_name="-", lane="-", partition_key="-", created_at=utcnow()
).model_dump()


def checked_change(guard: Guard, changes: Mapping[str, Any]) -> tuple[Run, tuple[RunStatus, ...]]:
    """A run that carries the changed fields, and the statuses of the guard from which it may be reached.

    Raises ValueError for an unknown or fixed field, a value that does not fit, or a transition that is never legal.
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
    """What a manifest says about its newest run."""
    message = f"{run.error.detail} {run.error.fix}".strip() if run.error else None
    return {
        "status": ManifestStatus(run.status.value),
        "error_message": message,
        "completed_at": run.completed_at if run.status.is_final else None,
    }


def attempts_of(run: Run) -> list[dict[str, Any]]:
    """The attempts that are over, as values that every database keeps. Times stay times."""
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
    """Raises ValueError for one that names no earlier run."""
    if run.retry_of is None:
        raise ValueError(f"Run {run.run_id} names no earlier run in retry_of; the first run of a batch is accepted.")


def check_younger(run: Run, newest: Run) -> None:
    """Raises ValueError where the newest run of the batch would not be this one."""
    if (utc_milliseconds(run.created_at), run.run_id) <= (newest.created_at, newest.run_id):
        raise ValueError(
            f"Run {run.run_id} of {run.created_at.isoformat()} is not younger than {newest.run_id} of "
            f"{newest.created_at.isoformat()}, the newest of its batch."
        )


def check_amounts(amounts: Mapping[str, int]) -> None:
    """Raises ValueError: counters only grow."""
    if wrong := {name: amount for name, amount in amounts.items() if amount < 0}:
        raise ValueError(f"Counters only grow; found {wrong}.")


def version_taken(asset: Asset, owner: Asset) -> VersionTaken:
    detail = (
        f"Run {asset.run_id} cannot register version {asset.version} of {asset.dataset_id} at {asset.s3_key}: "
        f"run {owner.run_id} registered version {owner.version} of {owner.dataset_id} at {owner.s3_key}."
    )
    return VersionTaken(detail, "Reserve a version for this run and publish under that number.")


def name_without_run(manifest: ManifestRecord) -> BatchConflict:
    what = "a manifest that was removed" if manifest.status is ManifestStatus.REMOVED else "a rejected manifest"
    return BatchConflict(f"The batch id {manifest.batch_id!r} is that of {what}.", "Choose a new batch_id.")


def filterable(record: ManifestRecord) -> dict[str, Any]:
    """What a listing of manifests filters by. A rejected document may be wrong anywhere: only right types count."""
    document = record.manifest
    metadata = document.get("metadata")
    metadata = metadata if isinstance(metadata, Mapping) else {}
    tags = metadata.get("tags")
    found = {"intent": document.get("intent"), "uploader": document.get("uploader"), "project": metadata.get("project")}
    values: dict[str, Any] = {name: value if isinstance(value, str) else None for name, value in found.items()}
    return values | {"testing": isinstance(tags, Mapping) and tags.get("testing") is True}


def utc_milliseconds(value: datetime) -> datetime:
    """The same moment in UTC, cut to the millisecond. Raises ValueError for a time without zone."""
    if value.tzinfo is None:
        raise ValueError(f"{value!r} has no time zone; ledger times are in UTC with zone.")
    value = value.astimezone(UTC)
    return value.replace(microsecond=value.microsecond // 1000 * 1000)


def to_json(value: Any) -> str:
    """Escaped to ASCII, so that NUL and lone surrogates of a hostile manifest survive in every database."""
    return json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))


def plain_text(value: str) -> str:
    """What no database stores in its text (NUL, lone surrogates) becomes U+FFFD."""
    if value.isascii() and "\0" not in value:
        return value
    return value.replace("\0", "\ufffd").encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def encode_cursor(listing: str, key: tuple[datetime | str | int, ...]) -> str:
    """Opaque, safe in a URL: the listing's name and the sort key of the last item seen."""
    parts = [(part - _EPOCH) // _MILLISECOND if isinstance(part, datetime) else part for part in key]
    return base64.urlsafe_b64encode(json.dumps([listing, *parts]).encode()).decode().rstrip("=")


def decode_cursor(
    listing: str, cursor: str, types: tuple[type[datetime | str | int], ...]
) -> tuple[datetime | str | int, ...]:
    """The sort key of `encode_cursor`. Raises InvalidRequest for anything else, as for a cursor of another listing."""
    try:
        raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        name, *parts = json.loads(raw)
        if name != listing:
            raise ValueError(name)
        return tuple(_decoded(part, kind) for part, kind in zip(parts, types, strict=True))
    except (ValueError, TypeError, OverflowError, RecursionError, binascii.Error):
        fix = "Leave it out to start from the first page, or take the cursor from the Link of the page before."
        fault = Fault("/cursor", "cursor_invalid", f"{cursor[:80]!r} is not a cursor of this listing.", fix)
        raise InvalidRequest(fault.detail, fix, (fault,)) from None


def _decoded(part: object, kind: type[datetime | str | int]) -> datetime | str | int:
    if kind is str and isinstance(part, str):
        return part
    if kind is not str and isinstance(part, int) and not isinstance(part, bool) and abs(part) < 2**63:
        return _EPOCH + part * _MILLISECOND if kind is datetime else part
    raise TypeError(part)
