"""Interrupted writes in SQL: none, because every write is one transaction."""

from __future__ import annotations

from app.ledger.unfinished import Unfinished


class SqlUnfinished:
    """`app.ledger.unfinished.UnfinishedLedger` in SQL."""

    async def list_unfinished(self, limit: int) -> tuple[Unfinished, ...]:  # noqa: ARG002 # the signature of the protocol
        return ()
