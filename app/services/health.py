"""Readiness: every dependency with its version and latency, and a fix when it fails."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from anyio import to_thread

from app.clients import Clients
from app.errors import DomainError
from app.models.base import Frozen


class Check(Frozen):
    """One dependency. required: the service is not ready without it."""

    name: str
    ok: bool
    required: bool = True
    latency_ms: float
    details: Mapping[str, Any] = {}
    problem: str | None = None
    fix: str | None = None


class Readiness(Frozen):
    ready: bool
    checks: tuple[Check, ...]


async def readiness(clients: Clients) -> Readiness:
    """Look at ledger, object store and queue. The queue is not required: accepted runs wait for it in the ledger."""

    async def ledger() -> Mapping[str, Any]:
        info = await clients.ledger.ping()
        return {"backend": info.name, "version": info.version, **info.details}

    async def queue() -> Mapping[str, Any]:
        return await to_thread.run_sync(clients.queue.ping)

    checks = (
        await _check("ledger", ledger),
        await _check("objects", clients.objects.ping),
        await _check("queue", queue, required=False),
    )
    return Readiness(ready=all(check.ok or not check.required for check in checks), checks=checks)


async def _check(name: str, look: Callable[[], Awaitable[Mapping[str, Any]]], *, required: bool = True) -> Check:
    began = time.perf_counter()
    try:
        details = await look()
    except DomainError as err:
        took = round((time.perf_counter() - began) * 1000, 1)
        return Check(name=name, ok=False, required=required, latency_ms=took, problem=err.detail, fix=err.fix)
    return Check(
        name=name,
        ok=True,
        required=required,
        latency_ms=round((time.perf_counter() - began) * 1000, 1),
        details=details,
    )
