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
from app.models.runs.leadership import SWEEP
from app.services.sweep.election import LeaderWatch

# A server that accepts connections and never answers must not delay the other checks.
_TIMEOUT_SECONDS = 10.0


class PartState(Frozen):
    """Whether a part that the service depends on works. required: the service is not ready without it."""

    name: str
    ok: bool
    required: bool = True


class PartDetails(PartState):
    """One such part in detail. warning: it works, but not as it should."""

    latency_ms: float
    details: Mapping[str, Any] = {}
    warning: str | None = None
    problem: str | None = None
    fix: str | None = None


class Readiness(Frozen):
    ready: bool
    checks: tuple[PartDetails, ...]

    def results(self) -> ReadinessResults:
        """The same without details: hosts, versions and messages of servers stay private."""
        return ReadinessResults(
            ready=self.ready,
            checks=tuple(PartState(name=each.name, ok=each.ok, required=each.required) for each in self.checks),
        )


class ReadinessResults(Frozen):
    ready: bool
    checks: tuple[PartState, ...]


async def readiness(
    clients: Clients, seconds: float = _TIMEOUT_SECONDS, *, sweep: LeaderWatch | None = None
) -> Readiness:
    """Check ledger, object store, queue, sweep and, where it is the engine, PostGIS; all concurrently.

    Only ledger and object store are required. Without the queue, accepted runs wait in the ledger; PostGIS is needed by
    attempts, the sweep by runs whose worker died.

    Args:
        seconds: time-out of each check.
        sweep: a watch that is kept between calls can tell a sweep that has stopped.
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
        check("queue", queue, required=False, warn=_redis_warning, seconds=seconds),
        check("sweep", lambda: watch.look(clients.ledger), required=False, seconds=seconds),
    ]
    if clients.postgis is not None:
        looks.append(check("postgis", clients.postgis.ping, required=False, seconds=seconds))
    checks = tuple(await asyncio.gather(*looks))
    return Readiness(ready=all(found.ok or not found.required for found in checks), checks=checks)


def _redis_warning(details: Mapping[str, Any]) -> str | None:
    if details.get("appendonly") == "no":
        return "Redis keeps no append-only file: after a restart the queue is empty until the sweep refills it."
    return None


async def check(
    name: str,
    look: Callable[[], Awaitable[Mapping[str, Any]]],
    *,
    required: bool = True,
    seconds: float = _TIMEOUT_SECONDS,
    warn: Callable[[Mapping[str, Any]], str | None] = lambda _: None,
) -> PartDetails:
    """Run one check and time it. A DomainError or a time-out becomes the problem and fix of the result."""
    began = time.perf_counter()
    problem = fix = None
    details: Mapping[str, Any] = {}
    try:
        async with asyncio.timeout(seconds):
            details = await look()
    except DomainError as err:
        problem, fix = err.detail, err.fix
    except TimeoutError:
        problem = f"No answer within {seconds:.0f} s."
        fix = "Check whether the server hangs, or a firewall drops packets on the way to it."
    return PartDetails(
        name=name,
        ok=problem is None,
        required=required,
        latency_ms=round((time.perf_counter() - began) * 1000, 1),
        details=details,
        warning=warn(details) if problem is None else None,
        problem=problem,
        fix=fix,
    )
