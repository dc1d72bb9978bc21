"""The mark of the newest version of a dataset (`is_newest`), by which the catalogue is listed.

It is at the newest version that is not deleted, and at the version with the highest number: most often the same one.
Every transaction that adds, deletes or removes a version moves the marks of that dataset. It locks the dataset first,
by the row of its counter, so that two of them do not miss each other's versions. The terms of a version have its mark.
"""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import ColumnElement, Connection, Table, func, select, update

from app.storage.shared.deletion_rules import LIVING
from app.storage.sql.engine import insert_into
from app.storage.sql.tables import ASSETS, COUNTERS, TERMS


def lock_dataset(connection: Connection, dataset_id: str) -> None:
    """Lock the dataset until the transaction ends. Lock it before versions of it."""
    of_it = select(COUNTERS.c.dataset_id).where(COUNTERS.c.dataset_id == dataset_id).with_for_update()
    if connection.execute(of_it).first() is None:
        new = insert_into(COUNTERS, connection.dialect.name).values(dataset_id=dataset_id, last_version=0)
        connection.execute(new.on_conflict_do_nothing())
        connection.execute(of_it)


def move_marks(connection: Connection, dataset_id: str) -> None:
    """Mark the versions of a locked dataset that are to be marked, and no others."""
    c = ASSETS.c
    of_it = c.dataset_id == dataset_id
    wanted = {_highest(connection, of_it), _highest(connection, of_it, c.state == LIVING)} - {None}
    marked = set(connection.execute(select(c.version).where(of_it, c.is_newest)).scalars())
    for is_newest, versions in ((False, marked - wanted), (True, wanted - marked)):
        if versions:
            for table in (ASSETS, TERMS):
                _set_mark(connection, table, dataset_id, versions, is_newest=is_newest)


def _highest(connection: Connection, *terms: ColumnElement[bool]) -> int | None:
    highest: int | None = connection.execute(select(func.max(ASSETS.c.version)).where(*terms)).scalar_one()
    return highest


def _set_mark(
    connection: Connection, table: Table, dataset_id: str, versions: Collection[int | None], *, is_newest: bool
) -> None:
    own = (table.c.dataset_id == dataset_id, table.c.version.in_(sorted(filter(None, versions))))
    connection.execute(update(table).where(*own).values(is_newest=is_newest))
