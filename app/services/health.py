"""Readiness: every dependency with its version and latency, and a fix when it fails."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from anyio import to_thread

from app.clients import Clients
from app.errors import DomainError
from app.models.base import Frozen
from app.models.leadership import SWEEP
from app.services.election import LeaderWatch

# A server that takes connections and never answers must not hold up the others' answers.
_LOOK_SECONDS = 10.0


class Check(Frozen):
    """One dependency. required: the service is not ready without it. warning: it works, but not as it should."""

    name: str
    ok: bool
    required: bool = True
    latency_ms: float
    details: Mapping[str, Any] = {}
    warning: str | None = None
    problem: str | None = None
    fix: str | None = None


class Readiness(Frozen):
    ready: bool
    checks: tuple[Check, ...]


async def readiness(clients: Clients, seconds: float = _LOOK_SECONDS, *, sweep: LeaderWatch | None = None) -> Readiness:
    """Look at ledger, object store, queue, sweep and, where it is the engine, PostGIS; all at once.

    The queue is not required: accepted runs wait for it in the ledger. Neither is PostGIS, which only attempts need,
    nor the sweep, which only runs need whose worker has died. sweep: one that has looked before sees a silent one.
    """
    watch = sweep or LeaderWatch(SWEEP)

    async def ledger() -> Mapping[str, Any]:
        info = await clients.ledger.ping()
        return {"backend": info.name, "version": info.version, **info.details}

    async def queue() -> Mapping[str, Any]:
        return await to_thread.run_sync(clients.queue.ping, abandon_on_cancel=True)

    looks = [
        check("ledger", ledger, seconds=seconds),
        check("objects", clients.objects.ping, seconds=seconds),
        check("queue", queue, required=False, warn=_forgetful, seconds=seconds),
        check("sweep", lambda: watch.look(clients.ledger), required=False, seconds=seconds),
    ]
    if clients.postgis is not None:
        looks.append(check("postgis", clients.postgis.ping, required=False, seconds=seconds))
    checks = tuple(await asyncio.gather(*looks))
    return Readiness(ready=all(found.ok or not found.required for found in checks), checks=checks)


def _forgetful(details: Mapping[str, Any]) -> str | None:
    if details.get("appendonly") == "no":
        return "Redis keeps no append-only file: a restart forgets the queue, which the sweep then fills again."
    return None


async def check(
    name: str,
    look: Callable[[], Awaitable[Mapping[str, Any]]],
    *,
    required: bool = True,
    seconds: float = _LOOK_SECONDS,
    warn: Callable[[Mapping[str, Any]], str | None] = lambda _: None,
) -> Check:
    """One look with its duration; a DomainError, or no answer in time, becomes the check's problem and fix."""
    began = time.perf_counter()
    problem = fix = None
    details: Mapping[str, Any] = {}
    try:
        async with asyncio.timeout(seconds):
            details = await look()
    except DomainError as err:
        problem, fix = err.detail, err.fix
    except TimeoutError:
        problem = f"It does not answer within {seconds:.0f} s."
        fix = "Look whether it hangs, or whether something between here and there drops packets."
    return Check(
        name=name,
        ok=problem is None,
        required=required,
        latency_ms=round((time.perf_counter() - began) * 1000, 1),
        details=details,
        warning=warn(details) if problem is None else None,
        problem=problem,
        fix=fix,
    )
