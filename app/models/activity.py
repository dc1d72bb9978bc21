"""The audit trail: who did what to which resource, when, from where."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from app.models.base import Frozen, utcnow
from app.models.caller import Caller


class Activity(Frozen):
    timestamp: datetime
    user: str
    action: str
    resource_type: str
    resource_id: str
    details: Mapping[str, Any] = {}
    ip: str | None = None


def done_by(caller: Caller, action: str, name: str, at: datetime | None = None, /, **details: object) -> Activity:
    """The entry for something that the caller did, by default now. action: the kind of the resource, a dot, a verb."""
    return Activity(
        timestamp=at or utcnow(),
        user=caller.user,
        action=action,
        resource_type=action.partition(".")[0],
        resource_id=name,
        details=details,
        ip=caller.ip,
    )
