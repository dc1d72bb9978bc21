"""The ledger's tables, and the way between their rows and the frozen domain models.

Every filter and order of the protocol has an index that ends in the sort key of the listing: a page is one range scan.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    Double,
    ForeignKeyConstraint,
    Index,
    Integer,
    MetaData,
    RowMapping,
    Table,
    UniqueConstraint,
    false,
    text,
)
from sqlalchemy.orm import registry
from sqlmodel import Field, SQLModel

from app.models.activity import Activity
from app.models.api_key import ApiKey
from app.models.asset import Asset, Deletion, ParentInput
from app.models.delivery import Delivery
from app.models.manifest import ManifestRecord
from app.models.run import Lease, Run, RunEvent
from app.storage.deletion_rules import state_of
from app.storage.ledger_rules import attempts_of, filterable, utc_milliseconds
from app.storage.ledger_search import BOX, box_fields, searchable
from app.storage.sql_types import Json, PlainText, UtcTime

Row = RowMapping
Values = dict[str, Any]


class Base(SQLModel, registry=registry(metadata=MetaData(naming_convention={"pk": "pk_%(table_name)s"}))):
    """Tables of the ledger; a registry of their own, so that no other SQLModel of the process joins the schema."""


def _text(*, key: bool = False) -> Any:
    return Field(sa_type=PlainText, primary_key=key)


def _time() -> Any:
    return Field(sa_type=UtcTime)


def _json() -> Any:
    return Field(sa_type=Json)


def _integer(*, key: bool = False) -> Any:
    return Field(sa_type=BigInteger, primary_key=key, sa_column_kwargs={"autoincrement": False})


def _degrees() -> Any:
    return Field(sa_type=Double)


class ManifestRow(Base, table=True):
    """intent, uploader, project and testing repeat what the document says, for the filters."""

    __tablename__ = "manifests"
    __table_args__ = (
        Index("ix_manifests_newest", "ingested_at", "batch_id"),
        Index("ix_manifests_status", "status", "ingested_at", "batch_id"),
        Index("ix_manifests_intent", "intent", "ingested_at", "batch_id"),
        Index("ix_manifests_uploader", "uploader", "ingested_at", "batch_id"),
        Index("ix_manifests_project", "project", "ingested_at", "batch_id"),
        Index("ix_manifests_testing", "testing", "ingested_at", "batch_id"),
        Index("ix_manifests_object_key", "object_key", "ingested_at", "batch_id"),
    )

    batch_id: str = _text(key=True)
    manifest: dict[str, Any] = _json()
    content_hash: str = _text()
    source: str = _text()
    status: str = _text()
    error_message: str | None = _text()
    faults: list[Any] = _json()
    object_key: str | None = _text()
    object_etag: str | None = _text()
    ingested_at: datetime = _time()
    completed_at: datetime | None = _time()
    intent: str | None = _text()
    uploader: str | None = _text()
    project: str | None = _text()
    testing: bool


class RunRow(Base, table=True):
    """lease is two columns because compare-and-set looks at both; last_seq numbers the run's events.

    log_removed: these were removed.
    """

    __tablename__ = "runs"
    __table_args__ = (
        ForeignKeyConstraint(["batch_id"], ["manifests.batch_id"], name="fk_runs_batch_id"),
        Index("ix_runs_newest", "created_at", "run_id"),
        Index("ix_runs_status", "status", "created_at", "run_id"),
        Index("ix_runs_batch_id", "batch_id", "created_at", "run_id"),
        Index("ix_runs_partition_key", "partition_key", "created_at", "run_id"),
        Index("ix_runs_lane", "lane", "created_at", "run_id"),
        Index("ix_runs_log", "log_removed", "completed_at"),
        # Who is next: of a dataset, and of a lane.
        Index("ix_runs_line", "partition_key", "status", "created_at", "run_id"),
        Index("ix_runs_ready", "status", "lane", "blocked", "created_at", "run_id"),
    )

    run_id: str = _text(key=True)
    batch_id: str = _text()
    job_name: str = _text()
    lane: str = _text()
    partition_key: str = _text()
    status: str = _text()
    attempt: int = _integer()
    attempts: list[Any] = _json()
    blocked: bool
    not_before: datetime | None = _time()
    lease_owner: str | None = _text()
    lease_expires_at: datetime | None = _time()
    retry_of: str | None = _text()
    step: str | None = _text()
    progress: dict[str, Any] = _json()
    counts: dict[str, Any] = _json()
    warnings: list[Any] = _json()
    error: dict[str, Any] | None = _json()
    reserved_version: int | None = _integer()
    unchanged_version: int | None = _integer()
    new_version: str | None = _text()
    engine: dict[str, Any] = _json()
    traceparent: str | None = _text()
    created_at: datetime = _time()
    started_at: datetime | None = _time()
    completed_at: datetime | None = _time()
    revision: int = _integer()
    last_seq: int = _integer()
    log_removed: bool = Field(default=False, sa_column_kwargs={"server_default": false()})


class EventRow(Base, table=True):
    __tablename__ = "run_events"
    __table_args__ = (ForeignKeyConstraint(["run_id"], ["runs.run_id"], name="fk_run_events_run_id"),)

    run_id: str = _text(key=True)
    seq: int = _integer(key=True)
    at: datetime = _time()
    level: str = _text()
    step: str | None = _text()
    code: str = _text()
    message: str = _text()
    data: dict[str, Any] = _json()


# Of few versions, and of no use to any query of the others.
_LISTED, _IS_DUE = ("created_at", "dataset_id", "version"), "state = 'deleted'"


class AssetRow(Base, table=True):
    """inputs is the whole lineage of the version; asset_inputs repeats its parents for the way down.

    testing and the box in degrees repeat what metadata and bounds say, for the filters, as asset_terms does.
    state: see `deletion_rules`.
    """

    __tablename__ = "assets"
    __table_args__ = (
        ForeignKeyConstraint(["run_id"], ["runs.run_id"], name="fk_assets_run_id"),
        UniqueConstraint("s3_key", name="uq_assets_s3_key"),
        Index("ix_assets_newest", "created_at", "dataset_id", "version"),
        Index("ix_assets_dataset_id", "dataset_id", "created_at", "version"),
        Index("ix_assets_run_id", "run_id", "created_at", "dataset_id", "version"),
        Index("ix_assets_kind", "kind", "created_at", "dataset_id", "version"),
        Index("ix_assets_deleted", *_LISTED, sqlite_where=text(_IS_DUE), postgresql_where=text(_IS_DUE)),
        Index("ix_assets_testing", "testing", "created_at", "dataset_id", "version"),
        # All that a bbox asks for, in the order of the listing: no version is read that lies elsewhere.
        Index("ix_assets_box", "created_at", "dataset_id", "version", *BOX),
    )

    dataset_id: str = _text(key=True)
    version: int = _integer(key=True)
    s3_key: str = _text()
    content_hash: str = _text()
    size: int = _integer()
    kind: str = _text()
    format: str = _text()
    crs: str | None = _text()
    bounds: dict[str, Any] | None = _json()
    run_id: str = _text()
    inputs: list[Any] = _json()
    metadata_: dict[str, Any] = Field(sa_type=Json, sa_column_kwargs={"name": "metadata", "key": "metadata"})
    statistics: dict[str, Any] = _json()
    created_at: datetime = _time()
    testing: bool
    box_west: float | None = _degrees()
    box_south: float | None = _degrees()
    box_east: float | None = _degrees()
    box_north: float | None = _degrees()
    gap_west: float | None = _degrees()
    gap_east: float | None = _degrees()
    state: str = _text()
    deleted_at: datetime | None = _time()
    deleted_by: str | None = _text()
    deleted_reason: str | None = _text()
    removed_at: datetime | None = _time()


class TermRow(Base, table=True):
    """Something that a version is searched by (see `ledger_search`), and the version's place in the listing."""

    __tablename__ = "asset_terms"
    __table_args__ = (
        ForeignKeyConstraint(
            ["dataset_id", "version"], ["assets.dataset_id", "assets.version"], name="fk_asset_terms_asset"
        ),
        Index("ix_asset_terms_term", "term", "created_at", "dataset_id", "version"),
    )

    dataset_id: str = _text(key=True)
    version: int = _integer(key=True)
    term: str = _text(key=True)
    created_at: datetime = _time()


