"""The ledger: manifests, runs and their events, assets and their parents, version counters, audit trail."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001_ledger"
down_revision = None

# Sorted by code points on every database, so that pages do not depend on the language of the server.
TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
TIME = sa.DateTime(timezone=True)
# Not JSONB, which loses the order of keys.
JSON = sa.JSON()
INTEGER = sa.BigInteger()


def upgrade() -> None:
    op.create_table(
        "schema_migrations",
        sa.Column("version", TEXT, nullable=False),
        sa.Column("applied_at", TIME, nullable=False),
        sa.Column("duration_ms", INTEGER, nullable=False),
        sa.PrimaryKeyConstraint("version", name="pk_schema_migrations"),
    )
    _manifests()
    _runs()
    _run_events()
    _assets()
    _asset_inputs()
    op.create_table(
        "dataset_versions",
        sa.Column("dataset_id", TEXT, nullable=False),
        sa.Column("last_version", INTEGER, nullable=False),
        sa.PrimaryKeyConstraint("dataset_id", name="pk_dataset_versions"),
    )
    _activity_logs()


def _manifests() -> None:
    op.create_table(
        "manifests",
        sa.Column("batch_id", TEXT, nullable=False),
        sa.Column("manifest", JSON, nullable=False),
        sa.Column("content_hash", TEXT, nullable=False),
        sa.Column("source", TEXT, nullable=False),
        sa.Column("status", TEXT, nullable=False),
        sa.Column("error_message", TEXT),
        sa.Column("ingested_at", TIME, nullable=False),
        sa.Column("completed_at", TIME),
        # Repeated from the document, for the filters.
        sa.Column("intent", TEXT),
        sa.Column("uploader", TEXT),
        sa.Column("project", TEXT),
        sa.Column("testing", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("batch_id", name="pk_manifests"),
    )
    op.create_index("ix_manifests_newest", "manifests", ["ingested_at", "batch_id"])
    for name in ("status", "intent", "uploader", "project", "testing"):
        op.create_index(f"ix_manifests_{name}", "manifests", [name, "ingested_at", "batch_id"])


def _runs() -> None:
    op.create_table(
        "runs",
        sa.Column("run_id", TEXT, nullable=False),
        sa.Column("batch_id", TEXT, nullable=False),
        sa.Column("job_name", TEXT, nullable=False),
        sa.Column("lane", TEXT, nullable=False),
        sa.Column("partition_key", TEXT, nullable=False),
        sa.Column("status", TEXT, nullable=False),
        sa.Column("attempt", INTEGER, nullable=False),
        sa.Column("lease_owner", TEXT),
        sa.Column("lease_expires_at", TIME),
        sa.Column("retry_of", TEXT),
        sa.Column("step", TEXT),
        sa.Column("progress", JSON, nullable=False),
        sa.Column("counts", JSON, nullable=False),
        sa.Column("warnings", JSON, nullable=False),
        sa.Column("error", JSON),
        sa.Column("reserved_version", INTEGER),
        sa.Column("engine", JSON, nullable=False),
        sa.Column("traceparent", TEXT),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("started_at", TIME),
        sa.Column("completed_at", TIME),
        sa.Column("revision", INTEGER, nullable=False),
        # Number of the run's last event.
        sa.Column("last_seq", INTEGER, nullable=False),
        sa.PrimaryKeyConstraint("run_id", name="pk_runs"),
        sa.ForeignKeyConstraint(["batch_id"], ["manifests.batch_id"], name="fk_runs_batch_id"),
    )
    op.create_index("ix_runs_newest", "runs", ["created_at", "run_id"])
    for name in ("status", "batch_id", "partition_key", "lane"):
        op.create_index(f"ix_runs_{name}", "runs", [name, "created_at", "run_id"])


def _run_events() -> None:
    op.create_table(
        "run_events",
        sa.Column("run_id", TEXT, nullable=False),
        sa.Column("seq", INTEGER, nullable=False),
        sa.Column("at", TIME, nullable=False),
        sa.Column("level", TEXT, nullable=False),
        sa.Column("step", TEXT),
        sa.Column("code", TEXT, nullable=False),
        sa.Column("message", TEXT, nullable=False),
        sa.Column("data", JSON, nullable=False),
        sa.PrimaryKeyConstraint("run_id", "seq", name="pk_run_events"),
        sa.ForeignKeyConstraint(["run_id"], ["runs.run_id"], name="fk_run_events_run_id"),
    )


def _assets() -> None:
    op.create_table(
        "assets",
        sa.Column("dataset_id", TEXT, nullable=False),
        sa.Column("version", INTEGER, nullable=False),
        sa.Column("s3_key", TEXT, nullable=False),
        sa.Column("content_hash", TEXT, nullable=False),
        sa.Column("size", INTEGER, nullable=False),
        sa.Column("kind", TEXT, nullable=False),
        sa.Column("format", TEXT, nullable=False),
        sa.Column("crs", TEXT),
        sa.Column("bounds", JSON),
        sa.Column("run_id", TEXT, nullable=False),
        sa.Column("inputs", JSON, nullable=False),
        sa.Column("metadata", JSON, nullable=False),
        sa.Column("statistics", JSON, nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("dataset_id", "version", name="pk_assets"),
        sa.UniqueConstraint("s3_key", name="uq_assets_s3_key"),
        sa.ForeignKeyConstraint(["run_id"], ["runs.run_id"], name="fk_assets_run_id"),
    )
    op.create_index("ix_assets_newest", "assets", ["created_at", "dataset_id", "version"])
    op.create_index("ix_assets_dataset_id", "assets", ["dataset_id", "created_at", "version"])
    for name in ("run_id", "kind"):
        op.create_index(f"ix_assets_{name}", "assets", [name, "created_at", "dataset_id", "version"])


def _asset_inputs() -> None:
    """Parents only, repeated from assets.inputs to find children."""
    op.create_table(
        "asset_inputs",
        sa.Column("dataset_id", TEXT, nullable=False),
        sa.Column("version", INTEGER, nullable=False),
        sa.Column("position", INTEGER, nullable=False),
        sa.Column("parent_dataset_id", TEXT, nullable=False),
        sa.Column("parent_version", INTEGER, nullable=False),
        sa.Column("role", TEXT, nullable=False),
        sa.PrimaryKeyConstraint("dataset_id", "version", "position", name="pk_asset_inputs"),
        sa.ForeignKeyConstraint(
            ["dataset_id", "version"],
            ["assets.dataset_id", "assets.version"],
            name="fk_asset_inputs_asset",
        ),
    )
    parent = ["parent_dataset_id", "parent_version", "dataset_id", "version"]
    op.create_index("ix_asset_inputs_parent", "asset_inputs", parent)


def _activity_logs() -> None:
    op.create_table(
        "activity_logs",
        # SQLite numbers rows only for a key declared INTEGER.
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("timestamp", TIME, nullable=False),
        sa.Column("user", TEXT, nullable=False),
        sa.Column("action", TEXT, nullable=False),
        sa.Column("resource_type", TEXT, nullable=False),
        sa.Column("resource_id", TEXT, nullable=False),
        sa.Column("details", JSON, nullable=False),
        sa.Column("ip", TEXT),
        sa.PrimaryKeyConstraint("id", name="pk_activity_logs"),
    )
    op.create_index("ix_activity_logs_newest", "activity_logs", ["timestamp", "id"])


def downgrade() -> None:
    raise NotImplementedError("Migrations go forward only: restore a backup instead.")
