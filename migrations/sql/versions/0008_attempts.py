"""How each attempt of a run ended. Earlier attempts have no record."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008_attempts"
down_revision = "0007_api_keys"


def upgrade() -> None:
    op.add_column("runs", sa.Column("attempts", sa.JSON(), nullable=False, server_default="[]"))


def downgrade() -> None:
    raise NotImplementedError("Migrations go forward only: restore a backup instead.")
