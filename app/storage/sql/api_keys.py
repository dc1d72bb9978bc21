"""API keys in SQL."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, func, or_, select, update

from app.models.api_key import ApiKey
from app.storage.shared.ledger_rules import utc_milliseconds
from app.storage.sql import conversion
from app.storage.sql.base import SqlBase, one
from app.storage.sql.engine import reads, writes
from app.storage.sql.tables import API_KEYS


class SqlApiKeys(SqlBase):
    """`app.ledger.api_keys.ApiKeyLedger` in SQL; each method is one statement."""

    @writes
    def add_api_key(self, connection: Connection, key: ApiKey) -> bool:
        return self._insert_new(connection, API_KEYS, conversion.api_key_values(key)) is not None

    async def find_api_key(self, token_hash: str) -> ApiKey | None:
        return await self._one(select(API_KEYS).where(API_KEYS.c.token_hash == token_hash), conversion.api_key_from)

    async def list_api_keys(self) -> tuple[ApiKey, ...]:
        query = select(API_KEYS).order_by(API_KEYS.c.created_at, API_KEYS.c.name)
        return await self._all(query, conversion.api_key_from)

    @reads
    def has_api_keys(self, connection: Connection) -> bool:
        return connection.execute(select(API_KEYS.c.name).limit(1)).one_or_none() is not None

    @writes
    def revoke_api_key(self, connection: Connection, name: str, at: datetime) -> ApiKey | None:
        c = API_KEYS.c
        # The first revocation counts.
        first = func.coalesce(c.revoked_at, utc_milliseconds(at), type_=c.revoked_at.type)
        statement = update(API_KEYS).where(c.name == name).values(revoked_at=first).returning(*c)
        return one(connection, statement, conversion.api_key_from)

    @writes
    def mark_api_key_used(self, connection: Connection, name: str, at: datetime) -> None:
        c, moment = API_KEYS.c, utc_milliseconds(at)
        earlier = or_(c.last_used_at.is_(None), c.last_used_at < moment)
        connection.execute(update(API_KEYS).where(c.name == name, earlier).values(last_used_at=moment))