class InputRow(Base, table=True):
    """One parent of one version; position counts within the version."""

    __tablename__ = "asset_inputs"
    __table_args__ = (
        ForeignKeyConstraint(
            ["dataset_id", "version"], ["assets.dataset_id", "assets.version"], name="fk_asset_inputs_asset"
        ),
        Index("ix_asset_inputs_parent", "parent_dataset_id", "parent_version", "dataset_id", "version"),
    )

    dataset_id: str = _text(key=True)
    version: int = _integer(key=True)
    position: int = _integer(key=True)
    parent_dataset_id: str = _text()
    parent_version: int = _integer()
    role: str = _text()


class CounterRow(Base, table=True):
    """The newest version number given out for a dataset, whether or not it was published."""

    __tablename__ = "dataset_versions"

    dataset_id: str = _text(key=True)
    last_version: int = _integer()


class WriterRow(Base, table=True):
    """Whose turn it is: the one run that may write the dataset. None is left when no run of it is."""

    __tablename__ = "dataset_writers"

    dataset_id: str = _text(key=True)
    run_id: str = _text()


class LaneRow(Base, table=True):
    """What somebody has set for a lane."""

    __tablename__ = "lanes"

    lane: str = _text(key=True)
    paused: bool
    limit: int | None = _integer()
    limit_is_set: bool


