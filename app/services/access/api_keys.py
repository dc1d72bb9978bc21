"""API keys: operators create and revoke them, the API looks them up for every request."""

from __future__ import annotations

import logging
import re
import time
from dataclasses import dataclass
from datetime import datetime, timedelta

from app.errors import ApiKeyTaken, InvalidRequest, LedgerUnavailable, NotFound
from app.ledger import Ledger
from app.models.api_key import (
    COMMAND_LINE,
    NAME_PATTERN,
    RESERVED_NAMES,
    ApiKey,
    Scope,
    hash_token,
    is_token,
    new_token,
)
from app.models.base import utcnow
from app.models.runs.activity import Activity
from app.objects import check_key

logger = logging.getLogger(__name__)

# How long an API process caches what it has read. A revoked key keeps working for at most this long.
CACHE_SECONDS = 5.0
_KEYS_KEPT = 10_000
_USE_IS_MARKED_EVERY = timedelta(minutes=1)
# The service itself reads and moves objects below these.
_SERVICE_PREFIXES = ("manifests/", "archive/")


async def create(
    ledger: Ledger, name: str, scope: Scope, prefixes: tuple[str, ...], lifetime: timedelta | None
) -> tuple[str, ApiKey]:
    """Create a key; returns its token, which is stored nowhere, and its record. Raises InvalidRequest, ApiKeyTaken."""
    if not re.fullmatch(NAME_PATTERN, name) or name in RESERVED_NAMES:
        raise InvalidRequest(
            f"{name!r} cannot be the name of an API key.",
            "Use 1 to 128 of A-Z a-z 0-9 . _ @ -, beginning with a letter or digit; "
            f"{', '.join(sorted(RESERVED_NAMES))} are taken.",
        )
    if prefixes and scope is Scope.ADMIN:
        raise InvalidRequest(
            "An API key with the scope admin cannot be bound to a prefix.",
            "A prefix restricts files of the landing zone, and an administrator may delete every dataset. Leave "
            "--prefix out, or use the scope read or submit.",
        )
    now, token = utcnow(), new_token()
    key = ApiKey(
        name=name,
        token_hash=hash_token(token),
        scope=scope,
        prefixes=tuple(dict.fromkeys(_prefix(prefix) for prefix in prefixes)),
        created_at=now,
        expires_at=now + lifetime if lifetime else None,
    )
    if not await ledger.add_api_key(key):
        raise ApiKeyTaken(
            f"An API key called {name!r} already exists.",
            "Choose another name. Names are never reused, so that the audit trail stays unambiguous.",
        )
    expires = key.expires_at.isoformat() if key.expires_at else None
    await _log(ledger, "key.created", name, scope=scope.value, prefixes=list(key.prefixes), expires_at=expires)
    return token, key


async def revoke(ledger: Ledger, name: str) -> ApiKey:
    """Revoke a key. Revoking it twice changes nothing. Raises NotFound."""
    now = utcnow()
    key = await ledger.revoke_api_key(name, now)
    if key is None:
        raise NotFound(f"There is no API key called {name!r}.", "`spatial-etl keys list` lists them.")
    if key.revoked_at == now:
        await _log(ledger, "key.revoked", name)
    return key


def is_bound_admin(key: ApiKey) -> bool:
    """Whether it is a valid admin key with prefixes, which earlier releases created. They do not restrict deletions."""
    return key.scope is Scope.ADMIN and bool(key.prefixes) and key.is_valid(utcnow())


def _prefix(text: str) -> str:
    """Ending in a slash, so that `team-a` is not `team-ab` too. Raises InvalidKey, InvalidRequest."""
    prefix = check_key(text.removesuffix("/")) + "/"
    if prefix.startswith(_SERVICE_PREFIXES):
        raise InvalidRequest(
            f"An API key cannot be bound to {prefix!r}.",
            f"The service itself processes objects below {' and '.join(_SERVICE_PREFIXES)}. Leave --prefix out for "
            "a key that may drop manifests there.",
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
    """Cache of the keys in one API process, so that not every request queries the ledger."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._known: dict[str, _Known] = {}
        self._any: bool | None = None
        self._any_until = 0.0

    def is_cached(self, token: str) -> bool:
        """Whether `find` answers for this token without the ledger."""
        known = self._known.get(hash_token(token))
        return known is not None and time.monotonic() < known.until

    async def find(self, token: str, *, allow_stale: bool = False) -> ApiKey | None:
        """The key, which may be revoked or expired; None if there is none with that token.

        allow_stale: return the cached key, however old, while the ledger is unavailable. Else raises LedgerUnavailable.
        """
        if not is_token(token):
            return None
        digest, now = hash_token(token), time.monotonic()
        known = self._known.get(digest)
        if known is not None and now < known.until:
            return known.key
        try:
            key = await self._ledger.find_api_key(digest)
        except LedgerUnavailable:
            if known is None or not allow_stale:
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
        if not key.is_valid(now) or (key.last_used_at is not None and now - key.last_used_at < _USE_IS_MARKED_EVERY):
            return
        try:
            await self._ledger.mark_api_key_used(key.name, now)
        except LedgerUnavailable as err:
            logger.warning("the last use of the API key %s was not recorded: %s", key.name, err.detail)

    async def any_keys(self) -> bool:
        """Whether a key was ever created. Raises LedgerUnavailable if that was never read before."""
        if self._any or time.monotonic() < self._any_until:
            return bool(self._any)
        try:
            self._any = await self._ledger.has_api_keys()
        except LedgerUnavailable:
            if self._any is None:
                raise
        self._any_until = time.monotonic() + CACHE_SECONDS
        return bool(self._any)
