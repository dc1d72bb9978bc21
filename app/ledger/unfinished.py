"""The part of the ledger that tells what a writer which died left half done."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

Kind = Literal["accept", "commit", "mirror", "turn", "told", "deletion", "removal"]


@dataclass(frozen=True, slots=True)
class Unfinished:
    """A write that is decided, and finished by the next reader or sweep. name: of the manifest, run or version."""

    kind: Kind
    name: str


class UnfinishedLedger(Protocol):
    async def list_unfinished(self, limit: int) -> tuple[Unfinished, ...]:
        """Reads only: what is listed stays as it is. Empty where every write is one transaction."""
        ...
