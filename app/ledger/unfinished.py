"""Writes that a crash interrupted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

Kind = Literal["accept", "commit", "mirror", "turn", "outbox", "deletion", "removal"]


@dataclass(frozen=True, slots=True)
class Unfinished:
    """A write that is decided, and that the next reader or sweep finishes.

    Attributes:
        kind: `accept` (the run of a manifest), `commit` (a version), `mirror` (the status in the manifest), `turn` (the
            next run of a dataset), `outbox` (log lines and audit entries), `deletion` (of a version), `removal` (of a
            batch).
        name: of the manifest, run, lane or version.
    """

    kind: Kind
    name: str


class UnfinishedLedger(Protocol):
    """Shows interrupted writes. `RunLedger.list_due_runs` finishes them."""

    async def list_unfinished(self, limit: int) -> tuple[Unfinished, ...]:
        """List interrupted writes and change nothing. Always empty where every write is one transaction."""
        ...
