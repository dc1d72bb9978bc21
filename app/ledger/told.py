"""What a change says of itself: lines of the run's log and entries of the audit trail, written with it or not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from app.models.activity import Activity
from app.models.base import utcnow
from app.models.run import RunEvent


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the run's log; its place and time are given by the ledger."""

    code: str
    message: str
    level: Literal["info", "warning", "error"] = "info"
    step: str | None = None
    data: Mapping[str, Any] = field(default_factory=dict)

    def event(self, run_id: str, seq: int) -> RunEvent:
        """It, now and at this place of the run's log."""
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
class Told:
    """In this order, and once, whoever dies when. A change that is not made tells nothing."""

    lines: tuple[Line, ...] = ()
    entries: tuple[Activity, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.lines or self.entries)


NOTHING = Told()
