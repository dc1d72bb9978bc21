"""Read lanes, pause and resume them, and set their limits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from app.clients import Clients
from app.errors import NotFound
from app.lane_limits import LaneSnapshot
from app.ledger.outbox import Outbox
from app.models.caller import ANYBODY, Caller
from app.models.intents import LANES
from app.models.runs.activity import done_by
from app.models.runs.lane import LaneLimit
from app.runs.dispatch import fill_lane

State = Literal["open", "paused", "closed"]


@dataclass(frozen=True, slots=True)
class Lane:
    """closed: MANIFEST_ROUTER_ENABLED_LANES leaves it out, so it takes no manifests. running: canceling ones too."""

    lane: str
    state: State
    queued: int
    running: int
    limit: int | None


async def list_lanes(clients: Clients) -> tuple[Lane, ...]:
    """All lanes, at most a second old. Raises LedgerUnavailable."""
    now = await clients.lanes.now()
    return tuple(_lane(lane, now) for lane in LANES)


async def get_lane(lane: str, clients: Clients) -> Lane:
    """Raises NotFound."""
    _check(lane)
    return _lane(lane, await clients.lanes.now())


async def pause(lane: str, clients: Clients, *, caller: Caller = ANYBODY) -> Lane:
    """Start no further runs of the lane; those under way go on. Raises NotFound."""
    _check(lane)
    await clients.ledger.change_lane(lane, _audit_entry("lane.paused", lane, caller), paused=True)
    return await _fresh(lane, clients)


async def resume(lane: str, clients: Clients, *, caller: Caller = ANYBODY) -> Lane:
    """Raises NotFound."""
    _check(lane)
    await clients.ledger.change_lane(lane, _audit_entry("lane.resumed", lane, caller), paused=False)
    await fill_lane(lane, clients)
    return await _fresh(lane, clients)


async def limit(lane: str, runs: LaneLimit, clients: Clients, *, caller: Caller = ANYBODY) -> Lane:
    """`default`: as the settings say. Runs over a lower limit go on. Raises NotFound."""
    _check(lane)
    await clients.ledger.change_lane(lane, _audit_entry("lane.limited", lane, caller, limit=runs), limit=runs)
    await fill_lane(lane, clients)
    return await _fresh(lane, clients)


def _audit_entry(action: str, lane: str, caller: Caller, **details: object) -> Outbox:
    return Outbox(entries=(done_by(caller, action, lane, **details),))


async def _fresh(lane: str, clients: Clients) -> Lane:
    clients.lanes.forget()
    return _lane(lane, await clients.lanes.now())


def _lane(lane: str, now: LaneSnapshot) -> Lane:
    state: State = "paused" if now.state(lane).paused else "open"
    if lane not in now.rules.enabled:
        state = "closed"
    return Lane(lane, state, now.queued.get(lane, 0), now.under_way.get(lane, 0), now.limit(lane))


def _check(lane: str) -> None:
    if lane not in LANES:
        raise NotFound(f"There is no lane {lane!r}.", f"Lanes are {', '.join(LANES)}.")
