"""Totals of finished runs and living versions, kept in the counters by the transactions that change them.

Each is the last statement of its transaction but for inserts: its rows are locked for one commit, and writers that hold
other locks do not wait for each other crosswise.
"""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import Connection

from app.models.asset import Asset
from app.models.runs.run import Run
from app.storage.shared.totals import of_run, of_versions
from app.storage.sql.engine import insert_into
from app.storage.sql.tables import COUNTS


def add_amounts(connection: Connection, amounts: Mapping[str, int]) -> None:
    """Add amounts to the counters of these names, which begin at 0."""
    if not amounts:
        return
    # In one order everywhere, so that two writers do not wait for each other crosswise.
    rows = [{"name": name, "value": amounts[name]} for name in sorted(amounts)]
    statement = insert_into(COUNTS, connection.dialect.name).values(rows)
    more = {"value": COUNTS.c.value + statement.excluded.value}
    connection.execute(statement.on_conflict_do_update(index_elements=[COUNTS.c.name], set_=more))


def add_finished(connection: Connection, run: Run) -> None:
    """Add a run that is over now."""
    add_amounts(connection, of_run(run.lane, run.status.value, run.attempt))


def add_version(connection: Connection, asset: Asset, sign: int = 1) -> None:
    """Add a new version; with sign -1, take away one that was deleted."""
    add_amounts(connection, of_versions(asset.kind, sign * asset.size, sign))
