"""API keys: who may do what. The ledger knows a key's hash only; the key itself is shown once, when it is made."""

from __future__ import annotations

import hashlib
import re
import secrets
from datetime import datetime
from enum import StrEnum

from app.models.base import Frozen

# So that scanners for leaked secrets find them, and people know what they look at.
TOKEN_PREFIX = "setl_"  # noqa: S105 # the beginning of every key, not a key
_TOKEN = re.compile(TOKEN_PREFIX + r"[0-9a-f]{64}")
NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._@-]{0,127}$"
# Names that the audit trail has for those who need no key.
ANONYMOUS, COMMAND_LINE = "anonymous", "command-line"
RESERVED_NAMES = frozenset({ANONYMOUS, COMMAND_LINE, "webhook", "sweep", "worker", "retention"})


class Scope(StrEnum):
    """Each includes those before it."""

    READ = "read"
    SUBMIT = "submit"
    ADMIN = "admin"

    def includes(self, other: Scope) -> bool:
        order = list(Scope)
        return order.index(self) >= order.index(other)


class ApiKey(Frozen):
    """prefixes: of the landing zone, each ending in a slash; none: all of it. name: never given to a second key."""

    name: str
    token_hash: str
    scope: Scope
    prefixes: tuple[str, ...] = ()
    created_at: datetime
    expires_at: datetime | None = None
    last_used_at: datetime | None = None
    revoked_at: datetime | None = None

    def is_good(self, now: datetime) -> bool:
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)


def new_token() -> str:
    """256 random bits."""
    return TOKEN_PREFIX + secrets.token_hex(32)


def is_token(text: str) -> bool:
    """Whether it could be a key at all."""
    return _TOKEN.fullmatch(text) is not None


def hash_of(token: str) -> str:
    """Plain SHA-256: what slow hashes are for, guessing, is hopeless with 256 random bits."""
    return hashlib.sha256(token.encode()).hexdigest()
