"""Where a pipeline and its engine report progress and warnings."""

from __future__ import annotations

from typing import Protocol

from app.models.runs.run import RunWarning


class Watch(Protocol):
    """Takes progress and warnings. Every call may raise RunCanceled or StaleAttempt: let them pass through."""

    def advance(self, rows_done: int, rows_total: int | None) -> None:
        """Report progress between batches. It is cheap: call it as often as you like.

        Args:
            rows_done: rows processed so far, of all sources.
            rows_total: of all sources; None where it is not known.
        """
        ...

    def warn(self, warning: RunWarning) -> None:
        """Add a warning to the run, which continues."""
        ...
