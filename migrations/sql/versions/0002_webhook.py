"""The webhook: deliveries, and for manifests the object that they came from and their faults."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002_webhook"
down_revision = "0001_ledger"

# As in the first migration.
TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
TIME = sa.DateTime(timezone=True)
JSON = sa.JSON()
INTEGER = sa.BigInteger()


def upgrade() -> None:
    # ALTER TABLE on SQLite, too: a copy of the table would lose the foreign keys that refer to it.
    op.add_column("manifests", sa.Column("faults", JSON, nullable=False, server_default=sa.text("'[]'")))
    op.add_column("manifests", sa.Column("object_key", TEXT))
    op.add_column("manifests", sa.Column("object_etag", TEXT))
    op.create_index("ix_manifests_object_key", "manifests", ["object_key", "ingested_at", "batch_id"])
    op.create_table(
        "webhook_deliveries",
        sa.Column("delivery_id", TEXT, nullable=False),
        sa.Column("received_at", TIME, nullable=False),
        sa.Column("ip", TEXT),
        sa.Column("body", TEXT, nullable=False),
        sa.Column("status", TEXT, nullable=False),
        sa.Column("outcomes", JSON, nullable=False),
        sa.Column("repeats", INTEGER, nullable=False),
        sa.Column("processed_at", TIME),
        sa.PrimaryKeyConstraint("delivery_id", name="pk_webhook_deliveries"),
    )
    op.create_index("ix_webhook_deliveries_newest", "webhook_deliveries", ["received_at", "delivery_id"])
    op.create_index("ix_webhook_deliveries_status", "webhook_deliveries", ["status", "received_at", "delivery_id"])


def downgrade() -> None:
    raise NotImplementedError("Migrations go forward only: restore a backup instead.")
