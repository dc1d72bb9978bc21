"""Elections in SQL."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import BigInteger, Connection, Double, select, update
from sqlmodel import Field

from app.models.base import utcnow
from app.models.runs.leadership import Leadership, next_leadership
from app.storage.shared.ledger_rules import utc_milliseconds
from app.storage.sql.base import SqlBase
from app.storage.sql.engine import insert_into, writes
from app.storage.sql.tables import Base
from app.storage.sql.types import PlainText, UtcTime


class LeadershipRow(Base, table=True):
    """Who leads in a role; see `app.models.runs.leadership`."""

    __tablename__ = "leaderships"

    role: str = Field(sa_type=PlainText, primary_key=True)
    owner: str | None = Field(sa_type=PlainText)
    term: int = Field(sa_type=BigInteger)
    beat: int = Field(sa_type=BigInteger)
    seconds: float = Field(sa_type=Double)
    renewed_at: datetime = Field(sa_type=UtcTime)


LEADERSHIPS = Base.metadata.tables["leaderships"]


class SqlElection(SqlBase):
    """`app.ledger.election.ElectionLedger` in SQL."""

    async def get_leadership(self, role: str) -> Leadership | None:
        query = select(LEADERSHIPS).where(LEADERSHIPS.c.role == role)
        return await self._one(query, lambda row: Leadership.model_validate(dict(row)))

    @writes
    def lead(
        self, connection: Connection, role: str, owner: str | None, seconds: float, seen: Leadership | None
    ) -> Leadership | None:
        new = next_leadership(seen, role, owner, seconds, utcnow())
        values = new.model_dump() | {"renewed_at": utc_milliseconds(new.renewed_at)}
        c = LEADERSHIPS.c
        if seen is None:
            insert = insert_into(LEADERSHIPS, self._db.dialect).values(values)
            done = connection.execute(insert.on_conflict_do_nothing().returning(c.beat))
        else:
            same = update(LEADERSHIPS).where(c.role == new.role, c.beat == seen.beat)
            done = connection.execute(same.values(values).returning(c.beat))
        return new if done.one_or_none() is not None else None
