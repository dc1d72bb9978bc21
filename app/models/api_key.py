"""API keys and their scopes. The ledger has only the hash of a key; the key is shown once, when it is created."""

from __future__ import annotations

import hashlib
import re
import secrets
from datetime import datetime
from enum import StrEnum

from app.models.base import Frozen

# So that scanners for leaked secrets, and people, recognize a key.
TOKEN_PREFIX = "setl_"  # noqa: S105 # the beginning of every key, not a key
_TOKEN = re.compile(TOKEN_PREFIX + r"[0-9a-f]{64}")
NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._@-]{0,127}$"
# Names in the audit trail for callers without a key.
ANONYMOUS, COMMAND_LINE = "anonymous", "command-line"
RESERVED_NAMES = frozenset({ANONYMOUS, COMMAND_LINE, "webhook", "sweep", "worker", "retention"})


class Scope(StrEnum):
    """What a key allows. Each scope includes those before it."""

    READ = "read"
    SUBMIT = "submit"
    ADMIN = "admin"

    def includes(self, other: Scope) -> bool:
        """Return whether this scope allows what the other one does."""
        order = list(Scope)
        return order.index(self) >= order.index(other)


class ApiKey(Frozen):
    """An API key.

    Attributes:
        name: unique for ever; it appears in the audit trail.
        token_hash: SHA-256 of the key.
        prefixes: the folders of the landing zone that it may use, each ending in a slash. Empty: all.
    """

    name: str
    token_hash: str
    scope: Scope
    prefixes: tuple[str, ...] = ()
    created_at: datetime
    expires_at: datetime | None = None
    last_used_at: datetime | None = None
    revoked_at: datetime | None = None

    def is_valid(self, now: datetime) -> bool:
        """Return whether the key is neither revoked nor expired."""
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)


def new_token() -> str:
    """Return a new key with 256 random bits."""
    return TOKEN_PREFIX + secrets.token_hex(32)


def is_token(text: str) -> bool:
    """Return whether the text has the form of a key."""
    return _TOKEN.fullmatch(text) is not None


def hash_token(token: str) -> str:
    """Return the SHA-256 of a key. A slow hash is not needed: 256 random bits cannot be guessed."""
    return hashlib.sha256(token.encode()).hexdigest()
