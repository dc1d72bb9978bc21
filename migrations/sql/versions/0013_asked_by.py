"""Who asked for a run. Runs from before have nobody there: their audit entries name the manifest's uploader."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0013_asked_by"
down_revision = "0012_newest"

# As in the first migration.
TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    op.add_column("runs", sa.Column("asked_by", TEXT))


def downgrade() -> None:
    raise NotImplementedError("Migrations go forward only: restore a backup instead.")
