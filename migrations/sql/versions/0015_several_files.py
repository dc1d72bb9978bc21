"""What the patterns of a manifest stood for when it was accepted, and the manifests that it supersedes."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0015_several_files"
down_revision = "0014_checks"


def upgrade() -> None:
    for name in ("files_found", "earlier"):
        op.add_column("manifests", sa.Column(name, sa.JSON(), nullable=False, server_default="[]"))


def downgrade() -> None:
    raise NotImplementedError("Migrations go forward only: restore a backup instead.")
