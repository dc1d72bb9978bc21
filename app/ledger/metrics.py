"""Counters and totals, for the metrics."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from app.models.runs.run import RunStatus


@dataclass(frozen=True, slots=True)
class RunTotal:
    """The runs of one status and lane. oldest: created_at of the first; None for finished runs."""

    status: RunStatus
    lane: str
    runs: int
    attempts: int
    oldest: datetime | None = None


@dataclass(frozen=True, slots=True)
class AssetTotal:
    """The versions of one kind. bytes: of their data, without companions."""

    kind: str
    versions: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Totals:
    """Runs by (status, lane), and versions by kind, in that order."""

    runs: tuple[RunTotal, ...]
    assets: tuple[AssetTotal, ...]


class MetricsLedger(Protocol):
    """Counts what all processes did together. The names of the counters are in `app.models.runs.counts`."""

    async def totals(self) -> Totals:
        """Count all runs and all versions that were not deleted. Reads unfinished runs, and no finished ones."""
        ...

    async def count(self, amounts: Mapping[str, int]) -> None:
        """Add amounts to the counters of these names, which begin at 0.

        Raises:
            ValueError: an amount is negative.
        """
        ...

    async def get_counts(self) -> Mapping[str, int]:
        """Return all counters by name."""
        ...
