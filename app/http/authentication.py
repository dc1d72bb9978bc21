"""Authentication and rate limits: ASGI middleware that every request passes.

Keys are cached for a few seconds, so that polling does not query the ledger with every request.
"""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Callable
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.errors import DomainError, Forbidden, LedgerUnavailable, RateLimited, Unauthorized
from app.http.access import PROBES, READY, is_open
from app.http.problems import STATUS, problem
from app.models.api_key import Scope as KeyScope
from app.models.base import utcnow
from app.models.caller import Caller
from app.services.access.api_keys import KeyRing
from app.settings import ApiSettings, listed

_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_BUCKETS_KEPT = 10_000
_FIX = (
    "Send `Authorization: Bearer KEY` with an API key of this service (command line: SPATIAL_ETL_API_KEY). "
    "`spatial-etl keys create` makes one."
)

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def is_loopback(host: str) -> bool:
    """Whether a server that binds `host` is reachable from this machine only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class TokenBuckets:
    """One token bucket per client, refilled every second. Per process: N API processes allow N times the rate."""

    def __init__(self, per_second: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_second, self._clock = per_second, clock
        self._buckets: dict[str, tuple[float, float]] = {}

    def is_empty(self, client: str) -> bool:
        """Whether the next token could not be taken."""
        level, at = self._buckets.get(client, (float(self._per_second), 0.0))
        return level + (self._clock() - at) * self._per_second < 1

    def take(self, client: str) -> int:
        """Take one token; how many are left, or -1 when the bucket was empty."""
        now = self._clock()
        level, at = self._buckets.pop(client, (float(self._per_second), now))
        level = min(float(self._per_second), level + (now - at) * self._per_second)
        taken = level >= 1
        self._buckets[client] = (level - 1 if taken else level, now)
        if len(self._buckets) > _BUCKETS_KEPT:
            # The least recently used one: it is full again within a second.
            del self._buckets[next(iter(self._buckets))]
        return int(level) - 1 if taken else -1


class Guesses:
    """Unknown API keys and webhook tokens of each address. After too many even the right one is not compared."""

    def __init__(self, per_second: int) -> None:
        self._per_second = per_second
        self._buckets = TokenBuckets(per_second)

    def check(self, address: str | None) -> None:
        """Raises RateLimited for an address that made too many."""
        client = counted(address)
        if self._per_second and self._buckets.is_empty(client):
            raise RateLimited(
                f"More than {self._per_second} unknown keys or tokens in a second came from the {client}.",
                "Send a valid key or token. The limit: SPATIAL_ETL_API__WRONG_KEY_LIMIT.",
            )

    def add(self, address: str | None) -> None:
        """Count one."""
        self._buckets.take(counted(address))


def counted(address: str | None) -> str:
    """The name under which an address is counted: of IPv6 the network of 64 bits, which one host has for itself."""
    try:
        parsed = ipaddress.ip_address(address or "")
    except ValueError:
        return f"address {address}"
    if isinstance(parsed, ipaddress.IPv4Address):
        return f"address {parsed}"
    if parsed.ipv4_mapped is not None:
        return f"address {parsed.ipv4_mapped}"
    return f"address {ipaddress.ip_network((int(parsed) >> 64 << 64, 64))}"


class AuthMiddleware:
    """Sets `request.state.caller` for requests that may pass; answers others with a problem (401, 403, 429, 503)."""

    def __init__(self, app: ASGIApp, settings: ApiSettings) -> None:
        self._app = app
        self._auth = settings.auth
        self._local = is_loopback(settings.host)
        self._open_probes = settings.open_probes
        self._origins = frozenset(listed(settings.cors_origins))
        self._proxies = tuple(ipaddress.ip_network(word) for word in listed(settings.trusted_proxies))
        self._rate = settings.rate_limit
        self._buckets = TokenBuckets(settings.rate_limit)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        limits: dict[str, str] = {}
        try:
            caller = await self._admit(scope, limits)
        except DomainError as err:
            status = STATUS[type(err)]
            refusal = problem(status, err.code, err.detail, scope["path"], fix=err.fix)
            refusal.headers.update(limits)
            if status == HTTPStatus.TOO_MANY_REQUESTS:
                refusal.headers["Retry-After"] = "1"
            await refusal(scope, receive, send)
            return
        state = scope.setdefault("state", {})
        state["caller"] = caller
        state.setdefault("client", counted(caller.ip))

        async def limited(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(limits)
            await send(message)

        await self._app(scope, receive, limited if limits else send)

    async def _admit(self, scope: Scope, limits: dict[str, str]) -> Caller:
        """Raises Unauthorized, Forbidden, RateLimited, LedgerUnavailable."""
        headers = Headers(scope=scope)
        address = client_address(scope, headers, self._proxies)
        method, path = scope["method"], scope["path"]
        if is_open(path) or (self._open_probes and path in PROBES):
            return Caller(ip=address)
        ring: KeyRing = scope["app"].state.key_ring
        guesses: Guesses = scope["app"].state.guesses
        if not await self._demands_a_key(ring, path):
            if self._auth == "auto":
                self._refuse_foreign_pages(method, headers)
            return Caller(ip=address)
        token = _bearer(headers)
        if token is None or not ring.is_cached(token):
            # Before the ledger is queried, so that guessing keys does not load it.
            self._count(counted(address), limits)
            guesses.check(address)
        key = None if token is None else await ring.find(token, allow_stale=path in PROBES)
        if token is not None and key is None:
            guesses.add(address)
        if token is None and path == READY:
            return Caller(ip=address, scope=KeyScope.READ, without_key=True)
        if token is None or key is None:
            found = "The request has no API key." if token is None else "Unknown API key."
            raise Unauthorized(found, _FIX)
        if not key.is_valid(utcnow()):
            raise Unauthorized(f"The API key {key.name!r} is {'revoked' if key.revoked_at else 'expired'}.", _FIX)
        limits.clear()
        self._count(f"key {key.name}", limits)
        scope.setdefault("state", {})["client"] = f"key {key.name}"
        return Caller(key.name, address, key.scope, key.prefixes)

    async def _demands_a_key(self, ring: KeyRing, path: str) -> bool:
        if self._auth != "auto":
            return self._auth == "required"
        if not self._local:
            return True
        try:
            return await ring.any_keys()
        except LedgerUnavailable:
            # The probes must report that the ledger is down.
            if path in PROBES:
                return False
            raise

    def _refuse_foreign_pages(self, method: str, headers: Headers) -> None:
        """Refuse cross-origin writes and foreign host names, because without keys any web page could send requests.

        Raises Forbidden. A host name with a dot may be an attacker's that resolves to this host (DNS rebinding).
        """
        fix = (
            "Create an API key (`spatial-etl keys create`); or, behind a proxy that knows its users, set "
            "SPATIAL_ETL_API__AUTH=off."
        )
        host = urlsplit(f"//{headers.get('host', '')}").hostname or ""
        if "." in host and not host.endswith(".localhost") and not _is_address(host):
            raise Forbidden(f"The request is for {host!r}; without API keys only localhost is served.", fix)
        origin = headers.get("origin")
        if method in _SAFE_METHODS or origin is None or origin in self._origins:
            return
        if urlsplit(origin).netloc != headers.get("host"):
            raise Forbidden(f"The request comes from a page of {origin!r}, which is another origin.", fix)

    def _count(self, client: str, limits: dict[str, str]) -> None:
        """Count one request of the client and put the RateLimit headers into `limits`. Raises RateLimited."""
        if not self._rate:
            return
        left = self._buckets.take(client)
        limits["RateLimit-Policy"] = f'"second";q={self._rate};w=1'
        limits["RateLimit"] = f'"second";r={max(left, 0)};t=1'
        if left < 0:
            raise RateLimited(
                f"More than {self._rate} requests in a second came from the {client}.",
                "Wait a second. Follow runs with ?wait=30 instead of polling. The limit: SPATIAL_ETL_API__RATE_LIMIT.",
            )


def client_address(scope: Scope, headers: Headers, proxies: tuple[Network, ...]) -> str | None:
    """The peer; where that is a trusted proxy, the rightmost address in X-Forwarded-For that is not one."""
    client: Any = scope.get("client")
    address = str(client[0]) if client else None
    hops = ",".join(headers.getlist("x-forwarded-for")).split(",") if proxies else []
    for hop in reversed([word.strip() for word in hops if word.strip()]):
        if address is None or not _is_within(address, proxies):
            break
        if not _is_address(hop):
            # The rest of the header cannot be trusted.
            break
        address = hop
    return address


def _is_within(address: str, networks: tuple[Network, ...]) -> bool:
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    mapped = getattr(parsed, "ipv4_mapped", None)
    return any((mapped or parsed) in network for network in networks)


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _bearer(headers: Headers) -> str | None:
    scheme, _, token = headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" and token.strip() else None
