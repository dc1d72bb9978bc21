"""The part of the ledger by which processes agree on one of them."""

from __future__ import annotations

from typing import Protocol

from app.models.leadership import Leadership


class ElectionLedger(Protocol):
    async def get_leadership(self, role: str) -> Leadership | None:
        """None: nobody has led yet."""
        ...

    async def lead(self, role: str, owner: str | None, seconds: float, seen: Leadership | None) -> Leadership | None:
        """Write what follows on `seen` (None: on nothing) if that is still what is there; None when it is not.

        Of several that saw the same, one succeeds. owner None gives the role back.
        """
        ...
