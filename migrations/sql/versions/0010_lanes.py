"""Scheduling: queues of datasets, back-off, lanes. Existing runs are added to the queue of their dataset."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010_lanes"
down_revision = "0009_deletion"

# As in the first migration.
TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.add_column("runs", sa.Column("blocked", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.add_column("runs", sa.Column("not_before", TIME))
    op.create_index("ix_runs_line", "runs", ["partition_key", "status", "created_at", "run_id"])
    op.create_index("ix_runs_ready", "runs", ["status", "lane", "blocked", "created_at", "run_id"])
    op.create_table(
        "dataset_writers",
        sa.Column("dataset_id", TEXT, nullable=False),
        sa.Column("run_id", TEXT, nullable=False),
        sa.PrimaryKeyConstraint("dataset_id", name="pk_dataset_writers"),
    )
    op.create_table(
        "lanes",
        sa.Column("lane", TEXT, nullable=False),
        sa.Column("paused", sa.Boolean(), nullable=False),
        sa.Column("limit", sa.BigInteger()),
        sa.Column("limit_is_set", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("lane", name="pk_lanes"),
    )
    # A run under way is the writer before those that wait. If several are under way, they may end.
    op.execute(
        """INSERT INTO dataset_writers (dataset_id, run_id)
        SELECT partition_key, run_id FROM (
            SELECT partition_key, run_id, row_number() OVER (
                PARTITION BY partition_key ORDER BY CASE status WHEN 'queued' THEN 1 ELSE 0 END, created_at, run_id
            ) AS place FROM runs WHERE status IN ('queued', 'running', 'canceling')
        ) AS line WHERE place = 1"""
    )
    op.execute(
        """UPDATE runs SET blocked = true
        WHERE status = 'queued' AND run_id NOT IN (SELECT run_id FROM dataset_writers)"""
    )


def downgrade() -> None:
    raise NotImplementedError("Migrations go forward only: restore a backup instead.")
