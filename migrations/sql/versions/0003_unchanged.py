"""Runs whose result was in the catalogue already."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003_unchanged"
down_revision = "0002_webhook"


def upgrade() -> None:
    op.add_column("runs", sa.Column("unchanged_version", sa.BigInteger()))


def downgrade() -> None:
    raise NotImplementedError("Migrations go forward only: restore a backup instead.")
