"""Further runs that publish a new version even without a change, and counters for the metrics."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005_rerun"
down_revision = "0004_catalog"

# As in the first migration.
TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    op.add_column("runs", sa.Column("new_version", TEXT))
    op.create_table(
        "metrics",
        sa.Column("name", TEXT, nullable=False),
        sa.Column("value", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_metrics"),
    )


def downgrade() -> None:
    raise NotImplementedError("Migrations go forward only: restore a backup instead.")
