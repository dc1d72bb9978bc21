"""Deleted versions: when, by whom, why, and whether their objects are removed. Runs whose log was removed."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009_deletion"
down_revision = "0008_attempts"

# As in the first migration.
TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.add_column("assets", sa.Column("state", TEXT, nullable=False, server_default="living"))
    op.add_column("assets", sa.Column("deleted_at", TIME))
    op.add_column("assets", sa.Column("deleted_by", TEXT))
    op.add_column("assets", sa.Column("deleted_reason", TEXT))
    op.add_column("assets", sa.Column("removed_at", TIME))
    op.add_column("runs", sa.Column("log_removed", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.create_index("ix_runs_log", "runs", ["log_removed", "completed_at"])
    due = sa.text("state = 'deleted'")
    listed = ["created_at", "dataset_id", "version"]
    op.create_index("ix_assets_deleted", "assets", listed, sqlite_where=due, postgresql_where=due)


def downgrade() -> None:
    raise NotImplementedError("Migrations go forward only: restore a backup instead.")
