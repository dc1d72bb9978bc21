"""Logs of runs, and the audit trail. Entries that belong to a change are written by `app.ledger.outbox`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Protocol

from app.models.page import Page, Slice
from app.models.runs.activity import Activity
from app.models.runs.run import RunEvent


class LogAndAuditLedger(Protocol):
    """Appends to the log of a run and to the audit trail. Entries never change."""

    async def add_event(
        self,
        run_id: str,
        *,
        code: str,
        message: str,
        level: Literal["info", "warning", "error"] = "info",
        step: str | None = None,
        data: Mapping[str, Any] | None = None,
    ) -> RunEvent:
        """Append one line to the log of a run.

        Returns:
            The line with its `seq`. These count from 1 without gaps, so a reader that polls misses no line.

        Raises:
            NotFound: there is no such run.
        """
        ...

    async def list_events(self, run_id: str, after: int = 0, limit: int = 100) -> tuple[RunEvent, ...]:
        """List the lines of a log whose `seq` is greater than `after`, oldest first."""
        ...

    async def log_ends(self, after: Mapping[str, int]) -> Mapping[str, int]:
        """Look at the logs of many runs at once: {run_id: seq of a line after the given one}.

        Runs without a later line, and unknown ones, are left out. The seq may not be the last one of the log.
        """
        ...

    async def add_activity(self, entry: Activity) -> None:
        """Append one entry to the audit trail."""
        ...

    async def list_activity(self, page: Page) -> Slice[Activity]:
        """List the audit trail, newest first by timestamp; within a millisecond, the last written first."""
        ...
