"""Leadership: which process does the work that only one process may do at a time."""

from __future__ import annotations

from datetime import datetime

from app.models.base import Frozen

SWEEP = "sweep"


class Leadership(Frozen):
    """Who leads in a role.

    Processes do not compare their clocks: one that has seen the same beat for `seconds` on its own clock may take over.

    Attributes:
        owner: the process; None when the role was given back.
        term: grows with every takeover.
        beat: grows with every write.
        renewed_at: for people only.
    """

    role: str
    owner: str | None
    term: int
    beat: int
    seconds: float
    renewed_at: datetime


def next_leadership(seen: Leadership | None, role: str, owner: str | None, seconds: float, at: datetime) -> Leadership:
    """Return the leadership after `seen` when this owner renews, takes over, or (None) gives back."""
    term, beat = (seen.term, seen.beat) if seen is not None else (0, 0)
    if owner is not None and (seen is None or seen.owner != owner):
        term += 1
    return Leadership(role=role, owner=owner, term=term, beat=beat + 1, seconds=seconds, renewed_at=at)
