"""Outbox: log lines and audit entries that are written together with a change, or not at all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from app.models.base import utcnow
from app.models.runs.activity import Activity
from app.models.runs.run import RunEvent


@dataclass(frozen=True, slots=True)
class LogLine:
    """A line for the log of a run. The ledger adds its number and time."""

    code: str
    message: str
    level: Literal["info", "warning", "error"] = "info"
    step: str | None = None
    data: Mapping[str, Any] = field(default_factory=dict)

    def event(self, run_id: str, seq: int) -> RunEvent:
        """Return the line as event number `seq` of the run, at the present time."""
        return RunEvent(
            run_id=run_id,
            seq=seq,
            at=utcnow(),
            level=self.level,
            step=self.step,
            code=self.code,
            message=self.message,
            data=self.data,
        )


@dataclass(frozen=True, slots=True)
class Outbox:
    """What a change adds to the log of its run and to the audit trail.

    Written in order, exactly once, even across crashes; nothing is written when the change is not made.
    """

    lines: tuple[LogLine, ...] = ()
    entries: tuple[Activity, ...] = ()

    def __bool__(self) -> bool:
        """Return whether there is anything to write."""
        return bool(self.lines or self.entries)


NOTHING = Outbox()
