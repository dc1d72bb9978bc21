"""Totals of finished runs and living versions, as counters that every change keeps."""

from __future__ import annotations

from alembic import op

revision = "0011_totals"
down_revision = "0010_lanes"

_OVER = "status IN ('success', 'failure', 'canceled')"
_RUN, _KIND = "'|lane=' || lane || '|status=' || status", "'|kind=' || kind"
_TOTALS = (
    ("total_runs", _RUN, "count(*)", f"runs WHERE {_OVER} GROUP BY lane, status"),
    ("total_attempts", _RUN, "sum(attempt)", f"runs WHERE {_OVER} GROUP BY lane, status"),
    ("total_versions", _KIND, "count(*)", "assets WHERE state = 'living' GROUP BY kind"),
    ("total_bytes", _KIND, "sum(size)", "assets WHERE state = 'living' GROUP BY kind"),
)


def upgrade() -> None:
    for name, labels, value, rows in _TOTALS:
        # No value of a user is in the statement.
        op.execute(f"INSERT INTO metrics (name, value) SELECT '{name}' || {labels}, {value} FROM {rows}")  # noqa: S608


def downgrade() -> None:
    raise NotImplementedError("Migrations go forward only: restore a backup instead.")
