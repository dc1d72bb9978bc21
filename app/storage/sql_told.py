"""What a change tells, in the transaction that makes the change."""

from __future__ import annotations

from sqlalchemy import Connection, insert, update

from app.ledger.told import Told
from app.storage import sql_tables as tables
from app.storage.sql_tables import ACTIVITY, EVENTS, RUNS


def tell(connection: Connection, told: Told, run_id: str | None = None) -> None:
    """run_id: whose log it is."""
    if told.lines:
        last = RUNS.c.last_seq
        count = update(RUNS).where(RUNS.c.run_id == run_id).values(last_seq=last + len(told.lines)).returning(last)
        first = connection.execute(count).scalar_one() - len(told.lines) + 1
        events = [line.event(run_id or "", seq) for seq, line in enumerate(told.lines, first)]
        connection.execute(insert(EVENTS), [tables.event_values(event) for event in events])
    for entry in told.entries:
        # One by one: their order is that of their ids.
        connection.execute(insert(ACTIVITY), tables.activity_values(entry))
