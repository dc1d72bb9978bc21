"""API keys in SQL."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import func, or_, select, update

from app.models.api_key import ApiKey
from app.storage import sql_tables as tables
from app.storage.ledger_rules import utc_milliseconds
from app.storage.sql_engine import Database, insert_into
from app.storage.sql_tables import API_KEYS


class SqlKeys:
    """`app.ledger.keys.KeyLedger`; each method is one statement."""

    _db: Database

    async def add_api_key(self, key: ApiKey) -> bool:
        statement = insert_into(API_KEYS, self._db.dialect).values(tables.api_key_values(key))
        added = statement.on_conflict_do_nothing().returning(API_KEYS.c.name)

        async def add() -> bool:
            async with self._db.write() as connection:
                return (await connection.execute(added)).one_or_none() is not None

        return await self._db.finish(add())

    async def find_api_key(self, token_hash: str) -> ApiKey | None:
        async def find() -> ApiKey | None:
            async with self._db.read() as connection:
                query = select(API_KEYS).where(API_KEYS.c.token_hash == token_hash)
                row = (await connection.execute(query)).mappings().one_or_none()
                return None if row is None else tables.api_key_from(row)

        return await self._db.finish(find())

    async def list_api_keys(self) -> tuple[ApiKey, ...]:
        async def read() -> tuple[ApiKey, ...]:
            async with self._db.read() as connection:
                query = select(API_KEYS).order_by(API_KEYS.c.created_at, API_KEYS.c.name)
                rows = (await connection.execute(query)).mappings().all()
                return tuple(tables.api_key_from(row) for row in rows)

        return await self._db.finish(read())

    async def has_api_keys(self) -> bool:
        async def look() -> bool:
            async with self._db.read() as connection:
                return (await connection.execute(select(API_KEYS.c.name).limit(1))).one_or_none() is not None

        return await self._db.finish(look())

    async def revoke_api_key(self, name: str, at: datetime) -> ApiKey | None:
        c = API_KEYS.c
        # A column that may be set already: the first time counts.
        first = func.coalesce(c.revoked_at, utc_milliseconds(at), type_=c.revoked_at.type)
        statement = update(API_KEYS).where(c.name == name).values(revoked_at=first).returning(*c)

        async def revoke() -> ApiKey | None:
            async with self._db.write() as connection:
                row = (await connection.execute(statement)).mappings().one_or_none()
                return None if row is None else tables.api_key_from(row)

        return await self._db.finish(revoke())

    async def mark_api_key_used(self, name: str, at: datetime) -> None:
        c, moment = API_KEYS.c, utc_milliseconds(at)
        earlier = or_(c.last_used_at.is_(None), c.last_used_at < moment)

        async def mark() -> None:
            async with self._db.write() as connection:
                await connection.execute(update(API_KEYS).where(c.name == name, earlier).values(last_used_at=moment))

        await self._db.finish(mark())
