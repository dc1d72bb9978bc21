"""Elections: processes agree on one of them that leads in a role."""

from __future__ import annotations

from typing import Protocol

from app.models.runs.leadership import Leadership


class ElectionLedger(Protocol):
    """Stores one leadership per role, changed by compare-and-set. Processes never compare their clocks."""

    async def get_leadership(self, role: str) -> Leadership | None:
        """Return who leads in the role; None when no process has led yet."""
        ...

    async def lead(self, role: str, owner: str | None, seconds: float, seen: Leadership | None) -> Leadership | None:
        """Take, renew or give back a role. Of several callers that saw the same leadership, one succeeds.

        Args:
            role: for example `sweep`.
            owner: who leads from now on; None gives the role back.
            seconds: after this time without a renewal others may take over.
            seen: the leadership that the caller read last; None when it found none.

        Returns:
            The new leadership; None, and nothing is written, when `seen` is not what is stored.
        """
        ...
