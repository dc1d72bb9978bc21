"""${message}."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

# The file's name without .py; `migrate` compares file names with schema_migrations.
revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}


def upgrade() -> None:
    ${upgrades if upgrades else "pass"}


def downgrade() -> None:
    raise NotImplementedError("Migrations go forward only: restore a backup instead.")
