"""Elections: which process sweeps."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006_leaderships"
down_revision = "0005_rerun"

# As in the first migration.
TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    op.create_table(
        "leaderships",
        sa.Column("role", TEXT, nullable=False),
        sa.Column("owner", TEXT),
        sa.Column("term", sa.BigInteger(), nullable=False),
        sa.Column("beat", sa.BigInteger(), nullable=False),
        sa.Column("seconds", sa.Double(), nullable=False),
        sa.Column("renewed_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("role", name="pk_leaderships"),
    )


def downgrade() -> None:
    raise NotImplementedError("Migrations go forward only: restore a backup instead.")
