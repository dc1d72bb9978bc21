"""The audit trail: who did what to which resource, when, from where."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from app.models.base import Frozen, utcnow
from app.models.caller import Caller


class Activity(Frozen):
    """One entry of the audit trail. action: the kind of the resource, a dot, and a verb."""

    timestamp: datetime
    user: str
    action: str
    resource_type: str
    resource_id: str
    details: Mapping[str, Any] = {}
    ip: str | None = None


def done_by(caller: Caller, action: str, name: str, at: datetime | None = None, /, **details: object) -> Activity:
    """Return the entry for an action of the caller, by default now.

    Args:
        caller: who did it, and from where.
        action: the kind of the resource, a dot, and a verb: `lane.paused`.
        name: of the resource.
        at: when.
        details: further values.
    """
    return Activity(
        timestamp=at or utcnow(),
        user=caller.user,
        action=action,
        resource_type=action.partition(".")[0],
        resource_id=name,
        details=details,
        ip=caller.ip,
    )
