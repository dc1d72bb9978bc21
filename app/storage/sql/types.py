"""Column types that mean the same on SQLite and PostgreSQL."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import JSON, DateTime, Dialect, Text
from sqlalchemy.types import TypeDecorator, TypeEngine

from app.storage.shared.ledger_rules import plain_text, utc_milliseconds


class PlainText(TypeDecorator[str]):
    """Text, sorted by code points. Characters that databases do not store (NUL, lone surrogates) become U+FFFD."""

    impl = Text
    cache_ok = True

    @property
    def python_type(self) -> type[str]:
        return str

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        # Otherwise PostgreSQL sorts by the language of the database, and pages differ between ledgers.
        return Text(collation="C") if dialect.name == "postgresql" else Text()

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:  # noqa: ARG002 # SQLAlchemy's signature
        return None if value is None else plain_text(value)


class UtcTime(TypeDecorator[datetime]):
    """A time in UTC, to the millisecond; outside of the database always with time zone."""

    impl = DateTime(timezone=True)
    cache_ok = True

    @property
    def python_type(self) -> type[datetime]:
        return datetime

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        value = utc_milliseconds(value)
        # SQLite keeps text without a zone; text of one zone sorts like time.
        return value.replace(tzinfo=None) if dialect.name == "sqlite" else value

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002 # as above
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Json(TypeDecorator[Any]):
    """A JSON document. Not JSONB, which loses the order of keys: the columns of a schema have an order."""

    impl = JSON(none_as_null=True)
    cache_ok = True
