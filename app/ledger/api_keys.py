"""API keys."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol

from app.models.api_key import ApiKey


class ApiKeyLedger(Protocol):
    """Stores API keys by name, with a hash of the key only. Keys are never removed: the audit trail names them."""

    async def add_api_key(self, key: ApiKey) -> bool:
        """Store a key. False, and nothing is written, when its name or its hash exists."""
        ...

    async def find_api_key(self, token_hash: str) -> ApiKey | None:
        """Return the key with this hash, also a revoked or expired one, or None."""
        ...

    async def list_api_keys(self) -> tuple[ApiKey, ...]:
        """List all keys, also revoked and expired ones, oldest first by (created_at, name)."""
        ...

    async def has_api_keys(self) -> bool:
        """Return whether a key was ever stored."""
        ...

    async def revoke_api_key(self, name: str, at: datetime) -> ApiKey | None:
        """Revoke a key. One that was revoked before keeps its time. None: there is no such key."""
        ...

    async def mark_api_key_used(self, name: str, at: datetime) -> None:
        """Set `last_used_at` of a key, unless it is later already."""
        ...
