"""SELECTs that every part of the SQL ledger makes: one row, all rows, or one page of a listing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from sqlalchemy import Column, ColumnElement, Connection, Executable, Select, Table, literal, select, tuple_
from sqlalchemy.sql.elements import KeyedColumnElement

from app.models.page import Page, Slice
from app.storage.shared.ledger_rules import decode_cursor, encode_cursor
from app.storage.sql.engine import Database, insert_new, reads
from app.storage.sql.tables import Row

T = TypeVar("T")


class SqlBase:
    """Base of the parts of the SQL ledger.

    `make` builds a domain model from a row, as the functions `…_from` in `app.storage.sql.conversion` do.
    """

    _db: Database

    def _insert_new(self, connection: Connection, table: Table, values: Mapping[str, Any]) -> Row | None:
        """Insert a row and return it as stored; None when one of its unique keys exists."""
        return connection.execute(insert_new(table, self._db.dialect), values).mappings().one_or_none()

    async def _one(self, query: Select[Any], make: Callable[[Row], T]) -> T | None:
        return await self._db.read(lambda connection: one(connection, query, make))

    async def _all(self, query: Select[Any], make: Callable[[Row], T]) -> tuple[T, ...]:
        return await self._db.read(lambda connection: tuple(map(make, connection.execute(query).mappings())))

    async def _rows(self, query: Select[Any]) -> Sequence[Any]:
        return await self._db.read(lambda connection: connection.execute(query).all())

    async def _page(
        self,
        table: Table,
        terms: Sequence[ColumnElement[bool]],
        key: tuple[Column[Any], ...],
        make: Callable[[Row], T],
        page: Page,
    ) -> Slice[T]:
        return await self._page_of((select(table).where(*terms),), key, make, page, table.name)

    @reads
    def _page_of(
        self,
        connection: Connection,
        queries: Sequence[Select[Any]],
        key: tuple[KeyedColumnElement[Any], ...],
        make: Callable[[Row], T],
        page: Page,
        listing: str,
    ) -> Slice[T]:
        """One page, newest first by `key`, whose last column is unique: rows of equal time keep their order.

        queries: give different rows. Each reads no more than a page, in the order of an index; a single one with `OR`
        would read and sort all its rows.
        """
        if page.limit < 1:
            raise ValueError(f"A page has at least one item, not {page.limit}.")
        if page.cursor is not None:
            last = decode_cursor(listing, page.cursor, tuple(column.type.python_type for column in key))
            seen = tuple_(*(literal(value, column.type) for value, column in zip(last, key, strict=True)))
            queries = [query.where(tuple_(*key) < seen) for query in queries]
        newest = [query.order_by(*(column.desc() for column in key)).limit(page.limit + 1) for query in queries]
        rows = [row for query in newest for row in connection.execute(query).mappings()]
        if len(queries) > 1:
            rows.sort(key=lambda row: tuple(row[column.key] for column in key), reverse=True)
        cursor = None
        if len(rows) > page.limit:
            cursor = encode_cursor(listing, tuple(rows[page.limit - 1][column.key] for column in key))
        return Slice(tuple(make(row) for row in rows[: page.limit]), cursor)


def equal(table: Table, wanted: Mapping[str, Any]) -> list[ColumnElement[bool]]:
    """Return a condition for each column with a wanted value that is not None."""
    return [table.c[name] == value for name, value in wanted.items() if value is not None]


def one(connection: Connection, statement: Executable, make: Callable[[Row], T]) -> T | None:
    """Return what `make` makes of the only row of a statement, or None when there is no row."""
    row = connection.execute(statement).mappings().one_or_none()
    return None if row is None else make(row)
