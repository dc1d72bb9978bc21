"""What the patterns of a manifest stood for when it was accepted. Earlier manifests had no patterns."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0015_files_found"
down_revision = "0014_checks"


def upgrade() -> None:
    op.add_column("manifests", sa.Column("files_found", sa.JSON(), nullable=False, server_default="[]"))


def downgrade() -> None:
    raise NotImplementedError("Migrations go forward only: restore a backup instead.")
