"""API keys in the ledger."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol

from app.models.api_key import ApiKey


class KeyLedger(Protocol):
    """Keys are never removed: the audit trail goes on naming them."""

    async def add_api_key(self, key: ApiKey) -> bool:
        """False, and nothing is written, when its name or its hash is taken."""
        ...

    async def find_api_key(self, token_hash: str) -> ApiKey | None: ...

    async def list_api_keys(self) -> tuple[ApiKey, ...]:
        """All of them, also revoked and expired ones, oldest first by (created_at, name)."""
        ...

    async def has_api_keys(self) -> bool:
        """Whether there was ever one."""
        ...

    async def revoke_api_key(self, name: str, at: datetime) -> ApiKey | None:
        """The key, revoked now or before (which stays as it was); None without such a key."""
        ...

    async def mark_api_key_used(self, name: str, at: datetime) -> None:
        """last_used_at moves forward only."""
        ...
