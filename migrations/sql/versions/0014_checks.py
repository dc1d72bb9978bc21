"""The results of the checks of a product, of runs and versions. Those from before have none."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0014_checks"
down_revision = "0013_asked_by"


def upgrade() -> None:
    for table in ("runs", "assets"):
        op.add_column(table, sa.Column("checks", sa.JSON(), nullable=False, server_default="[]"))


def downgrade() -> None:
    raise NotImplementedError("Migrations go forward only: restore a backup instead.")
