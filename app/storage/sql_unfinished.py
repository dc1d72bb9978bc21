"""What is half done in SQL."""

from __future__ import annotations

from app.ledger.unfinished import Unfinished


class SqlUnfinished:
    """`app.ledger.unfinished.UnfinishedLedger`: nothing ever, because every write is one transaction."""

    async def list_unfinished(self, limit: int) -> tuple[Unfinished, ...]:  # noqa: ARG002 # of the protocol
        return ()
