"""The ledger's tables. `conversion` makes their rows from the frozen domain models, and back.

Every filter of the protocol has an index that ends in the sort key of the listing: a page is one range scan.
"""

from __future__ import annotations

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

from app.storage.shared.search_terms import BOX
from app.storage.sql.types import Json, PlainText, UtcTime

Row = RowMapping
Values = dict[str, Any]


class Base(SQLModel, registry=registry(metadata=MetaData(naming_convention={"pk": "pk_%(table_name)s"}))):
    """Base of the ledger's tables. It has a separate registry: other SQLModels of the process are not in its schema."""


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


def _false() -> Any:
    return Field(default=False, sa_column_kwargs={"server_default": false()})


class ManifestRow(Base, table=True):
    """A manifest. intent, uploader, project and testing repeat parts of the document, for the filters."""

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
    files_found: list[Any] = _json()
    earlier: list[Any] = _json()
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
    """A run. lease is two columns, because compare-and-set checks both.

    last_seq: number of its last event. log_removed: whether its events were removed.
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
    checks: list[Any] = _json()
    error: dict[str, Any] | None = _json()
    reserved_version: int | None = _integer()
    unchanged_version: int | None = _integer()
    new_version: str | None = _text()
    engine: dict[str, Any] = _json()
    traceparent: str | None = _text()
    asked_by: str | None = _text()
    created_at: datetime = _time()
    started_at: datetime | None = _time()
    completed_at: datetime | None = _time()
    revision: int = _integer()
    last_seq: int = _integer()
    log_removed: bool = _false()


class EventRow(Base, table=True):
    """One line of the log of a run."""

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


# Partial indexes: few versions are deleted, few are the newest, and no query needs the others in them.
_LISTED = ("created_at", "dataset_id", "version")
_DELETED: dict[str, Any] = {f"{dialect}_where": text("state = 'deleted'") for dialect in ("sqlite", "postgresql")}
# As SQLAlchemy writes the condition for each of them.
_NEWEST: dict[str, Any] = {"sqlite_where": text("is_newest = 1"), "postgresql_where": text("is_newest")}


class AssetRow(Base, table=True):
    """A version of a dataset. inputs: its whole lineage; asset_inputs repeats the parents, to find children.

    testing and the box in degrees repeat parts of metadata and bounds for the filters, as asset_terms does.
    state: see `deletion_rules`. is_newest: see `newest`.
    """

    __tablename__ = "assets"
    __table_args__ = (
        ForeignKeyConstraint(["run_id"], ["runs.run_id"], name="fk_assets_run_id"),
        UniqueConstraint("s3_key", name="uq_assets_s3_key"),
        Index("ix_assets_newest", "created_at", "dataset_id", "version"),
        Index("ix_assets_dataset_id", "dataset_id", "created_at", "version"),
        Index("ix_assets_run_id", "run_id", "created_at", "dataset_id", "version"),
        Index("ix_assets_deleted", *_LISTED, **_DELETED),
        Index("ix_assets_newest_of", "dataset_id", "version", **_NEWEST),
        Index("ix_assets_catalog", *_LISTED, **_NEWEST),
        Index("ix_assets_kind", "kind", *_LISTED, **_NEWEST),
        Index("ix_assets_testing", "testing", *_LISTED, **_NEWEST),
        # All columns of a bbox filter, in the order of the listing: versions outside of the bbox are not read. And the
        # mark, without which SQLite reads them.
        Index("ix_assets_box", *_LISTED, *BOX, "is_newest", **_NEWEST),
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
    checks: list[Any] = _json()
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
    is_newest: bool = _false()


class TermRow(Base, table=True):
    """A search term of a version (see `app.storage.shared.search_terms`), its place in the listing, and its mark."""

    __tablename__ = "asset_terms"
    __table_args__ = (
        ForeignKeyConstraint(
            ["dataset_id", "version"], ["assets.dataset_id", "assets.version"], name="fk_asset_terms_asset"
        ),
        Index("ix_asset_terms_term", "term", *_LISTED, **_NEWEST),
    )

    dataset_id: str = _text(key=True)
    version: int = _integer(key=True)
    term: str = _text(key=True)
    created_at: datetime = _time()
    is_newest: bool = _false()


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
    """The writer: the one run that may write the dataset. There is no row when all runs of the dataset are over."""

    __tablename__ = "dataset_writers"

    dataset_id: str = _text(key=True)
    run_id: str = _text()


class LaneRow(Base, table=True):
    """The settings of a lane that were changed in the ledger."""

    __tablename__ = "lanes"

    lane: str = _text(key=True)
    paused: bool
    limit: int | None = _integer()
    limit_is_set: bool


class ActivityRow(Base, table=True):
    """An entry of the audit trail."""

    __tablename__ = "activity_logs"
    __table_args__ = (Index("ix_activity_logs_newest", "timestamp", "id"),)

    # SQLite numbers rows only for a key declared INTEGER.
    id: int = Field(sa_type=BigInteger().with_variant(Integer, "sqlite"), primary_key=True)
    timestamp: datetime = _time()
    user: str = _text()
    action: str = _text()
    resource_type: str = _text()
    resource_id: str = _text()
    details: dict[str, Any] = _json()
    ip: str | None = _text()


class DeliveryRow(Base, table=True):
    """A delivery of a webhook."""

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
    """A counter, for the metrics."""

    __tablename__ = "metrics"

    name: str = _text(key=True)
    value: int = _integer()


class ApiKeyRow(Base, table=True):
    """An API key, with the hash of its token only."""

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
    """A migration that was applied."""

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
