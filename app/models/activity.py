"""The audit trail: who did what to which resource, when, from where."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from app.models.base import Frozen


class Activity(Frozen):
    timestamp: datetime
    user: str
    action: str
    resource_type: str
    resource_id: str
    details: Mapping[str, Any] = {}
    ip: str | None = None
