"""Search in the catalogue: terms, test runs and the box in degrees; also of existing versions."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

from app.storage.shared.search_terms import SEARCHED, box_fields, searchable_fields

revision = "0004_catalog"
down_revision = "0003_unchanged"

# As in the first migration.
TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
TIME = sa.DateTime(timezone=True)
INTEGER = sa.BigInteger()
JSON = sa.JSON()

BOX = ("box_west", "box_east", "box_south", "box_north", "gap_west", "gap_east")
BATCH = 500


def upgrade() -> None:
    op.add_column("assets", sa.Column("testing", sa.Boolean(), nullable=False, server_default=sa.false()))
    for name in BOX:
        op.add_column("assets", sa.Column(name, sa.Double()))
    op.create_table(
        "asset_terms",
        sa.Column("dataset_id", TEXT, nullable=False),
        sa.Column("version", INTEGER, nullable=False),
        sa.Column("term", TEXT, nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("dataset_id", "version", "term", name="pk_asset_terms"),
        sa.ForeignKeyConstraint(
            ["dataset_id", "version"], ["assets.dataset_id", "assets.version"], name="fk_asset_terms_asset"
        ),
    )
    _fill()
    listed = ["created_at", "dataset_id", "version"]
    op.create_index("ix_asset_terms_term", "asset_terms", ["term", *listed])
    op.create_index("ix_assets_testing", "assets", ["testing", *listed])
    op.create_index("ix_assets_box", "assets", [*listed, *BOX])


def _fill() -> None:
    """In batches, because a catalogue may not fit into memory."""
    types: dict[str, Any] = dict.fromkeys(SEARCHED, TEXT) | dict.fromkeys(BOX, sa.Double())
    types |= {"bounds": JSON, "metadata": JSON, "statistics": JSON}
    types |= {"version": INTEGER, "created_at": TIME, "testing": sa.Boolean(), "term": TEXT}
    assets = sa.table("assets", *(sa.column(name, kind) for name, kind in types.items() if name != "term"))
    of_terms = ("dataset_id", "version", "term", "created_at")
    terms = sa.table("asset_terms", *(sa.column(name, types[name]) for name in of_terms))
    key = (assets.c.dataset_id, assets.c.version)
    connection, last = op.get_bind(), ("", 0)
    while True:
        done = sa.tuple_(*(sa.literal(value, column.type) for value, column in zip(last, key, strict=True)))
        query = sa.select(assets).where(sa.tuple_(*key) > done)
        rows = connection.execute(query.order_by(*key).limit(BATCH)).mappings().all()
        for row in rows:
            last = (row["dataset_id"], row["version"])
            found = searchable_fields({name: row[name] for name in SEARCHED})
            own = sa.and_(*(column == value for column, value in zip(key, last, strict=True)))
            values = {"testing": found.testing, **box_fields(found.box)}
            connection.execute(sa.update(assets).where(own).values(values))
            named = {"dataset_id": last[0], "version": last[1], "created_at": row["created_at"]}
            if found.terms:
                connection.execute(sa.insert(terms), [named | {"term": term} for term in found.terms])
        if len(rows) < BATCH:
            return


def downgrade() -> None:
    raise NotImplementedError("Migrations go forward only: restore a backup instead.")
