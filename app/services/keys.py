"""API keys: made and revoked by operators, and looked up for every request."""

from __future__ import annotations

import logging
import re
import time
from dataclasses import dataclass
from datetime import datetime, timedelta

from app.errors import ApiKeyTaken, InvalidRequest, LedgerUnavailable, NotFound
from app.ledger import Ledger
from app.models.activity import Activity
from app.models.api_key import (
    COMMAND_LINE,
    NAME_PATTERN,
    RESERVED_NAMES,
    ApiKey,
    Scope,
    hash_of,
    is_token,
    new_token,
)
from app.models.base import utcnow
from app.objects import check_key

logger = logging.getLogger(__name__)

# How long an API process believes what it has read: so long does a revoked key go on at most.
CACHE_SECONDS = 5.0
_KEYS_KEPT = 10_000
_USE_IS_MARKED_EVERY = timedelta(minutes=1)
# The service's own: what is dropped there is taken in, or moved, in nobody's name.
_SERVICE_PREFIXES = ("manifests/", "archive/")


async def create(
    ledger: Ledger, name: str, scope: Scope, prefixes: tuple[str, ...], lifetime: timedelta | None
) -> tuple[str, ApiKey]:
    """The key itself, which is nowhere kept, and what the ledger knows of it. Raises InvalidRequest, ApiKeyTaken."""
    if not re.fullmatch(NAME_PATTERN, name) or name in RESERVED_NAMES:
        raise InvalidRequest(
            f"{name!r} cannot be the name of an API key.",
            "Use 1 to 128 of A-Z a-z 0-9 . _ @ -, beginning with a letter or digit; "
            f"{', '.join(sorted(RESERVED_NAMES))} are taken.",
        )
    now, token = utcnow(), new_token()
    key = ApiKey(
        name=name,
        token_hash=hash_of(token),
        scope=scope,
        prefixes=tuple(dict.fromkeys(_prefix(prefix) for prefix in prefixes)),
        created_at=now,
        expires_at=now + lifetime if lifetime else None,
    )
    if not await ledger.add_api_key(key):
        raise ApiKeyTaken(
            f"There is an API key called {name!r} already.",
            "Choose another name: each is given once, so that the audit trail stays clear.",
        )
    expires = key.expires_at.isoformat() if key.expires_at else None
    await _log(ledger, "key.created", name, scope=scope.value, prefixes=list(key.prefixes), expires_at=expires)
    return token, key


async def revoke(ledger: Ledger, name: str) -> ApiKey:
    """Raises NotFound. One that was revoked before stays so."""
    now = utcnow()
    key = await ledger.revoke_api_key(name, now)
    if key is None:
        raise NotFound(f"There is no API key called {name!r}.", "`spatial-etl keys list` lists them.")
    if key.revoked_at == now:
        await _log(ledger, "key.revoked", name)
    return key


def _prefix(text: str) -> str:
    """Ending in a slash, so that `team-a` is not `team-ab` too. Raises InvalidKey, InvalidRequest."""
    prefix = check_key(text.removesuffix("/")) + "/"
    if prefix.startswith(_SERVICE_PREFIXES):
        raise InvalidRequest(
            f"An API key cannot be bound to {prefix!r}.",
            f"What lies below {' and '.join(_SERVICE_PREFIXES)} is taken in by the service itself, whatever files it "
            "names. Leave --prefix out for a key that may drop manifests there.",
        )
    return prefix


async def _log(ledger: Ledger, action: str, name: str, **details: object) -> None:
    entry = Activity(
        timestamp=utcnow(),
        user=COMMAND_LINE,
        action=action,
        resource_type="api_key",
        resource_id=name,
        details=details,
    )
    await ledger.add_activity(entry)


@dataclass(frozen=True, slots=True)
class _Known:
    key: ApiKey
    until: float


class KeyRing:
    """What one API process knows of the keys, so that not every request asks the ledger."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._known: dict[str, _Known] = {}
        self._any: bool | None = None
        self._any_until = 0.0

    def has_at_hand(self, token: str) -> bool:
        """Whether `find` needs no ledger for it."""
        known = self._known.get(hash_of(token))
        return known is not None and time.monotonic() < known.until

    async def find(self, token: str, *, old_will_do: bool = False) -> ApiKey | None:
        """The key, which may be revoked or expired; None: there is no such key.

        old_will_do: what was known before is good enough while the ledger is away. Raises LedgerUnavailable.
        """
        if not is_token(token):
            return None
        digest, now = hash_of(token), time.monotonic()
        known = self._known.get(digest)
        if known is not None and now < known.until:
            return known.key
        try:
            key = await self._ledger.find_api_key(digest)
        except LedgerUnavailable:
            if known is None or not old_will_do:
                raise
            return known.key
        if key is None:
            return None
        self._known.pop(digest, None)
        self._known[digest] = _Known(key, now + CACHE_SECONDS)
        if len(self._known) > _KEYS_KEPT:
            del self._known[next(iter(self._known))]
        await self._mark_used(key)
        return key

    async def _mark_used(self, key: ApiKey) -> None:
        now: datetime = utcnow()
        if not key.is_good(now) or (key.last_used_at is not None and now - key.last_used_at < _USE_IS_MARKED_EVERY):
            return
        try:
            await self._ledger.mark_api_key_used(key.name, now)
        except LedgerUnavailable as err:
            logger.warning("the use of the API key %s was not written down: %s", key.name, err.detail)

    async def any_keys(self) -> bool:
        """Whether there was ever a key: from then on it stays true. Raises LedgerUnavailable before it ever knew."""
        if self._any or time.monotonic() < self._any_until:
            return bool(self._any)
        try:
            self._any = await self._ledger.has_api_keys()
        except LedgerUnavailable:
            if self._any is None:
                raise
        self._any_until = time.monotonic() + CACHE_SECONDS
        return bool(self._any)