class ActivityRow(Base, table=True):
    __tablename__ = "activity_logs"
    __table_args__ = (Index("ix_activity_logs_newest", "timestamp", "id"),)

    # SQLite numbers rows by itself only for a key declared INTEGER.
    id: int = Field(sa_type=BigInteger().with_variant(Integer, "sqlite"), primary_key=True)
    timestamp: datetime = _time()
    user: str = _text()
    action: str = _text()
    resource_type: str = _text()
    resource_id: str = _text()
    details: dict[str, Any] = _json()
    ip: str | None = _text()


class DeliveryRow(Base, table=True):
    __tablename__ = "webhook_deliveries"
    __table_args__ = (
        Index("ix_webhook_deliveries_newest", "received_at", "delivery_id"),
        Index("ix_webhook_deliveries_status", "status", "received_at", "delivery_id"),
    )

    delivery_id: str = _text(key=True)
    received_at: datetime = _time()
    ip: str | None = _text()
    body: str = _text()
    status: str = _text()
    outcomes: list[Any] = _json()
    repeats: int = _integer()
    processed_at: datetime | None = _time()


class CountRow(Base, table=True):
    """What was counted, for the metrics."""

    __tablename__ = "metrics"

    name: str = _text(key=True)
    value: int = _integer()


class ApiKeyRow(Base, table=True):
    __tablename__ = "api_keys"
    __table_args__ = (UniqueConstraint("token_hash", name="uq_api_keys_token_hash"),)

    name: str = _text(key=True)
    token_hash: str = _text()
    scope: str = _text()
    prefixes: list[Any] = _json()
    created_at: datetime = _time()
    expires_at: datetime | None = _time()
    last_used_at: datetime | None = _time()
    revoked_at: datetime | None = _time()


class MigrationRow(Base, table=True):
    __tablename__ = "schema_migrations"

    version: str = _text(key=True)
    applied_at: datetime = _time()
    duration_ms: int = _integer()


def _table(row: type[Base]) -> Table:
    return Base.metadata.tables[str(row.__tablename__)]


MANIFESTS, RUNS, EVENTS = _table(ManifestRow), _table(RunRow), _table(EventRow)
ASSETS, TERMS, INPUTS, COUNTERS = _table(AssetRow), _table(TermRow), _table(InputRow), _table(CounterRow)
ACTIVITY, DELIVERIES, MIGRATIONS = _table(ActivityRow), _table(DeliveryRow), _table(MigrationRow)
COUNTS, API_KEYS = _table(CountRow), _table(ApiKeyRow)
WRITERS, LANES = _table(WriterRow), _table(LaneRow)


def _times(values: Values) -> Values:
    return {name: utc_milliseconds(value) if isinstance(value, datetime) else value for name, value in values.items()}


def manifest_values(record: ManifestRecord) -> Values:
    values = record.model_dump(mode="json") | {"ingested_at": record.ingested_at, "completed_at": record.completed_at}
    return _times(values | filterable(record))


def manifest_from(row: Row) -> ManifestRecord:
    return ManifestRecord.model_validate({name: row[name] for name in ManifestRecord.model_fields})


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
    """The columns that hold `fields` of the run."""
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
    """Columns of assets."""
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
        said = {"at": row["deleted_at"], "by": row["deleted_by"], "reason": row["deleted_reason"]}
        deletion = Deletion(**said, removed_at=row["removed_at"])
    fields = {name: row[name] for name in Asset.model_fields if name != "deletion"}
    return Asset.model_validate(fields | {"deletion": deletion})


def term_values(asset: Asset) -> list[Values]:
    """Rows of asset_terms."""
    own = {"dataset_id": asset.dataset_id, "version": asset.version, "created_at": utc_milliseconds(asset.created_at)}
    return [own | {"term": term} for term in searchable(asset).terms]


def parent_values(asset: Asset) -> list[Values]:
    """Rows of asset_inputs; source objects have none."""
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
