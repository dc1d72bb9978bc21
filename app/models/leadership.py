"""Which process does a work that only one does at a time."""

from __future__ import annotations

from datetime import datetime

from app.models.base import Frozen

SWEEP = "sweep"


class Leadership(Frozen):
    """Who leads in a role. owner None: it was given back.

    term: grows with every process that takes over. beat: grows with every write. Nobody compares clocks: whoever has
    seen the same beat for `seconds` on a clock of its own may take over. renewed_at is for people.
    """

    role: str
    owner: str | None
    term: int
    beat: int
    seconds: float
    renewed_at: datetime


def next_leadership(seen: Leadership | None, role: str, owner: str | None, seconds: float, at: datetime) -> Leadership:
    """What follows on `seen` when this owner renews or takes over, or, with None, gives back."""
    term, beat = (seen.term, seen.beat) if seen is not None else (0, 0)
    if owner is not None and (seen is None or seen.owner != owner):
        term += 1
    return Leadership(role=role, owner=owner, term=term, beat=beat + 1, seconds=seconds, renewed_at=at)
