"""What the two drivers of the SQL ledger share. `sqlite` and `postgres` implement `Driver`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, TypeAlias, TypeVar

from sqlalchemy import Connection, Engine

from app.storage.shared.ledger_rules import to_json

# How long a transaction waits for a lock, on SQLite for the database, on PostgreSQL for a row.
LOCK_WAIT_SECONDS = 30

T = TypeVar("T")
Body: TypeAlias = Callable[[Connection], T]


class Driver(Protocol):
    """Runs functions of a connection. Canceling the caller does not interrupt a function that has begun."""

    engine: Engine

    async def read(self, body: Body[T]) -> T:
        """Run a function that makes one SELECT."""
        ...

    async def write(self, body: Body[T]) -> T:
        """Run a function as one transaction, which is committed unless it raises."""
        ...

    async def migrate(self, body: Body[T], location: str) -> T:
        """Run a migration as one transaction, whose statements may take as long as they need.

        Waits for another process that migrates, for as long as it lives. location: of the ledger, as messages name it.
        """
        ...

    async def close(self) -> None:
        """Wait for functions that still run, then close all connections."""
        ...


def engine_options() -> dict[str, Any]:
    """Return the options of every engine. hide_parameters: no error text contains a document of a user."""
    return {"json_serializer": to_json, "hide_parameters": True}
