"""The gate that every request passes: who asks, from where, and how often.

Plain ASGI, and no look into the ledger for a key that was seen in the last seconds: a poller must not feel it.
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
from app.models.base import utcnow
from app.models.caller import Caller
from app.routers.access import PROBES, is_open
from app.routers.problems import STATUS, problem
from app.services.keys import KeyRing
from app.settings import ApiSettings, listed

_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_BUCKETS_KEPT = 10_000
_FIX = (
    "Send `Authorization: Bearer KEY` with an API key of this service (command line: SPATIAL_ETL_API_KEY). "
    "`spatial-etl keys create` makes one."
)

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def is_loopback(host: str) -> bool:
    """Whether a server that binds `host` is reached from this machine only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class Buckets:
    """Token buckets that hold what comes in a second. In this process only: N processes let N times as many through."""

    def __init__(self, per_second: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_second, self._clock = per_second, clock
        self._buckets: dict[str, tuple[float, float]] = {}

    def take(self, who: str) -> int:
        """How many are left after this one; -1 when there was none."""
        now = self._clock()
        level, at = self._buckets.pop(who, (float(self._per_second), now))
        level = min(float(self._per_second), level + (now - at) * self._per_second)
        taken = level >= 1
        self._buckets[who] = (level - 1 if taken else level, now)
        if len(self._buckets) > _BUCKETS_KEPT:
            # The one that was used longest ago: it is full again by now, or will be within the second.
            del self._buckets[next(iter(self._buckets))]
        return int(level) - 1 if taken else -1


class Gate:
    """Lets in who may come in, as `request.state.caller`; answers the others with a problem."""

    def __init__(self, app: ASGIApp, settings: ApiSettings) -> None:
        self._app = app
        self._auth = settings.auth
        self._local = is_loopback(settings.host)
        self._open_probes = settings.open_probes
        self._origins = frozenset(listed(settings.cors_origins))
        self._proxies = tuple(ipaddress.ip_network(word) for word in listed(settings.trusted_proxies))
        self._rate = settings.rate_limit
        self._buckets = Buckets(settings.rate_limit)

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
        scope.setdefault("state", {})["caller"] = caller

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
        if not await self._demands_a_key(ring, path):
            if self._auth == "auto":
                self._refuse_foreign_pages(method, headers)
            return Caller(ip=address)
        token = _bearer(headers)
        if token is None or not ring.has_at_hand(token):
            # Before the ledger is asked, so that guessing costs the guesser only.
            self._count(f"address {address}", limits)
        key = None if token is None else await ring.find(token, old_will_do=path in PROBES)
        if token is None or key is None:
            found = "The request has no API key." if token is None else "The API key is none of this service."
            raise Unauthorized(found, _FIX)
        if not key.is_good(utcnow()):
            raise Unauthorized(f"The API key {key.name!r} is {'revoked' if key.revoked_at else 'expired'}.", _FIX)
        limits.clear()
        self._count(f"key {key.name}", limits)
        return Caller(key.name, address, key.scope, key.prefixes)

    async def _demands_a_key(self, ring: KeyRing, path: str) -> bool:
        if self._auth != "auto":
            return self._auth == "required"
        if not self._local:
            return True
        try:
            return await ring.any_keys()
        except LedgerUnavailable:
            # Whoever asks why nothing works shall hear it.
            if path in PROBES:
                return False
            raise

    def _refuse_foreign_pages(self, method: str, headers: Headers) -> None:
        """Without keys any page in a browser of this host could ask for things, or pretend to be of this service.

        Raises Forbidden. A name that a stranger can point here (DNS rebinding) has a dot; an address is no name.
        """
        fix = (
            "Create an API key (`spatial-etl keys create`); or, behind a proxy that knows its users, set "
            "SPATIAL_ETL_API__AUTH=off."
        )
        host = urlsplit(f"//{headers.get('host', '')}").hostname or ""
        if "." in host and not host.endswith(".localhost") and not _is_address(host):
            raise Forbidden(f"The request is for {host!r}; without API keys only this host itself is served.", fix)
        origin = headers.get("origin")
        if method in _SAFE_METHODS or origin is None or origin in self._origins:
            return
        if urlsplit(origin).netloc != headers.get("host"):
            raise Forbidden(f"The request comes from a page of {origin!r}, which is another origin.", fix)

    def _count(self, who: str, limits: dict[str, str]) -> None:
        """Raises RateLimited. limits: gets the header fields that tell how much is left."""
        if not self._rate:
            return
        left = self._buckets.take(who)
        limits["RateLimit-Policy"] = f'"second";q={self._rate};w=1'
        limits["RateLimit"] = f'"second";r={max(left, 0)};t=1'
        if left < 0:
            raise RateLimited(
                f"More than {self._rate} requests in a second came from the {who}.",
                "Wait a second; wait for runs with ?wait=30 instead of asking again and again. The limit is "
                "SPATIAL_ETL_API__RATE_LIMIT.",
            )


def client_address(scope: Scope, headers: Headers, proxies: tuple[Network, ...]) -> str | None:
    """The peer; where that is a trusted proxy, the rightmost address of X-Forwarded-For that is none."""
    client: Any = scope.get("client")
    address = str(client[0]) if client else None
    hops = ",".join(headers.getlist("x-forwarded-for")).split(",") if proxies else []
    for hop in reversed([word.strip() for word in hops if word.strip()]):
        if address is None or not _is_within(address, proxies):
            break
        if not _is_address(hop):
            # What is left of it is anybody's invention.
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
