"""The mark of the newest versions, also of existing ones; the indexes of the catalogue have only these versions."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012_newest"
down_revision = "0011_totals"

_BOX = ("box_west", "box_east", "box_south", "box_north", "gap_west", "gap_east")
_LISTED = ("created_at", "dataset_id", "version")
_NEWEST = {"sqlite_where": sa.text("is_newest = 1"), "postgresql_where": sa.text("is_newest")}
_INDEXES: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("ix_assets_newest_of", "assets", ("dataset_id", "version")),
    ("ix_assets_catalog", "assets", _LISTED),
    ("ix_assets_kind", "assets", ("kind", *_LISTED)),
    ("ix_assets_testing", "assets", ("testing", *_LISTED)),
    ("ix_assets_box", "assets", (*_LISTED, *_BOX, "is_newest")),
    ("ix_asset_terms_term", "asset_terms", ("term", *_LISTED)),
)
_MARKED = (
    "assets WHERE state = 'living' GROUP BY dataset_id",
    "assets GROUP BY dataset_id",
)


def upgrade() -> None:
    # Those of earlier releases, of all versions.
    for name, table, _ in _INDEXES[2:]:
        op.drop_index(name, table)
    for table in ("assets", "asset_terms"):
        op.add_column(table, sa.Column("is_newest", sa.Boolean(), nullable=False, server_default=sa.false()))
    for rows in _MARKED:
        newest = f"SELECT dataset_id, max(version) FROM {rows}"  # noqa: S608 # no value of a user is in the statement
        op.execute(f"UPDATE assets SET is_newest = true WHERE (dataset_id, version) IN ({newest})")  # noqa: S608 # as above
    marked = "SELECT dataset_id, version FROM assets WHERE is_newest"
    op.execute(f"UPDATE asset_terms SET is_newest = true WHERE (dataset_id, version) IN ({marked})")  # noqa: S608 # as above
    for name, table, columns in _INDEXES:
        op.create_index(name, table, list(columns), **_NEWEST)


def downgrade() -> None:
    raise NotImplementedError("Migrations go forward only: restore a backup instead.")
