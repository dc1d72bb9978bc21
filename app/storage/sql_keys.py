"""API keys in SQL."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, func, or_, select, update

from app.models.api_key import ApiKey
from app.storage import sql_tables as tables
from app.storage.ledger_rules import utc_milliseconds
from app.storage.sql_engine import Database, insert_new, reads, writes
from app.storage.sql_tables import API_KEYS


class SqlKeys:
    """`app.ledger.keys.KeyLedger`; each method is one statement."""

    _db: Database

    @writes
    def add_api_key(self, connection: Connection, key: ApiKey) -> bool:
        statement = insert_new(API_KEYS, self._db.dialect)
        return connection.execute(statement, tables.api_key_values(key)).one_or_none() is not None

    @reads
    def find_api_key(self, connection: Connection, token_hash: str) -> ApiKey | None:
        query = select(API_KEYS).where(API_KEYS.c.token_hash == token_hash)
        row = connection.execute(query).mappings().one_or_none()
        return None if row is None else tables.api_key_from(row)

    @reads
    def list_api_keys(self, connection: Connection) -> tuple[ApiKey, ...]:
        query = select(API_KEYS).order_by(API_KEYS.c.created_at, API_KEYS.c.name)
        return tuple(tables.api_key_from(row) for row in connection.execute(query).mappings())

    @reads
    def has_api_keys(self, connection: Connection) -> bool:
        return connection.execute(select(API_KEYS.c.name).limit(1)).one_or_none() is not None

    @writes
    def revoke_api_key(self, connection: Connection, name: str, at: datetime) -> ApiKey | None:
        c = API_KEYS.c
        # A column that may be set already: the first time counts.
        first = func.coalesce(c.revoked_at, utc_milliseconds(at), type_=c.revoked_at.type)
        statement = update(API_KEYS).where(c.name == name).values(revoked_at=first).returning(*c)
        row = connection.execute(statement).mappings().one_or_none()
        return None if row is None else tables.api_key_from(row)

    @writes
    def mark_api_key_used(self, connection: Connection, name: str, at: datetime) -> None:
        c, moment = API_KEYS.c, utc_milliseconds(at)
        earlier = or_(c.last_used_at.is_(None), c.last_used_at < moment)
        connection.execute(update(API_KEYS).where(c.name == name, earlier).values(last_used_at=moment))
