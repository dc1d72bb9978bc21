"""Log lines and audit entries in SQL, written in the transaction of the change that they belong to."""

from __future__ import annotations

from sqlalchemy import Connection, insert, update

from app.ledger.outbox import Outbox
from app.storage.sql import conversion
from app.storage.sql.tables import ACTIVITY, EVENTS, RUNS


def write_outbox(connection: Connection, outbox: Outbox, run_id: str | None = None) -> None:
    """Write the lines to the log of this run, and the entries to the audit trail."""
    if outbox.lines:
        last = RUNS.c.last_seq
        count = update(RUNS).where(RUNS.c.run_id == run_id).values(last_seq=last + len(outbox.lines)).returning(last)
        first = connection.execute(count).scalar_one() - len(outbox.lines) + 1
        events = [line.event(run_id or "", seq) for seq, line in enumerate(outbox.lines, first)]
        connection.execute(insert(EVENTS), [conversion.event_values(event) for event in events])
    for entry in outbox.entries:
        # One by one: their order is that of their ids.
        connection.execute(insert(ACTIVITY), conversion.activity_values(entry))
